"""text: a column of a data set's parquet files as one text file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlxforge.progress import Progress
from mlxforge.steps.base import Step

__all__ = ["Text"]


@dataclass(frozen=True)
class Text(Step):
    """``dataset``, a folder with ``files`` -> ``text.txt``: the strings of ``column``, file after
    file (see mlxforge.evaluate.column)."""

    column: str
    files: tuple[str, ...]

    kind = "text"
    tools = ("pyarrow",)

    def result(self, data: Path) -> Path:
        return data / "text.txt"

    def run(self, inputs: Mapping[str, Path], out: Path, progress: Progress) -> dict[str, str]:
        from mlxforge.evaluate.column import write_column

        files = [inputs["dataset"] / name for name in self.files]
        return {"text.txt": write_column(files, self.column, out / "text.txt", progress)}
