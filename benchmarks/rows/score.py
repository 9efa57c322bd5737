"""Scoring: the evaluate step's process against mlx_lm's ``eval_ppl``, and its memory."""

from __future__ import annotations

from benchmarks import figures, theirs
from benchmarks.bench import Bench, Outcome
from benchmarks.compare import weight_bytes
from benchmarks.figures import Target
from benchmarks.inputs import Input
from benchmarks.inputs.smollm2 import SMOLLM2, WIKI
from benchmarks.ours import evaluating, inspecting, quantizing, scoring_source
from benchmarks.pairs import Pairs

__all__ = ["against_eval_ppl", "peak"]


def against_eval_ppl(
    bench: Bench,
    *,
    samples: int,
    length: int,
    way: str,
    wall: Target,
    perplexity: Target,
) -> Outcome:
    """The 4-bit SmolLM2 on the same tokens; ``way`` says how theirs runs."""
    source = bench.input(SMOLLM2)
    text = bench.input(WIKI) / "wiki.txt"
    layers, _ = bench.make(inspecting(source), "layers")
    model, _ = bench.make(quantizing(source, layers / "data", "{bits: 4}"), "model")
    baseline, _ = bench.make(scoring_source(source, text, samples, length), "baseline")
    ours = evaluating(model / "data", source, baseline / "data")
    other = theirs.scoring(model / "data", baseline / "data" / "tokens.npy", way)
    pairs = bench.alternate(ours, other)
    found = [figures.wall(pairs, wall), figures.value("perplexity", pairs, perplexity)]
    windows = "1 window" if samples == 1 else f"{samples} windows"
    notes = (f"{windows} of {length} tokens", f"{len(pairs.ours)} pairs")
    if way == "as-loaded":  # bfloat16 kernels of a CPU round so much that it shows
        tokens = baseline / "data" / "tokens.npy"
        _, exact = bench.make(theirs.scoring(model / "data", tokens, "float32"), "float32")
        once = Pairs(pairs.ours[:1], (exact,))
        found.append(figures.value("perplexity, theirs in float32", once, perplexity))
    return Outcome(ours, (pairs,), tuple(found), notes)


def peak(
    bench: Bench, *, source: Input, section: str, samples: int, length: int, memory: Target
) -> Outcome:
    """Peak memory of scoring a source and its build, against the bytes of the source's weights."""
    folder = bench.input(source)
    text = bench.input(WIKI) / "wiki.txt"
    layers, _ = bench.make(inspecting(folder), "layers")
    model, _ = bench.make(quantizing(folder, layers / "data", section), "model")
    scored = scoring_source(folder, text, samples, length)
    baseline, _ = bench.make(scored, "baseline")
    evaluated = evaluating(model / "data", folder, baseline / "data")
    of_source, of_model = bench.alternate(scored), bench.alternate(evaluated)
    size = float(weight_bytes(folder))
    found = (
        figures.memory(of_source, memory, size, "memory, source"),
        figures.memory(of_model, memory, size, "memory, build"),
    )
    notes = (f"{samples} windows of {length} tokens", "theirs: the source's weights on disk")
    return Outcome(evaluated, (of_source, of_model), found, notes)
