"""What a command costs: the wall time and the peak memory of its whole process tree.

Memory is the resident set size (RSS), summed over the tree. Pages that several processes share
count once for each, so that whoever uses more processes is never flattered. The proportional set
size would divide them, but exists on Linux alone, and reading it walks every page table of a
large process under the very lock that its page faults need.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from mlxforge.errors import ForgeError

__all__ = ["Command", "Cost", "measure"]

SAMPLE_EVERY = 0.01  # seconds
# looking for children reads all of /proc, a hundred times dearer than the RSS of those known
CHILDREN_EVERY = 5  # samples


@dataclass(frozen=True)
class Command:
    """A Python program: ``words`` are what follows the interpreter.

    ``line`` goes to its standard input, which then stays open until the program ends.
    """

    words: tuple[str, ...]
    folder: Path | None = None  # where it runs
    line: str | None = None
    environment: Mapping[str, str] | None = None  # ours where there is none


@dataclass(frozen=True)
class Cost:
    seconds: float  # from the start of the process to its end
    memory: int  # bytes


def measure(command: Command, log: Path) -> Cost:
    """Run ``command`` to its end; what it prints goes to ``log``.

    Raises ForgeError with the log's last lines where it fails.
    """
    with log.open("wb") as printed:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *command.words],
            stdin=subprocess.DEVNULL if command.line is None else subprocess.PIPE,
            stdout=printed,
            stderr=subprocess.STDOUT,
            cwd=command.folder,
            env={**(command.environment or os.environ), "HF_HUB_OFFLINE": "1"},
        )
    tree = _Tree(process.pid)
    ended = _Ended(process)
    try:
        if process.stdin and command.line is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(command.line.encode() + b"\n")
                process.stdin.flush()
        while not ended.wait(SAMPLE_EVERY):
            tree.sample()
    finally:
        tree.kill()
        ended.join()
        if process.stdin:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
    if process.returncode != 0:
        last = log.read_text(errors="replace").splitlines()[-12:]
        words = " ".join(command.words)
        raise ForgeError(f"status {process.returncode}: python {words}", "\n  ".join(last))
    return Cost(ended.at - started, tree.peak)


class _Ended(threading.Thread):
    """Waits for a process in a thread: a wait with a timeout polls, up to 50 ms apart."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__(daemon=True)
        self.at = 0.0
        self._process = process
        self._event = threading.Event()
        self.start()

    def run(self) -> None:
        self._process.wait()
        self.at = time.perf_counter()
        self._event.set()

    def wait(self, seconds: float) -> bool:
        return self._event.wait(seconds)


class _Tree:
    """A process and its descendants."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._samples = 0
        self._members: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):  # it may have ended already
            self._members = [psutil.Process(pid)]

    def sample(self) -> None:
        if self._members and self._samples % CHILDREN_EVERY == 0:
            with contextlib.suppress(psutil.Error):
                self._look()
        self._samples += 1
        total = 0
        for member in self._members:
            with contextlib.suppress(psutil.Error):
                total += member.memory_info().rss
        self.peak = max(self.peak, total)

    def kill(self) -> None:
        """End what is still there, as after an interruption."""
        with contextlib.suppress(psutil.Error):
            self._look()
        for member in self._members:
            with contextlib.suppress(psutil.Error):
                member.kill()

    def _look(self) -> None:
        if self._members:
            root = self._members[0]
            self._members = [root, *root.children(recursive=True)]
