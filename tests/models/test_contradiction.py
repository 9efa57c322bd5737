"""A config and tensors that make no model: what is wrong, and which field put right mends it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxforge.errors import ForgeError
from mlxforge.models.source.load import load_source
from mlxforge.models.source.unknown import unknown_type
from tests import checkpoints
from tests.checkpoints import Checkpoint
from tests.tiny import make_llama


def edit(folder: Path, *path: str, value: Any) -> None:
    """Set a field of config.json; None takes it away."""
    file = folder / "config.json"
    config = json.loads(file.read_text())
    inside = config
    for key in path[:-1]:
        inside = inside[key]
    if value is None:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    file.write_text(json.dumps(config))


def refusal(folder: Path) -> list[str]:
    with pytest.raises(ForgeError) as caught:
        load_source(folder)
    return str(caught.value).replace(str(folder), "SOURCE").splitlines()


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    make_llama(tmp_path / "source", tied=False)
    return tmp_path / "source"


LIES = [
    ("hidden_size", 192, "lm_head.weight is [512, 128] in the files, and config.json makes it "
     "[512, 192], and so on for 20 more", "hidden_size 128 instead of 192"),
    ("intermediate_size", 300, "model.layers.0.mlp.down_proj.weight is [128, 256] in the files, "
     "and config.json makes it [128, 300], and so on for 5 more",
     "intermediate_size 256 instead of 300"),
    ("num_key_value_heads", 4, "model.layers.0.self_attn.k_proj.weight is [64, 128] in the files, "
     "and config.json makes it [128, 128], and so on for 3 more",
     "num_key_value_heads 2 instead of 4"),
    ("vocab_size", 100, "lm_head.weight is [512, 128] in the files, and config.json makes it "
     "[100, 128], and so on for 1 more", "vocab_size 512 instead of 100"),
]  # fmt: skip


@pytest.mark.parametrize("field,value,told,fits", LIES, ids=[field for field, *_ in LIES])
def test_a_size_that_contradicts_the_tensors_is_told_with_what_would_fit(
    llama: Path, field: str, value: int, told: str, fits: str
) -> None:
    edit(llama, field, value=value)
    assert refusal(llama) == [f"SOURCE: {told}", f"  config.json would fit with {fits}"]


@given(
    field=st.sampled_from(["hidden_size", "intermediate_size", "vocab_size", "num_hidden_layers"]),
    value=st.integers(1, 40).map(lambda number: 4 * number),
)
@settings(max_examples=25, deadline=None)
def test_whatever_one_field_says_the_true_value_is_offered(
    tmp_path_factory: pytest.TempPathFactory, field: str, value: int
) -> None:
    folder = tmp_path_factory.mktemp("any") / "source"
    make_llama(folder, tied=False)
    true = json.loads((folder / "config.json").read_text())[field]
    if value == true:
        return
    edit(folder, field, value=value)
    _, hint = refusal(folder)
    assert f"{field} {true} instead of {value}" in hint


def test_two_wrong_sizes_are_told_without_an_offer(llama: Path) -> None:
    edit(llama, "hidden_size", value=192)
    edit(llama, "intermediate_size", value=300)
    assert refusal(llama)[1] == "  compare the sizes in config.json with the tensors' shapes"


@pytest.mark.parametrize("layers,verb", [(1, "has 9 tensors"), (3, "lacks 9 tensors")])
def test_layers_too_few_or_too_many(llama: Path, layers: int, verb: str) -> None:
    edit(llama, "num_hidden_layers", value=layers)
    first, hint = refusal(llama)
    number = 1 if layers == 1 else 2
    assert first.startswith(
        f"SOURCE {verb} (model.layers.{number}.input_layernorm.weight, "
        f"model.layers.{number}.mlp.down_proj.weight, model.layers.{number}.mlp.gate_proj.weight "
        "and 6 more)"
    )
    assert hint == f"  config.json would fit with num_hidden_layers 2 instead of {layers}"


@pytest.mark.parametrize("said", [False, None])
def test_a_head_that_is_not_there_is_the_embeddings(tmp_path: Path, said: bool | None) -> None:
    config, weights = checkpoints.PLAIN["phi3"]()
    del weights["lm_head.weight"]
    source = checkpoints.write((config, weights), tmp_path / "source")
    edit(source, "tie_word_embeddings", value=said)
    instead = " instead of false" if said is False else ""
    assert refusal(source) == [
        "SOURCE lacks 1 tensor (lm_head.weight)",
        f"  config.json would fit with tie_word_embeddings true{instead}",
    ]


MOE: list[tuple[str, str, int, str, str]] = [
    ("qwen3_moe", "num_experts", 8, "lacks the tensor model.layers.0.mlp.experts.4.up_proj.weight",
     "num_experts 4 instead of 8"),
    ("qwen3_moe", "num_experts", 2, "has 12 tensors (model.layers.0.mlp.experts.2.down_proj.weight",
     "num_experts 4 instead of 2"),
    ("qwen3_moe", "moe_intermediate_size", 64, "model.layers.0.mlp.switch_mlp.down_proj.weight is "
     "[4, 128, 128] in the files, and config.json makes it [4, 128, 64]",
     "moe_intermediate_size 128 instead of 64"),
    ("deepseek_v3", "kv_lora_rank", 16, "model.layers.0.self_attn.embed_q.weight is [4, 64, 64] in "
     "the files, and config.json makes it [4, 16, 64]", "kv_lora_rank 64 instead of 16"),
]  # fmt: skip


@pytest.mark.parametrize("name,field,value,told,fits", MOE)
def test_experts_and_ranks_are_told_alike(
    tmp_path: Path, name: str, field: str, value: int, told: str, fits: str
) -> None:
    source = checkpoints.write(checkpoints.PLAIN[name](), tmp_path / "source")
    edit(source, field, value=value)
    first, hint = refusal(source)
    assert told in first
    assert hint == f"  config.json would fit with {fits}"


def spoilt(change: Callable[[dict[str, mx.array]], Any], tmp_path: Path) -> list[str]:
    config, weights = checkpoints.PLAIN["llama"]()
    change(weights)
    checkpoint: Checkpoint = (config, weights)
    return refusal(checkpoints.write(checkpoint, tmp_path / "source"))


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    assert spoilt(lambda weights: weights.pop("model.norm.weight"), tmp_path) == [
        "SOURCE lacks 1 tensor (model.norm.weight)",
        "  get all files of the source again; is model_type the right one?",
    ]


def test_tensors_left_over_are_counted_and_named(tmp_path: Path) -> None:
    odd = {f"odd.{number}": mx.zeros(4) for number in (10, 9, 2, 1)}
    assert spoilt(lambda weights: weights.update(odd), tmp_path) == [
        "SOURCE has 4 tensors (odd.1, odd.2, odd.9 and 1 more), for which a llama model has no "
        "place",
        "  save the files without what is left over, or correct config.json",
    ]


def test_a_prefix_that_the_architecture_lacks_is_seen(tmp_path: Path) -> None:
    def prefix(weights: dict[str, mx.array]) -> None:
        for name in list(weights):
            weights[f"inner.{name}"] = weights.pop(name)

    first, hint = spoilt(prefix, tmp_path)
    assert "and has" in first and "inner.lm_head.weight" in first
    assert hint == (
        "  inner.lm_head.weight may be lm_head.weight under another name: is model_type the right "
        "one?"
    )


def test_another_architectures_tensors_are_no_puzzle(llama: Path) -> None:
    edit(llama, "model_type", value="phi3")
    first, hint = refusal(llama)
    assert first.startswith("SOURCE lacks 4 tensors (model.layers.0.mlp.gate_up_proj.weight, ")
    assert ", and has 10 tensors (model.layers.0.mlp.gate_proj.weight, " in first
    assert hint == "  are model_type and config.json those of these files?"


def test_a_field_that_the_architecture_needs_is_asked_for(llama: Path) -> None:
    edit(llama, "num_attention_heads", value=None)
    assert refusal(llama) == [
        "SOURCE: config.json has no num_attention_heads, which a llama model needs",
        "  get config.json again; is its model_type the right one?",
    ]


def test_what_only_the_loader_can_say_is_said_in_its_words(llama: Path) -> None:
    edit(llama, "hidden_size", value="big")
    assert refusal(llama)[0].startswith(
        "SOURCE: config.json and weights do not make a llama model: unsupported operand"
    )


UNKNOWN: list[tuple[dict[str, Any], str]] = [
    ({"model_type": "gemma3_txt"}, "did you mean 'gemma3_text'?"),
    ({"model_type": "gpt-oss"}, "did you mean 'gpt_oss'?"),
    ({"model_type": "qwen9"}, "a newer mlx-lm may know it"),  # no slip: the next generation
    ({"model_type": "mine"}, "a newer mlx-lm may know it"),
    ({"model_type": "lama", "auto_map": {"AutoModel": "m.M"}}, "a newer mlx-lm may know it"),
    ({"model_type": "roberta", "architectures": ["RobertaForMaskedLM"]},
     "models that make text can be built"),
    ({"model_type": "reformer", "architectures": ["ReformerModelWithLMHead"]},
     "a newer mlx-lm may know it"),
    ({"model_type": "ctrl", "architectures": ["CTRLLMHeadModel"], "transformers_version": "9.0"},
     "config.json was written by transformers 9.0"),
]  # fmt: skip


@pytest.mark.parametrize("config,told", UNKNOWN, ids=[c["model_type"] for c, _ in UNKNOWN])
def test_a_type_that_no_loader_has_is_told_with_who_may_know_it(
    config: dict[str, Any], told: str
) -> None:
    error = unknown_type(Path("SOURCE"), config, "mlx_lm")
    assert error.message.startswith(f"SOURCE: mlx_lm knows no model type {config['model_type']!r}")
    assert error.hint and told in error.hint
    assert len(str(error).splitlines()) == 2
