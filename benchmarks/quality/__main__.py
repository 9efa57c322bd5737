"""The command line: choose variants, measure what is missing, say what came out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from benchmarks.inputs.scratch import Scratch, default_folder
from benchmarks.quality.run import Figures, Rooms
from benchmarks.quality.table import markdown, terminal
from benchmarks.quality.variants import VARIANTS, Variant
from benchmarks.table import replace_in
from mlxforge.errors import ForgeError, did_you_mean

MARK = "quality"


def main() -> int:
    """0, or 1 where a variant failed."""
    options = _parser().parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    if options.list:
        console.print("\n".join(variant.name for variant in VARIANTS), markup=False)
        return 0
    try:
        chosen = _chosen(options.only)
        rooms = Rooms(Scratch(options.scratch), console.print)
        failed = 0 if options.show else _measure(rooms, chosen, options.again, console)
        measured = {v: f for v in VARIANTS if (f := rooms.figures(v)) is not None}
        console.print(terminal(measured))
        _write(options, rooms, measured)
    except ForgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality", description="what each method leaves of a model"
    )
    add = parser.add_argument
    add("--list", action="store_true", help="name the variants and measure none")
    add("--only", nargs="+", metavar="NAME", help="these variants, or those that begin so")
    add("--again", action="store_true", help="measure what was measured before")
    add("--show", action="store_true", help="the table of what was measured before; run nothing")
    add("--scratch", type=Path, default=default_folder(), help="where inputs lie (%(default)s)")
    add("--markdown", type=Path, metavar="FILE", help="put the table between this file's marks")
    add("--plot", type=Path, metavar="FILE", help="draw KL over size into this .svg or .png")
    return parser


def _chosen(names: list[str] | None) -> list[Variant]:
    known = [variant.name for variant in VARIANTS]
    for name in names or ():
        if not any(each.startswith(name) for each in known):
            raise ForgeError(f"no variant {name!r}", did_you_mean(name, known) or "see --list")
    wanted = names or [""]
    whole = [name for name in wanted if name in known]
    parts = tuple(name for name in wanted if name not in known)
    return [v for v in VARIANTS if v.name in whole or v.name.startswith(parts)]


def _measure(rooms: Rooms, chosen: list[Variant], again: bool, console: Console) -> int:
    failed = 0
    for variant in chosen:
        try:
            if not again and rooms.answer(variant) is not None:
                continue
            console.print(_line(variant, rooms.measure(variant)))
        except ForgeError as error:
            failed += 1
            console.print(f"{variant.name}: {error}", markup=False)
    return failed


def _line(variant: Variant, figures: Figures) -> str:
    return (
        f"{variant.name}: {figures.bits_per_weight:.3f} bits per weight, KL {figures.kl:.4f}, "
        f"perplexity {figures.perplexity:.1f}, {figures.seconds:.0f} s"
    )


def _write(options: argparse.Namespace, rooms: Rooms, measured: dict[Variant, Figures]) -> None:
    if options.plot:
        from benchmarks.quality.plot import draw

        draw(measured, options.plot)
    if options.markdown:
        sources = sorted({variant.source for variant in measured})
        source: dict[str, float] = {name: rooms.source_perplexity(name) for name in sources}
        replace_in(options.markdown, markdown(measured, source), MARK)


if __name__ == "__main__":
    sys.exit(main())
