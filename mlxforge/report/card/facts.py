"""What a model card is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["CardFacts"]


@dataclass(frozen=True)
class CardFacts:
    """A finished artifact, where it came from and where it goes.

    ``bits``, ``group_size`` and ``mode`` are the defaults of the recipe, None where nothing was
    quantized; ``dtype`` None is the source's own. ``bytes`` and ``source_bytes`` are of the
    weights. ``figures`` is what `evaluate` wrote into its ``result.json``. ``layers`` are rows of
    `mlxforge.report.layers.layer_rows`: pattern, role, count, shape, bits, group size, mode,
    bytes, decided by. No path of this machine belongs into any of them.
    """

    name: str
    """The recipe's."""
    repo: str
    """``owner/name`` that it is published as."""
    base_model: str | None
    """``owner/name`` of the source on the Hub; None for a local folder."""
    base_commit: str | None
    source_card: str
    """The source's README.md; empty where there is none."""
    licence_files: tuple[str, ...]
    """Names of the licence and notice files that are published beside the weights."""
    bits: int | None
    group_size: int | None
    mode: str | None
    method: str
    dtype: str | None
    bytes: int
    bits_per_weight: float
    source_bytes: int
    digest: str
    """Of the artifact."""
    backend: str
    """cpu, metal or cuda."""
    tools: Mapping[str, str]
    """Distribution to version."""
    figures: Mapping[str, Any] | None
    text: str | None
    """What it was scored on, for people: ``heldout.txt``."""
    text_dataset: tuple[str, str | None, str | None] | None
    """Repository, config and split, where the text is a data set on the Hub."""
    layers: Sequence[tuple[str, ...]]
    recipe_file: str
    """Name of the published recipe."""
    lock_file: str | None
    """Name of the published lock."""
    remote_code: tuple[str, ...] = ()
    """Names of the published files of code without which it does not run."""
    vision: bool = False
    """Made for mlx_vlm, not for mlx_lm."""
