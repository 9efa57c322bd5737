"""Where a snapshot lies: the same place for us and for the client."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlxforge.hub.cache import snapshot_folder
from mlxforge.steps.download import Download
from mlxforge.steps.registry import make_step

VARIABLES = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"XDG_CACHE_HOME": "~/xdg"},
        {"HF_HOME": "~/home", "XDG_CACHE_HOME": "/xdg"},
        {"HUGGINGFACE_HUB_CACHE": "$HOME/old", "HF_HOME": "/home"},
        {"HF_HUB_CACHE": "here", "HUGGINGFACE_HUB_CACHE": "/old"},
    ],
    ids=["default", "xdg", "home", "old", "cache"],
)
def test_the_cache_is_where_the_client_has_it(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    ask = "from huggingface_hub.constants import HF_HUB_CACHE; print(HF_HUB_CACHE)"
    told = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    theirs = Path(os.path.abspath(told.stdout.strip()))
    assert snapshot_folder("acme/demo", "c0") == theirs / "models--acme--demo" / "snapshots" / "c0"
    lines = theirs / "datasets--acme--lines" / "snapshots" / "c0"
    assert snapshot_folder("acme/lines", "c0", "dataset") == lines


def test_a_data_set_and_a_model_of_one_name_are_different_downloads() -> None:
    model, dataset = Download("a/b", "c0", {}), Download("a/b", "c0", {}, "dataset")
    assert model.parameters() == {"repo": "a/b", "commit": "c0", "files": {}}
    assert dataset.parameters() == {**model.parameters(), "repo_type": "dataset"}
    assert make_step("download", dataset.parameters()) == dataset
    assert model.folder() != dataset.folder()
