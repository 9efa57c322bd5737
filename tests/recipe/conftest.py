from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from mlxforge.recipe.load import Book, load_book
from mlxforge.recipe.model import Recipe


@dataclass
class Project:
    """A project folder with recipes in it; texts are dedented and begin after the first newline."""

    root: Path

    def write(self, file: str, text: str | bytes) -> Path:
        path = self.root / "recipes" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        data = text if isinstance(text, bytes) else dedent(text).removeprefix("\n").encode()
        path.write_bytes(data)
        return path

    def book(self) -> Book:
        return load_book(self.root / "recipes", self.root)

    def recipe(self, text: str | bytes) -> Recipe:
        """What the text gives as ``recipes/mine.yaml``."""
        self.write("mine.yaml", text)
        return self.book().get("mine")

    def error(self, text: str | bytes, name: str = "mine") -> str:
        """What is said of the text as ``recipes/mine.yaml``."""
        self.write(f"{name}.yaml", text)
        return str(self.book().errors[name])


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)
