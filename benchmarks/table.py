"""The table of a run: for the terminal, and as Markdown for a document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.table import Table

from benchmarks.results import Machine, Results, RowResult
from mlxforge.errors import ForgeError

__all__ = ["markdown", "replace_in", "terminal"]

HEADS = ("row", "", "ours", "theirs", "ratio", "least … most", "target", "")
RIGHT = (2, 3, 4, 5, 6)


def terminal(results: Results) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, head in enumerate(HEADS):
        table.add_column(head, justify="right" if number in RIGHT else "left", no_wrap=True)
    for cells in _cells(results.rows):
        table.add_row(*cells, style="red" if cells[-1] in ("missed", "error") else None)
    return table


def markdown(results: Results) -> str:
    """The table, what each row compares, and where it was measured."""
    lines = [
        _line(HEADS),
        _line("--:" if number in RIGHT else "---" for number in range(len(HEADS))),
        *(_line(cells) for cells in _cells(results.rows)),
        "",
        *(f"- **{row.name}**: {'; '.join((row.about, *row.notes))}." for row in results.rows),
        "",
        _place(results.machine),
    ]
    return "\n".join(lines) + "\n"


def replace_in(file: Path, text: str, mark: str = "benchmarks") -> None:
    """Put ``text`` between the two marks in ``file``; ForgeError where they are not there."""
    opening, closing = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    content = file.read_text(encoding="utf-8")
    before, start, rest = content.partition(opening)
    _, end, after = rest.partition(closing)
    if not (start and end):
        raise ForgeError(
            f"{file} has no place for the table",
            f"write {opening} and {closing} on lines of their own",
        )
    file.write_text(f"{before}{opening}\n{text}{closing}{after}", encoding="utf-8")


def _cells(rows: Iterable[RowResult]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        if row.error:
            yield (row.name, row.error.splitlines()[0], "", "", "", "", "", "error")
        for number, figure in enumerate(row.figures):
            yield (
                "" if number else row.name,
                figure.quantity,
                figure.amount(figure.ours),
                figure.amount(figure.theirs),
                figure.readable(figure.ratio),
                " … ".join(figure.readable(each(figure.ratios)) for each in (min, max)),
                str(figure.target),
                "met" if figure.met else "missed",
            )


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _place(machine: Machine) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    return (
        f"Measured on {machine.cpu}, {machine.cores} cores, {machine.memory / 2**30:.0f} GiB, "
        f"{machine.system}; {versions}. Medians of alternating runs of whole process trees."
    )
