"""Every model type of the installed mlx_lm and mlx_vlm: which resolve, and why others do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlxforge.errors import ForgeError
from mlxforge.models.source.load import check_config
from tests.conftest import ROOT
from tests.models.architectures_table import markdown, versions
from tests.models.reviewed import BARE_ROUTERS, IN_PART, MIXERS_ONLY, REFUSED
from tests.models.walk import PACKAGES, Verdict, walk


@pytest.fixture(scope="module")
def verdicts() -> list[Verdict]:
    return [entry for package in PACKAGES for entry in walk(package)]


def test_what_is_refused_is_known_with_its_reason(verdicts: list[Verdict]) -> None:
    found = {(e.package, e.name): e.refused for e in verdicts if e.refused is not None}
    assert found == REFUSED


def test_every_layer_of_every_other_type_has_a_role(verdicts: list[Verdict]) -> None:
    without = {(entry.package, entry.name): entry.other for entry in verdicts if entry.other}
    assert without.keys() == IN_PART.keys(), without


def test_every_text_decoder_has_attention_and_an_mlp(verdicts: list[Verdict]) -> None:
    for entry in verdicts:
        if entry.refused is None:
            assert "attention" in entry.roles, entry
            lacks = not entry.roles.keys() & {"mlp", "experts"}
            assert lacks == (entry.name in MIXERS_ONLY), entry


def test_experts_have_a_router(verdicts: list[Verdict]) -> None:
    """As a layer, or as a bare matrix that is never quantized."""
    for entry in verdicts:
        if "experts" in entry.roles:
            assert entry.routes == (entry.name not in BARE_ROUTERS), entry


@pytest.mark.parametrize("model_type,reason", [
    ("bert", "writes no text"), ("qwen3_vl_embedding", "makes embeddings"),
    ("laya", "answers with a decision"),
])  # fmt: skip
def test_a_model_with_another_purpose_is_refused(
    tmp_path: Path, model_type: str, reason: str
) -> None:
    with pytest.raises(ForgeError) as caught:
        check_config(tmp_path, {"model_type": model_type})
    assert caught.value.message == f"{tmp_path}: a {model_type} model {reason}"


def test_readme_shows_the_table_of_these_versions(verdicts: list[Verdict]) -> None:
    readme = (ROOT / "README.md").read_text()
    if f"Of {versions()}." not in readme:
        pytest.skip(f"README's table is not of {versions()}")
    assert markdown(verdicts) in readme
