"""Plain tables for the terminal: aligned columns that survive a pipe and grep."""

from __future__ import annotations

from collections.abc import Collection, Sequence

__all__ = ["print_table"]


def print_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()
) -> None:
    """Print ``rows`` under ``heads``; the columns numbered in ``right`` are right-aligned."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in (heads, *rows):
        cells = (
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join(cells).rstrip())
