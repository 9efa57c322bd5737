"""KL over size: one line per method, one point per width."""

from __future__ import annotations

from pathlib import Path

from benchmarks.quality.table import Measured

__all__ = ["draw"]


def draw(measured: Measured, file: Path) -> None:
    """Write the plot into ``file``, by its ending; upstream's methods are dashed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for variant, figures in measured.items():
        if variant.source == "plain":
            point = (figures.bytes / 1e6, figures.kl)
            lines.setdefault((variant.side, variant.method), []).append(point)
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    tab20 = matplotlib.colormaps["tab20"]
    shades = [tab20(number) for number in range(20)]
    axes.set_prop_cycle(color=(*shades[::2], *shades[1::2]))  # more lines than plain colours
    for (side, method), points in lines.items():
        sizes, divergences = zip(*sorted(points), strict=True)
        label = method if side == "ours" else f"mlx_lm {method}"
        style = "o-" if side == "ours" else "x--"
        axes.plot(sizes, divergences, style, label=label, linewidth=1.2, markersize=5)
    axes.set_yscale("log")
    axes.set_xlabel("size of the weights, MB")
    axes.set_ylabel("KL divergence from the source, nats per token")
    axes.set_title("SmolLM2-135M-Instruct at 2, 3 and 4 bits, text of other kinds")
    axes.grid(which="both", alpha=0.25)
    axes.legend(fontsize=8)
    pyplot.rcParams["svg.hashsalt"] = "mlxforge"  # the same bytes every time
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    pyplot.close(figure)
