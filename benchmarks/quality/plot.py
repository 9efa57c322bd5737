"""KL over size, and what of rtn's KL is left: one line per method, one point per width."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

from benchmarks.quality.table import Measured

__all__ = ["draw"]

Line = list[tuple[float, float, float]]
"""Points: bytes, KL, and the part of rtn's KL at these bits."""


def draw(measured: Measured, file: Path) -> None:
    """Write the plot into ``file``, by its ending; upstream's methods are dashed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = _lines(measured)
    figure, (absolute, relative) = pyplot.subplots(1, 2, figsize=(12, 5), layout="constrained")
    tab20 = matplotlib.colormaps["tab20"]
    shades = [tab20(number) for number in range(20)]
    colours = (*shades[::2], *shades[1::2])  # more lines than plain colours
    for colour, ((side, method), points) in zip(cycle(colours), lines.items(), strict=False):
        sizes, divergences, parts = zip(*points, strict=True)
        label = method if side == "ours" else f"mlx_lm {method}"
        how = {"color": colour, "linewidth": 1.2, "markersize": 5}
        style = "o-" if side == "ours" else "x--"
        megabytes = [size / 1e6 for size in sizes]
        absolute.plot(megabytes, divergences, style, label=label, **how)
        relative.plot(megabytes, parts, style, **how)
    _label(absolute, "KL divergence from the source, nats per token")
    _label(relative, "part of rtn's KL at the same bits")
    absolute.set_yscale("log")
    relative.set_ylim(bottom=0)
    figure.suptitle("SmolLM2-135M-Instruct at 2, 3 and 4 bits, text of other kinds")
    figure.legend(loc="outside right center", fontsize=8)
    pyplot.rcParams["svg.hashsalt"] = "mlxforge"  # the same bytes every time
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    pyplot.close(figure)


def _lines(measured: Measured) -> dict[tuple[str, str], Line]:
    """By side and method; the one that leaves most at the largest size comes first."""
    plain = {v: figures for v, figures in measured.items() if v.source == "plain"}
    rounded = {v.bits: figures.kl for v, figures in plain.items() if v.method == "rtn"}
    lines: dict[tuple[str, str], Line] = {}
    for variant, figures in plain.items():
        part = figures.kl / rounded.get(variant.bits, float("nan"))
        points = lines.setdefault((variant.side, variant.method), [])
        points.append((figures.bytes, figures.kl, part))
    ordered = [(key, sorted(points)) for key, points in lines.items()]
    return dict(sorted(ordered, key=lambda line: -line[1][-1][1]))


def _label(axes: Any, what: str) -> None:
    axes.set_xlabel("size of the weights, MB")
    axes.set_ylabel(what)
    axes.grid(which="both", alpha=0.25)
