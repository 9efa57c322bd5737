"""The table of what was measured: for the terminal, and as Markdown for a document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.table import Table

from benchmarks.quality.run import Figures
from benchmarks.quality.variants import VARIANTS, Variant
from mlxforge.units import readable_bytes

__all__ = ["Measured", "markdown", "terminal"]

Measured = Mapping[Variant, Figures]

HEADS = (
    "method", "", "bits", "per weight", "perplexity", "KL", "left of rtn's", "KL p99", "top-1",
    "answers",
    "code / technical / languages / stories", "wall", "peak",
)  # fmt: skip


def terminal(measured: Measured) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, head in enumerate(HEADS):
        table.add_column(head, justify="left" if number < 2 else "right", no_wrap=True)
    for cells in _rows(measured):
        table.add_row(*cells)
    return table


def markdown(measured: Measured, source: Mapping[str, float]) -> str:
    lines = [
        "| " + " | ".join(HEADS) + " |",
        "|" + "|".join("---" if n < 2 else "--:" for n in range(len(HEADS))) + "|",
        *("| " + " | ".join(cells) + " |" for cells in _rows(measured)),
        "",
        "The source's perplexity on this text is "
        + " and ".join(f"{value:.2f} ({name})" for name, value in source.items())
        + ". A rescaled source is the same function by weights that lie on no 4-bit grid.",
    ]
    return "\n".join(lines) + "\n"


def _rows(measured: Measured) -> Iterator[tuple[str, ...]]:
    order = sorted(measured, key=lambda v: (-v.bits, v.source, v.side, -measured[v].kl))
    for variant in order:
        figures = measured[variant]
        rtn = measured.get(next(v for v in VARIANTS if _plain_twin(v, variant)))
        who = variant.side if variant.source == "plain" else f"{variant.side}, rescaled source"
        yield (
            variant.method,
            who,
            str(variant.bits),
            f"{figures.bits_per_weight:.3f}",
            f"{figures.perplexity:,.1f}",
            f"{figures.kl:.4f}",
            f"{figures.kl / rtn.kl:.3f}" if rtn else "",
            f"{figures.kl_p99:.2f}",
            f"{figures.top1:.1%}",
            "" if figures.answers is None else f"{figures.answers:.1%}",
            " / ".join(f"{value:.3f}" for value in figures.kinds.values()),
            f"{figures.seconds:.0f} s",
            readable_bytes(figures.peak_bytes),
        )


def _plain_twin(one: Variant, other: Variant) -> bool:
    """Whether ``one`` is round to nearest of the same source and width."""
    return (one.method, one.source, one.bits) == ("rtn", other.source, other.bits)
