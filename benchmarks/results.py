"""What a run found, and where: a JSON document that is written after every row."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.figures import Figure, Target
from benchmarks.pairs import Pairs, Run
from mlxforge.errors import ForgeError

__all__ = ["Machine", "Results", "RowResult", "load_results", "this_machine"]

TOOLS = ("mlxforge", "mlx", "mlx-lm", "doit", "numpy")


@dataclass(frozen=True)
class Machine:
    cpu: str
    cores: int
    memory: int  # bytes
    system: str
    versions: dict[str, str]  # of Python and the tools, by name


@dataclass(frozen=True)
class RowResult:
    """``error`` says why there are no figures; ``profile`` is there where a target was missed."""

    name: str
    about: str
    figures: tuple[Figure, ...] = ()
    pairs: tuple[Pairs, ...] = ()
    notes: tuple[str, ...] = ()
    profile: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Results:
    machine: Machine
    rows: tuple[RowResult, ...] = ()

    def including(self, row: RowResult, order: Iterable[str]) -> Results:
        """With ``row`` in the place of the same row measured before."""
        rows = {each.name: each for each in self.rows} | {row.name: row}
        return replace(self, rows=tuple(rows[name] for name in order if name in rows))

    def save(self, path: Path) -> None:
        document = asdict(self)
        for row, written in zip(self.rows, document["rows"], strict=True):
            for figure, entry in zip(row.figures, written["figures"], strict=True):
                entry |= {
                    "ratio": figure.ratio,
                    "least": min(figure.ratios),
                    "most": max(figure.ratios),
                    "met": figure.met,
                }
        path.write_text(json.dumps(document, indent=1) + "\n")


def load_results(path: Path) -> Results:
    """A document that :meth:`Results.save` wrote. ForgeError where it is none."""
    try:
        document = json.loads(path.read_bytes())
        return Results(Machine(**document["machine"]), tuple(map(_row, document["rows"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ForgeError(f"{path} holds no results: {error}", "measure some first") from None


def _row(entry: dict[str, Any]) -> RowResult:
    figures = tuple(
        Figure(
            one["quantity"], one["unit"], tuple(one["ours"]), tuple(one["theirs"]),
            Target(**one["target"]),
        )
        for one in entry["figures"]
    )  # fmt: skip
    pairs = tuple(
        Pairs(*(tuple(Run(**run) for run in one[side]) for side in ("ours", "theirs")))
        for one in entry["pairs"]
    )
    plain = {key: tuple(entry[key]) for key in ("notes", "profile")}
    return RowResult(entry["name"], entry["about"], figures, pairs, error=entry["error"], **plain)


def this_machine() -> Machine:
    versions = {"python": platform.python_version()} | {name: version(name) for name in TOOLS}
    return Machine(
        _cpu(),
        os.cpu_count() or 1,
        psutil.virtual_memory().total,
        f"{platform.system()} {platform.release()} {platform.machine()}",
        versions,
    )


def _cpu() -> str:
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
