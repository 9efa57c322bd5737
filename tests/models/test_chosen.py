"""What a method has chosen, on its way from a run that may be killed into the store."""

from __future__ import annotations

import os
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlxforge.models.writing.chosen import ChosenWriter, read_chosen
from mlxforge.quantize.affine import Affine
from mlxforge.quantize.moved import Moved
from mlxforge.quantize.scheme import Scheme

SCHEME = Scheme(4, 64, "affine")
CODES = Affine(
    mx.array(np.random.default_rng(0).integers(0, 16, size=(8, 128)).astype(np.uint8)),
    mx.full((8, 2), 0.5, mx.bfloat16),
    mx.full((8, 2), -1.0, mx.bfloat16),
)
MOVED = Moved(columns=np.linspace(1, 2, 128, dtype=np.float32))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("links", [True, False])
def test_what_is_finished_is_kept_until_it_is_published(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:

        def refuse(*paths: object) -> None:
            raise PermissionError("no links here")

        monkeypatch.setattr(os, "link", refuse)
    for name in ("kept", "first", "second"):
        (tmp_path / name).mkdir()
    writer = ChosenWriter(tmp_path / "first", tmp_path / "kept")
    writer.add("layer", [CODES], 4, unknown=(), moved=MOVED)
    writer.add_tensor("norm.weight", mx.ones(128))
    writer.finish(notes={"pairs": []})

    # killed here, before the store has it: the next run finds all of it
    writer = ChosenWriter(tmp_path / "second", tmp_path / "kept")
    (entry,) = writer.recall("layer", SCHEME) or ()
    assert mx.array_equal(entry.codes, CODES.codes)
    assert writer.recall_tensor("norm.weight") is not None
    writer.finish(notes={"pairs": []})
    assert files(tmp_path / "first") == files(tmp_path / "second")
    with read_chosen(tmp_path / "second") as chosen:
        assert np.array_equal(chosen.moved()["layer"].columns, MOVED.columns)
