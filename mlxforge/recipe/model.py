"""A recipe after it was read, merged and checked: frozen values without behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlxforge.errors import Position
from mlxforge.recipe.further import NOTHING, Further
from mlxforge.recipe.methods import Awq, Dwq, Dynamic, Gptq

__all__ = [
    "Calibrate",
    "Evaluate",
    "Override",
    "Quantize",
    "Recipe",
    "Requirement",
    "Source",
    "Text",
    "Upload",
]


@dataclass(frozen=True)
class Source:
    """Where the weights come from: a local folder, or a Hub repository at a revision."""

    path: Path | None = None  # absolute
    repo: str | None = None
    revision: str = "main"
    further: Further = NOTHING
    at: Position | None = field(default=None, compare=False)  # of the path or the repository


@dataclass(frozen=True)
class Override:
    """A rule for some layers. ``layers`` is a role or a glob over module paths.

    ``bits``, ``group_size`` and ``mode`` are complete: what the rule left out was filled in from
    the recipe's own values, or from the mode's defaults where the rule changes the mode.
    """

    layers: str
    quantize: bool
    bits: int
    group_size: int
    mode: str
    at: Position = field(compare=False)


@dataclass(frozen=True)
class Quantize:
    """``prepare`` and ``refine``: what is done before codes are chosen, and after. ``gptq``,
    ``awq``, ``dwq``, ``dynamic``: what the recipe says of each method that is in use, defaults
    filled in; None for the others. ``widths``: bits by path that were chosen for this
    section by measuring; no recipe says them, a plan takes them from the lock."""

    method: str
    bits: int
    group_size: int
    mode: str
    scales: str
    dtype: str | None  # None: the source's own
    refine: str
    overrides: tuple[Override, ...] = ()
    allow_nonfinite: bool = False  # weights that are NaN or infinite
    prepare: str = "none"
    gptq: Gptq | None = None
    awq: Awq | None = None
    dwq: Dwq | None = None
    dynamic: Dynamic | None = None
    widths: tuple[tuple[str, int], ...] | None = None
    at: Position | None = field(default=None, compare=False)

    @property
    def filling(self) -> str:
        """The method that chooses the codes: with ``dynamic`` the one that fills the widths."""
        return self.dynamic.method if self.dynamic else self.method

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of all that is done, in its order."""
        names = (self.prepare, self.method, self.refine)
        return tuple(name for name in names if name != "none") or ("none",)

    @property
    def moves_scales(self) -> bool:
        """Whether awq moves scales between layers, for codes of its own or of ``filling``."""
        return "awq" in (self.filling, self.prepare)


@dataclass(frozen=True)
class Text:
    """Plain text: a file, or a column of a data set on the Hub."""

    path: Path | None = None  # absolute
    dataset: str | None = None
    config: str | None = None
    split: str | None = None
    column: str = "text"
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Calibrate:
    """``overlap``: what becomes of a text that overlaps with the evaluation's, refuse or flag."""

    text: Text | None
    samples: int
    sequence_length: int
    seed: int
    overlap: str


@dataclass(frozen=True)
class Requirement:
    """A gate: ``metric`` must stay at or below ``limit`` (at or above for ``top1_agreement``).

    ``limit`` is a plain number: ``5%`` is 0.05. ``written`` is what the recipe says.
    """

    metric: str
    limit: float
    written: str
    at: Position = field(compare=False)


@dataclass(frozen=True)
class Evaluate:
    """``images``: names of mlxforge.evaluate.drawings; None stands for all, where a model sees."""

    text: Text | None
    samples: int
    sequence_length: int
    metrics: tuple[str, ...]
    prompts: tuple[str, ...]
    max_tokens: int
    images: tuple[str, ...] | None = None
    require: tuple[Requirement, ...] = ()


@dataclass(frozen=True)
class Upload:
    repo: str
    private: bool
    branch: str
    pull_request: bool
    on_build: bool


@dataclass(frozen=True)
class Recipe:
    """One model to build.

    ``document`` is the merged document with every default filled in; ``positions`` maps a path in
    it, such as ``("quantize", "overrides", 0, "bits")``, to where the value was written. A path
    without a position is a default.
    """

    name: str
    file: Path
    source: Source
    quantize: Quantize
    calibrate: Calibrate | None = None
    evaluate: Evaluate | None = None
    upload: Upload | None = None
    document: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    positions: Mapping[tuple[str | int, ...], Position] = field(
        default_factory=dict, compare=False, repr=False
    )
