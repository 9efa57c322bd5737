"""The Hub as a test has it: what was asked and sent, and what to say to a request."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Self
from urllib.parse import unquote

from tests.hub.server.access import check_token, commit_at
from tests.hub.server.connection import Server
from tests.hub.server.discussion import Discussion
from tests.hub.server.messages import Answer, Line, Refusal, Request
from tests.hub.server.misbehaviour import Misbehaviours
from tests.hub.server.repository import Repository
from tests.hub.server.routes import ROUTES

__all__ = ["Hub"]

Sent = tuple[str, int, int]  # a path, the first byte, how many


class Hub(Misbehaviours):
    """``requests`` lists what was asked, such as ``GET /api/models/acme/demo``; ``received`` has
    the bytes of request bodies that came, by such a line; ``sent`` each file's path, the first
    byte and how many bytes went out. Data sets are called ``datasets/OWNER/NAME``.

    ``regular``: no file has to be put as an LFS object. ``part_bytes``: larger objects come in
    parts of that size. ``redirects``: large files come from a CDN. ``ranges``: parts of files can
    be had. ``page``: rows to an answer. ``bytes_per_second``: how fast bodies go and come; None: at
    once.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []  # each a Line
        self.received: dict[str, int] = defaultdict(int)
        self.sent: list[Sent] = []
        self.regular = False
        self.redirects = True
        self.ranges = True
        self.part_bytes: int | None = None
        self.bytes_per_second: float | None = None
        self.page = 1000
        self.errors: list[BaseException] = []  # the server's own

    def __enter__(self) -> Self:
        self._server = Server(self)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        if self.errors and error is None:
            raise self.errors[0]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def storage(self) -> str:
        """Where large files come from and go to: for the client another host, as in reality."""
        return f"http://localhost:{self._server.server_port}"

    def commit(
        self, repo: str, files: Mapping[str, bytes], branch: str = "main", title: str = "commit"
    ) -> str:
        """Make ``files`` the whole content of ``branch``; the commit."""
        with self.guard:
            made = self.repositories.setdefault(repo, Repository(self.folder / repo))
            kept = {path: made.keep_bytes(content) for path, content in files.items()}
            return made.add(branch, kept, title).id

    def downloads(self) -> list[str]:
        """Paths of the files whose bytes were sent."""
        answered = (line for line in self.requests if isinstance(line, Line) and line.answered)
        sent = (line.split("/resolve/")[1] for line in answered)
        return sorted(unquote(rest.split("/", 1)[1]) for rest in sent)

    def tell_sent(self, before: Sent | None, now: Sent) -> None:
        """Put ``now`` in the place of ``before``; more has been sent."""
        with self.guard:
            for place, one in enumerate(self.sent):
                if one is before:
                    self.sent[place] = now
                    return
            self.sent.append(now)

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        """What a commit has, byte for byte."""
        made = self.repositories[repo]
        found = commit_at(made, revision).files
        return {path: made.object(file.sha256).read_bytes() for path, file in found.items()}

    def commits(self, repo: str, branch: str = "main") -> list[tuple[str, str]]:
        """Commits and their titles, newest first."""
        made = self.repositories[repo]
        return [(step.id, step.title) for step in made.history(made.at(branch))]

    def tags(self, repo: str) -> dict[str, str]:
        return dict(self.repositories[repo].tags)

    def pull_requests(self, repo: str) -> list[Discussion]:
        return [one for one in self.repositories[repo].discussions if one.is_pull_request]

    def answer(self, request: Request) -> Answer:
        """What the Hub says to a request. Raises Refusal."""
        if (trouble := request.trouble) and trouble.kind == "status":
            wait = trouble.retry_after
            headers = {} if wait is None else {"Retry-After": str(wait)}
            raise Refusal(trouble.status, trouble.code, trouble.message, headers)
        check_token(request)
        asked = request.line.replace("HEAD ", "GET ", 1)
        for pattern, ask in ROUTES:
            if found := re.fullmatch(pattern, asked):
                words = {key: unquote(word) for key, word in found.groupdict().items() if word}
                if words.pop("kind", "models") == "datasets":
                    words["repo"] = f"datasets/{words['repo']}"
                return ask(self, request, **words)
        raise Refusal(404, "", "Sorry, we can't find the page you are looking for.")
