"""Which function answers which request: the addresses that the client knows."""

from __future__ import annotations

from collections.abc import Callable

from tests.hub.server import account, downloads, names, proposals, reading, uploads, writing
from tests.hub.server.messages import Answer

__all__ = ["ROUTES"]

API = "/api/(?P<kind>models|datasets)/(?P<repo>[^/]+/[^/]+)"
FILES = "/(?P<repo>(?:datasets/)?[^/]+/[^/]+)"
REVISION = "(?P<revision>[^/]+)"
NAME = "(?P<name>[^/]+)"
OBJECT = f"{FILES}/lfs/(?P<oid>[0-9a-f]{{64}})"
DISCUSSION = rf"{API}/discussions/(?P<number>\d+)"
LFS = rf"{FILES}\.git/info/lfs/objects"

ROUTES: list[tuple[str, Callable[..., Answer]]] = [
    ("GET /api/whoami-v2", account.whoami),
    (f"GET {API}(?:/revision/{REVISION})?", reading.info),
    (f"GET {API}/tree/{REVISION}(?:/(?P<path>.+))?", reading.tree),
    (f"POST {API}/paths-info/{REVISION}", reading.paths_info),
    (f"GET {API}/refs", reading.refs),
    (f"GET {API}/commits/{REVISION}", reading.commits),
    (f"GET {FILES}/resolve/{REVISION}/(?P<path>.+)", downloads.resolve),
    ("POST /api/repos/create", writing.create_repo),
    ("POST /api/validate-yaml", writing.validate_yaml),
    (f"POST {API}/preupload/{REVISION}", writing.preupload),
    (f"POST {API}/commit/{REVISION}", writing.commit),
    (f"POST {LFS}/batch", uploads.batch),
    (f"POST {LFS}/verify", uploads.verify),
    (f"PUT {OBJECT}", uploads.put),
    (rf"PUT {OBJECT}/(?P<number>\d+)", uploads.put_part),
    (f"POST {OBJECT}", uploads.complete),
    (f"POST {API}/branch/{NAME}", names.create_branch),
    (f"DELETE {API}/branch/{NAME}", names.delete_branch),
    (f"POST {API}/tag/{NAME}", names.create_tag),
    (f"DELETE {API}/tag/{NAME}", names.delete_tag),
    (f"GET {API}/discussions", proposals.discussions),
    (f"POST {API}/discussions", proposals.create),
    (f"GET {DISCUSSION}", proposals.details),
    (f"POST {DISCUSSION}/(?P<what>comment|status|merge)", proposals.change),
]
