"""HTTP/1.1 as the client speaks it, with what goes wrong on the way."""

from __future__ import annotations

import select
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub.server.messages import Answer, Line, Refusal, Request
from tests.hub.server.misbehaviour import IN_REQUESTS, Misbehaviour

if TYPE_CHECKING:
    from tests.hub.server.hub import Hub

__all__ = ["Server"]

PIECE_BYTES = 1 << 16
IN_MEMORY_BYTES = 1 << 20
TICK = 0.02  # seconds
OTHER = bytes(byte ^ 0xFF for byte in range(256))


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, hub: Hub) -> None:
        super().__init__(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
        self.hub = hub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone is no error."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, ConnectionError):
            self.hub.errors.append(error)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    _file: tuple[str, int, int] | None  # what is being sent, from where, how much
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # heads and bodies are written apart

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        line = Line(f"{self.command} {asked.path}")
        self.hub.requests.append(line)
        query = parse_qs(asked.query, keep_blank_values=True)
        with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as content:
            try:
                self._receive(line, content)
                trouble = self.hub.trouble(line, IN_REQUESTS)
                answer = self._answer(Request(line, query, self.headers, content, trouble))
                if trouble and trouble.kind == "silent":
                    self._hold(trouble)
                if trouble and trouble.kind == "lost":
                    raise ConnectionAbortedError
                self._send(line, answer)
            except ConnectionError:
                self.close_connection = True

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, *_: object) -> None: ...

    def _answer(self, request: Request) -> Answer:
        try:
            return self.hub.answer(request)
        except Refusal as refusal:
            return refusal.answer
        except Exception as error:
            self.hub.errors.append(error)  # a status after which the client does not ask again
            return Refusal(501, "", "the tests' Hub failed", trace=traceback.format_exc()).answer

    def _receive(self, line: Line, content: IO[bytes]) -> None:
        chunked = self.headers.get("Transfer-Encoding", "").lower() == "chunked"
        size = int(self.headers.get("Content-Length") or 0)
        if not chunked and not size:
            return
        trouble = self.hub.trouble(line, ("cut", "stalled"))
        most = max(size // 2, 1) if trouble else PIECE_BYTES
        for piece in self._chunks(most) if chunked else self._exactly(size, most):
            content.write(piece)
            with self.hub.guard:
                self.hub.received[line] += len(piece)
            if trouble and content.tell() * 2 >= size - 1:
                if trouble.kind == "cut":
                    raise ConnectionAbortedError
                self._hold(trouble)
        content.seek(0)

    def _chunks(self, most: int) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            yield from self._exactly(size, most)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _exactly(self, size: int, most: int) -> Iterator[bytes]:
        while size:
            piece = self.rfile.read1(min(size, most, self._at_once()))
            if not piece:
                raise ConnectionResetError
            self._take_time(len(piece))
            size -= len(piece)
            yield piece

    def _send(self, line: Line, answer: Answer) -> None:
        self.send_response(answer.status)
        size = answer.stop - answer.first
        for name, value in {**answer.headers, "Content-Length": str(size)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self._file = None
        if answer.name:
            line.answered = True
            self._file = (answer.name, answer.first, 0)
            self.hub.tell_sent(None, self._file)
        trouble = None
        if answer.status in (200, 206) and self.command == "GET":
            trouble = self.hub.trouble_with(line, unquote(line).rsplit("/", 1)[-1])
        half = answer.first + size // 2
        self._send_part(answer, answer.first, half, trouble)
        if trouble and trouble.kind == "cut":
            raise ConnectionAbortedError
        if trouble and trouble.kind == "stalled":
            self._hold(trouble)
        self._send_part(answer, half, answer.stop, trouble)

    def _send_part(
        self, answer: Answer, start: int, stop: int, trouble: Misbehaviour | None
    ) -> None:
        turned = trouble is not None and trouble.kind == "wrong"
        for piece in self._pieces(answer, start, stop):
            self._write(piece.translate(OTHER) if turned else piece)

    def _pieces(self, answer: Answer, start: int, stop: int) -> Iterator[bytes]:
        if isinstance(answer.content, bytes):
            yield answer.content[start:stop]
            return
        with answer.content.open("rb") as file:
            file.seek(start)
            while start < stop and (piece := file.read(min(stop - start, self._at_once()))):
                start += len(piece)
                yield piece

    def _write(self, piece: bytes) -> None:
        self._count(len(piece))  # before: a client that has the bytes may look at once
        left = memoryview(piece)
        try:
            while left:
                left = left[self.connection.send(left) :]
        finally:
            self._count(-len(left))
        self._take_time(len(piece))

    def _count(self, size: int) -> None:
        if size and (before := self._file):
            self._file = (*before[:2], before[2] + size)
            self.hub.tell_sent(before, self._file)

    def _at_once(self) -> int:
        rate = self.hub.bytes_per_second
        return max(int(rate * TICK), 1) if rate else PIECE_BYTES

    def _take_time(self, size: int) -> None:
        if rate := self.hub.bytes_per_second:
            time.sleep(size / rate)

    def _hold(self, trouble: Misbehaviour) -> None:
        """Wait until it is over, or the client is gone."""
        while trouble.held:
            speaks = select.select([self.connection], [], [], 0)[0]
            if speaks and not self.connection.recv(1, socket.MSG_PEEK):
                raise ConnectionResetError
            time.sleep(TICK)
