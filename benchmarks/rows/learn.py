"""Methods that learn: our step's process against mlx_lm's function on the same windows."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks import figures, theirs
from benchmarks.bench import Bench, Outcome, Row
from benchmarks.compare import weight_bytes
from benchmarks.figures import Target, at_most
from benchmarks.inputs import Input
from benchmarks.inputs.smollm2 import SMOLLM2
from benchmarks.ours import calibrating, inspecting, learning, pairing, quantizing
from benchmarks.quality.inputs import TEXTS
from mlxforge.steps.awq import Awq
from mlxforge.steps.dwq import Dwq
from mlxforge.steps.gptq import Gptq
from mlxforge.steps.heads import Heads
from mlxforge.steps.learned import Learned

__all__ = ["against_rounding", "learned", "peak"]

LENGTH = 512
METHODS: dict[str, type[Learned]] = {"gptq": Gptq, "awq": Awq, "dwq": Dwq}


def learned(method: str, section: str, samples: int, wall: float, memory: float) -> Row:
    """``quantize: SECTION`` of SmolLM2, over so many windows, against the function of that name;
    the limits are of ratios."""
    return Row(
        f"{method}-smollm2",
        f"{SMOLLM2.name}, the {method} step of `quantize: {section}`, against mlx_lm's {method} "
        "with the same BLAS",
        partial(
            _against_upstream,
            method=method,
            section=section,
            samples=samples,
            wall=at_most(wall),
            memory=at_most(memory),
        ),
        inputs=(SMOLLM2, TEXTS),
        room=4 * SMOLLM2.size,
    )


def _against_upstream(
    bench: Bench, *, method: str, section: str, samples: int, wall: Target, memory: Target
) -> Outcome:
    source = bench.input(SMOLLM2)
    layers, calibration, note = _read(bench, samples)
    given = {"calibration": calibration}
    if method == "dwq":
        start, _ = bench.make(quantizing(source, layers, "{bits: 4}"), "start")
        given["start"] = start / "data"
    if method == "awq":
        heads = learning(Heads, source, layers, section, calibration=calibration)
        given["heads"] = bench.make(heads, "heads")[0] / "data"
        given["pairs"] = bench.make(pairing(source), "pairs")[0] / "data"
    ours = learning(METHODS[method], source, layers, section, **given)
    other = theirs.learning(method, 4, source, calibration / "tokens.npy")
    pairs = bench.alternate(ours, other)
    found = (figures.wall(pairs, wall), figures.memory(pairs, memory))
    return Outcome(ours, (pairs,), found, (note, f"{len(pairs.ours)} pairs"))


def against_rounding(bench: Bench, *, wall: Target) -> Outcome:
    """The quantize step with scales searched by a text's statistics, against the plain one."""
    source = bench.input(SMOLLM2)
    layers, calibration, note = _read(bench, samples=32)
    section = "{bits: 4, scales: search}"
    heads = learning(Heads, source, layers, section, calibration=calibration)
    given = {"calibration": calibration, "chosen": bench.make(heads, "heads")[0] / "data"}
    ours = quantizing(source, layers, section, **given)
    pairs = bench.alternate(ours, quantizing(source, layers, "{bits: 4}"))
    return Outcome(ours, (pairs,), (figures.wall(pairs, wall),), (note,))


def peak(bench: Bench, *, source: Input, memory: Target) -> Outcome:
    """Peak memory of the gptq step, against the bytes of the source's weights."""
    folder = bench.input(source)
    layers = bench.make(inspecting(folder), "layers")[0] / "data"
    drawn = calibrating(folder, layers, None, 0, 0)
    calibration = bench.make(drawn, "calibration")[0] / "data"
    ours = learning(Gptq, folder, layers, "{method: gptq}", calibration=calibration)
    pairs = bench.alternate(ours)
    found = (figures.memory(pairs, memory, float(weight_bytes(folder))),)
    return Outcome(ours, (pairs,), found, ("theirs: the source's weights on disk",))


def _read(bench: Bench, samples: int) -> tuple[Path, Path, str]:
    """SmolLM2's layers, its windows with their statistics, and a note on them."""
    source, text = bench.input(SMOLLM2), bench.input(TEXTS) / "calibration.txt"
    layers = bench.make(inspecting(source), "layers")[0] / "data"
    read = calibrating(source, layers, text, samples, LENGTH)
    folder, run = bench.make(read, "calibration")
    note = (
        f"{samples} windows of {LENGTH} tokens; reading them once for all widths took "
        f"{run.seconds:.0f} s and is not counted"
    )
    return layers, folder / "data", note
