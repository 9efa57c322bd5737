"""The command line: choose rows, run them, say what came out."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.bench import Bench, Row
from benchmarks.inputs.scratch import Scratch, default_folder
from benchmarks.results import Results, RowResult, load_results, this_machine
from benchmarks.rows import ROWS
from benchmarks.table import markdown, replace_in, terminal
from mlxforge.errors import ForgeError, did_you_mean

RESULTS = Path(__file__).parent / "results.json"
ORDER = [row.name for row in ROWS]


def main() -> int:
    """0, or 1 where a row failed or cannot run; a missed target is a result, not a failure."""
    options = _parser().parse_args()
    # so that what is running is stopped, and what it wrote removed
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    if options.list:
        console.print(
            "\n".join(f"{row.name:<18}  {row.about}" for row in ROWS), markup=False, soft_wrap=True
        )
        return 0
    try:
        if options.show:
            results = load_results(options.results)
        else:
            results = _measure(options, _chosen(options.only))
        console.print(terminal(results))
        _print_profiles(console, results)
        if options.markdown:
            replace_in(options.markdown, markdown(results))
    except ForgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 1 if any(row.error for row in results.rows) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="mlxforge side by side with the upstream tools"
    )
    add = parser.add_argument
    add("--list", action="store_true", help="name the rows and run none")
    add("--only", nargs="+", metavar="NAME", help="these rows; others keep what was measured")
    add("--pairs", type=_count, default=5, help="runs of each side (default 5)")
    add("--scratch", type=Path, default=default_folder(), help="where inputs lie (%(default)s)")
    add("--results", type=Path, default=RESULTS, help="the JSON document (%(default)s)")
    add("--markdown", type=Path, metavar="FILE", help="put the table between this file's marks")
    add("--show", action="store_true", help="the table of what was measured before; run nothing")
    return parser


def _count(word: str) -> int:
    if not word.isdigit() or int(word) == 0:
        raise argparse.ArgumentTypeError(f"{word!r} is not a number from 1")
    return int(word)


def _chosen(names: Sequence[str] | None) -> list[Row]:
    for name in names or ():
        if name not in ORDER:
            raise ForgeError(f"no row {name!r}", did_you_mean(name, ORDER) or "--list names them")
    return [row for row in ROWS if names is None or row.name in names]


def _measure(options: argparse.Namespace, rows: Sequence[Row]) -> Results:
    scratch = Scratch(options.scratch)
    inputs = [wanted for row in rows for wanted in row.inputs]
    scratch.check_room(scratch.missing(inputs) + max((row.room for row in rows), default=0))
    results = _before(options.results) if options.only else Results(this_machine())
    with scratch.alone():
        for row in rows:
            _tell(f"{row.name}: {row.about}")
            results = results.including(_result(row, options, scratch), ORDER)
            results.save(options.results)
    return results


def _before(path: Path) -> Results:
    """What was measured here before with the same versions; nothing where anything differs."""
    machine = this_machine()
    try:
        found = load_results(path)
    except ForgeError:
        return Results(machine)
    return found if found.machine == machine else Results(machine)


def _result(row: Row, options: argparse.Namespace, scratch: Scratch) -> RowResult:
    with Bench(scratch, options.pairs, _tell) as bench:
        try:
            outcome = row.run(bench)
            for figure in outcome.figures:
                _tell(f"  {figure}")
            missed = not all(figure.met for figure in outcome.figures)
            profile = bench.profile(outcome.ours) if missed else []
        except ForgeError as error:
            _tell(f"error: {error}")
            return RowResult(row.name, row.about, error=str(error))
    return RowResult(
        row.name, row.about, outcome.figures, outcome.pairs, outcome.notes, tuple(profile)
    )


def _print_profiles(console: Console, results: Results) -> None:
    for row in results.rows:
        if row.profile:
            console.print(f"\nwhere {row.name} spends its time", style="bold")
            console.print("\n".join(row.profile), markup=False, soft_wrap=True)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
