"""A small Hugging Face Hub on 127.0.0.1, over real HTTP, for the real client.

    with Hub(folder) as hub:
        commit = hub.commit("acme/demo", {"config.json": b"{}"}, branch="main")
        ...  # HF_ENDPOINT=hub.endpoint

A repository is ``folder/OWNER/NAME/COMMIT/…``, one folder per commit, and its names for commits
are in memory. Large files are LFS files: known by their sha256, small ones by git's sha1.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LFS_FROM = 10_000  # bytes
TOKEN = "hf_tokenOfTheTestsAndOfNobodyElse"


@dataclass
class Repository:
    folder: Path
    names: dict[str, str] = field(default_factory=dict)  # branch or tag -> commit
    private: bool = False
    gated: bool = False
    listed: list[str] = field(default_factory=list)  # listed besides the files that there are


@dataclass
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False  # close the connection half-way


class Refusal(Exception):
    def __init__(self, status: int, code: str, message: str = "refused") -> None:
        self.answer = Answer(status, b"", {"X-Error-Code": code, "X-Error-Message": message})


class Hub:
    """``requests`` lists what was asked, such as ``GET /api/models/acme/demo``.

    To misbehave: paths in ``wrong`` are served with other bytes of the same length, those in
    ``cut`` break off half-way once; those in ``stalled`` stop half-way until it is emptied;
    requests that begin as one in ``failing`` get a 503.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []
        self.wrong: set[str] = set()
        self.cut: set[str] = set()
        self.stalled: set[str] = set()
        self.failing: set[str] = set()

    def __enter__(self) -> Hub:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def commit(self, repo: str, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Make ``files`` the whole content of ``branch``; the commit."""
        made = self.repositories.setdefault(repo, Repository(self.folder / repo))
        said = repr((made.names.get(branch), sorted(files.items())))
        commit = hashlib.sha1(said.encode()).hexdigest()
        for name, content in files.items():
            path = made.folder / commit / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        made.names[branch] = commit
        return commit

    def downloads(self) -> list[str]:
        """Paths of the files whose bytes were sent."""
        sent = (line.split("/resolve/") for line in self.requests if line.startswith("GET"))
        return sorted(unquote(parts[1].split("/", 1)[1]) for parts in sent if len(parts) == 2)

    def info(self, repo: str, revision: str = "main") -> Answer:
        made, commit = self._at(repo, revision)
        siblings = [{"rfilename": path} for path in _paths(made.folder / commit)]
        return _json({"id": repo, "sha": commit, "private": made.private, "siblings": siblings})

    def tree(self, repo: str, revision: str) -> Answer:
        made, commit = self._at(repo, revision)
        folder = made.folder / commit
        rows = [_row(path, (folder / path).read_bytes()) for path in _paths(folder)]
        return _json(rows + [_row(path, b"{}") for path in made.listed])

    def resolve(self, repo: str, revision: str, path: str, first: int = 0) -> Answer:
        made, commit = self._at(repo, revision)
        if made.gated:
            raise Refusal(403, "GatedRepo")
        if path not in _paths(made.folder / commit):
            raise Refusal(404, "EntryNotFound")
        content = (made.folder / commit / path).read_bytes()
        row = _row(path, content)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{row["oid"]}"', "Accept-Ranges": "bytes"}
        if lfs := row.get("lfs"):
            headers |= {"X-Linked-Etag": f'"{lfs["oid"]}"', "X-Linked-Size": str(lfs["size"])}
        if path in self.wrong:
            content = bytes([content[0]]) + bytes(len(content) - 1)
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        return Answer(206 if first else 200, content[first:], headers, cut=path in self.cut)

    def _at(self, repo: str, revision: str) -> tuple[Repository, str]:
        made = self.repositories.get(repo)
        if made is None:
            raise Refusal(404, "RepoNotFound")
        commit = made.names.get(revision, revision)
        if commit == revision and not (made.folder / commit).is_dir():
            raise Refusal(404, "RevisionNotFound")
        return made, commit

    def answer(self, method: str, path: str, headers: Message) -> Answer:
        """What the Hub says to a request."""
        if f"{method} {path}".startswith(tuple(self.failing)):
            raise Refusal(503, "", "the Hub is under maintenance")
        for pattern, ask in ROUTES:
            if found := re.fullmatch(pattern, path):
                asked = {key: unquote(word) for key, word in found.groupdict().items() if word}
                self._admit(asked["repo"], headers.get("Authorization"))
                if first := re.fullmatch(r"bytes=(\d+)-", headers.get("Range", "")):
                    return ask(self, **asked, first=int(first[1]))
                return ask(self, **asked)
        raise Refusal(404, "")

    def _admit(self, repo: str, authorization: str | None) -> None:
        if authorization not in (None, f"Bearer {TOKEN}"):
            raise Refusal(401, "", "Invalid credentials in Authorization header")
        made = self.repositories.get(repo)
        if made and made.private and authorization is None:
            raise Refusal(401, "RepoNotFound")


REPO = "(?P<repo>[^/]+/[^/]+)"
ROUTES: list[tuple[str, Callable[..., Answer]]] = [
    (rf"/api/models/{REPO}(?:/revision/(?P<revision>[^/]+))?", Hub.info),
    (rf"/api/models/{REPO}/tree/(?P<revision>[^/]+)", Hub.tree),
    (rf"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Hub.resolve),
]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append(f"{self.command} {path}")
        try:
            answer = self.hub.answer(self.command, path, self.headers)
        except Refusal as refusal:
            answer = refusal.answer
        self.send_response(answer.status)
        for name, value in (answer.headers | {"Content-Length": str(len(answer.body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if answer.cut:
            self.hub.cut.discard(unquote(path).rsplit("/", 1)[-1])
            self.close_connection = True
        half = len(answer.body) // 2
        self.wfile.write(answer.body[:half])
        while unquote(path).rsplit("/", 1)[-1] in self.hub.stalled:
            time.sleep(0.05)
        if not answer.cut:
            with contextlib.suppress(ConnectionError):  # the client may be gone by now
                self.wfile.write(answer.body[half:])

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None: ...


def _paths(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def _row(path: str, content: bytes) -> dict[str, Any]:
    """A file as the tree lists it."""
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    row = {"type": "file", "path": path, "size": len(content), "oid": oid}
    if len(content) < LFS_FROM:
        return row
    digest = hashlib.sha256(content).hexdigest()
    return row | {"lfs": {"oid": digest, "size": len(content), "pointerSize": 134}}


def _json(value: object) -> Answer:
    return Answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})
