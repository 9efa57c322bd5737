"""README's table of recipes: ``python -m tests.recipes.table`` prints it.

The sizes are those that a plan finds for the released model, by its configuration alone.
"""

from __future__ import annotations

from mlxforge.recipe.load import Book, load_book
from mlxforge.units import readable_bytes
from tests.conftest import ROOT
from tests.recipes.families import FAMILIES
from tests.recipes.releases import RELEASES
from tests.recipes.sizes import size_of, table_of

__all__ = ["markdown"]

COLUMNS = ("2bit", "4bit", "8bit", "mixed")


def markdown(book: Book) -> str:
    """A row for each model: where it comes from, and how large each recipe makes it."""
    lines = [
        f"| recipe | source | {' | '.join(f'-{column}' for column in COLUMNS)} |",
        "| --- | --- | --: | --: | --: | --: |",
    ]
    for name in sorted(FAMILIES):
        table = table_of(RELEASES[name])
        cells = dict.fromkeys(COLUMNS, "")
        for recipe in FAMILIES[name].recipes(name):
            size, _ = size_of(table, book.get(recipe))
            cells[recipe.rsplit("-", 1)[1]] = readable_bytes(size.bytes)
        source = book.get(next(iter(FAMILIES[name].recipes(name)))).source.repo
        lines.append(f"| {name} | {source} | {' | '.join(cells.values())} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    print(markdown(load_book(ROOT / "recipes", ROOT)), end="")
