"""The upstream tools as tasks."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.meter import Command
from benchmarks.pairs import Task
from benchmarks.profiling import PROGRAMS

__all__ = ["converting", "learning", "plain_doit", "reading_and_writing", "scoring"]

ROOT = Path(__file__).parents[1]


def converting(source: Path, *flags: str) -> Task:
    """`mlx_lm.convert` into ``data``, the folder that our steps write into."""

    def command(folder: Path) -> Command:
        paths = ("--hf-path", str(source), "--mlx-path", str(folder / "data"))
        return Command(("-m", "mlx_lm", "convert", *paths, *flags))

    return Task(command)


def learning(method: str, bits: int, source: Path, tokens: Path) -> Task:
    """mlx_lm's own function; see programs/upstream_quant.py."""

    def command(folder: Path) -> Command:
        words = (method, str(bits), str(source), str(tokens), str(folder / "data"))
        return Command(("-m", "benchmarks.programs.upstream_quant", *words), ROOT)

    return Task(command)


def scoring(model: Path, tokens: Path, way: str) -> Task:
    """mlx_lm's ``eval_ppl``; for ``way`` see programs/eval_ppl.py."""

    def command(folder: Path) -> Command:
        out = folder / "perplexity.json"
        return Command((str(PROGRAMS / "eval_ppl.py"), str(model), str(tokens), str(out), way))

    def value(folder: Path) -> float:
        return float(json.loads((folder / "perplexity.json").read_bytes())["perplexity"])

    return Task(command, value)


def reading_and_writing(sources: list[Path], size: int) -> Task:
    """Reads the files and writes ``size`` bytes, and nothing else."""

    def command(folder: Path) -> Command:
        words = (str(folder / "written"), str(size), *map(str, sources))
        return Command((str(PROGRAMS / "read_write.py"), *words))

    return Task(command)


def plain_doit(project: Path, *words: str) -> Task:
    """doit as it is where mlxforge is not installed."""
    return Task(lambda folder: Command((str(PROGRAMS / "plain_doit.py"), *words), project))
