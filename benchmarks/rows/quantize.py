"""Quantizing: our step's process against `mlx_lm.convert`'s, from start to end."""

from __future__ import annotations

from functools import partial

from benchmarks import figures, theirs
from benchmarks.bench import Bench, Outcome, Row
from benchmarks.compare import check_same, weight_bytes
from benchmarks.figures import Target, at_most
from benchmarks.inputs import Input
from benchmarks.ours import inspecting, quantizing
from benchmarks.pairs import Task, emptied, run_in
from mlxforge.models.source.files import weight_files

__all__ = ["against_reading", "conversion", "flatness"]


def conversion(
    name: str,
    source: Input,
    section: str,
    flags: str,
    wall: float | None = None,
    memory: float | None = None,
) -> Row:
    """``quantize: SECTION`` against `mlx_lm.convert FLAGS`; the limits are of ratios."""
    upstream = f"`mlx_lm.convert {flags}`".replace(" `", "`")
    return Row(
        name,
        f"{source.name}, `quantize: {section}`, against {upstream}",
        partial(
            _against_convert,
            source=source,
            section=section,
            flags=tuple(flags.split()),
            wall=wall,
            memory=memory,
        ),
        inputs=(source,),
        room=2 * source.size,
    )


def _against_convert(
    bench: Bench,
    *,
    source: Input,
    section: str,
    flags: tuple[str, ...],
    wall: float | None,
    memory: float | None,
) -> Outcome:
    """Raises ForgeError where the two make other tensors."""
    ours, note = _ours(bench, source, section)
    converted = theirs.converting(bench.input(source), *flags)
    # the first run of each also warms the page cache up
    with (
        emptied(bench.scratch.work / "ours") as mine,
        emptied(bench.scratch.work / "theirs") as other,
    ):
        run_in(mine, ours)
        run_in(other, converted)
        check_same(mine / "data", other / "data")
    pairs = bench.alternate(ours, converted)
    found = []
    if wall is not None:
        found.append(figures.wall(pairs, at_most(wall)))
    if memory is not None:
        found.append(figures.memory(pairs, at_most(memory)))
    return Outcome(ours, (pairs,), tuple(found), (note, "equal tensors, bit for bit"))


def against_reading(bench: Bench, *, source: Input, section: str, wall: Target) -> Outcome:
    """Against a process that reads the source and writes as many bytes as our output has."""
    ours, note = _ours(bench, source, section)
    with emptied(bench.scratch.work / "ours") as folder:
        run_in(folder, ours)
        size = weight_bytes(folder / "data")
    copied = theirs.reading_and_writing(weight_files(bench.input(source)), size)
    pairs = bench.alternate(ours, copied)
    return Outcome(ours, (pairs,), (figures.wall(pairs, wall),), (note,))


def flatness(bench: Bench, *, large: Input, small: Input, section: str, memory: Target) -> Outcome:
    """Our own peak on a large model against that on a small one."""
    ours, note = _ours(bench, large, section)
    ours_small, _ = _ours(bench, small, section)
    pairs = bench.alternate(ours, ours_small)
    return Outcome(ours, (pairs,), (figures.memory(pairs, memory),), (note,))


def _ours(bench: Bench, source: Input, section: str) -> tuple[Task, str]:
    """The quantize step, and a note of what the inspect step before it took."""
    folder = bench.input(source)
    layers, run = bench.make(inspecting(folder), f"layers-{source.name}")
    note = f"inspecting the source once took {run.seconds:.2f} s and is not counted"
    return quantizing(folder, layers / "data", section), note
