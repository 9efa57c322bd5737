"""A head is run on parts of its vocabulary only where its graph proves that this is safe."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import pytest

from mlxforge.models.scoring.leaves import model as leaves
from mlxforge.models.scoring.leaves.columns import columns_stand_alone
from mlxforge.models.scoring.leaves.model import hold_model
from mlxforge.models.scoring.leaves.supply import Supply
from mlxforge.models.streaming.tensors import open_tensors

TOKENS, WIDTH = 4, 128


@partial(mx.compile, shapeless=True)
def soft_cap(cap: float, logits: mx.array) -> mx.array:
    return mx.tanh(logits / cap) * cap


def written(logits: mx.array) -> mx.array:
    logits[..., mx.array([3, 400])] = 0
    return logits


def written_in_a_row(logits: mx.array) -> mx.array:
    logits[..., 400:] = -float("inf")
    return logits


@mx.compile
def compiled(logits: mx.array) -> mx.array:
    return mx.softmax(logits, axis=-1) * logits


def looked_at(logits: mx.array) -> mx.array:
    return logits if logits.max() > 0 else -logits


SAFE: dict[str, Callable[[mx.array], mx.array]] = {
    "nothing": lambda logits: logits,
    "scaled": lambda logits: logits * 0.5 / mx.array([2.0]),
    "soft cap": lambda logits: soft_cap(30.0, logits),
    "clipped": lambda logits: mx.clip(logits - 1, -5, 5).astype(mx.bfloat16),
    "scaled by token": lambda logits: logits * mx.arange(TOKENS)[:, None],
    "flattened": lambda logits: logits.reshape(TOKENS, -1)[None],
}
UNSAFE: dict[str, Callable[[mx.array], mx.array]] = {
    "written": written,
    "a row written": written_in_a_row,
    "taken": lambda logits: mx.take(logits, mx.arange(logits.shape[-1]), axis=-1),
    "reversed": lambda logits: logits[..., ::-1],
    "padded": lambda logits: mx.pad(logits[..., 1:], [(0, 0), (0, 0), (0, 1)]),
    "normalized": lambda logits: logits - mx.logsumexp(logits, axis=-1, keepdims=True),
    "compiled": compiled,
    "with a number for each": lambda logits: logits + mx.arange(logits.shape[-1]),
    "times a matrix": lambda logits: logits @ mx.zeros((logits.shape[-1],) * 2),
    "looked at": looked_at,
    "axes exchanged": lambda logits: logits.swapaxes(1, 2).reshape(logits.shape),
}


@pytest.fixture(params=["float32", "as stored"])
def model(
    request: pytest.FixtureRequest, tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> nn.Module:
    monkeypatch.setattr(leaves, "RESIDENT", 600)
    folder = tiny(tied=False)
    stored = request.param == "as stored"
    return hold_model(folder, open_tensors(folder), Supply(0), as_stored=stored)


HEADS: dict[str, Callable[[nn.Module, mx.array], mx.array]] = {
    "linear": lambda model, states: model.lm_head(states),
    "its weight": lambda model, states: states @ model.lm_head.weight.T,
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("after", [*SAFE, *UNSAFE])
def test_only_what_treats_each_logit_alone_is_proved(
    model: nn.Module, head: str, after: str
) -> None:
    states = mx.random.normal((1, TOKENS, WIDTH))
    follow = (SAFE | UNSAFE)[after]
    proved = columns_stand_alone(lambda: follow(HEADS[head](model, states)), model.lm_head, TOKENS)
    assert proved is (after in SAFE)


def test_packed_weights_are_proved_as_they_are_stored(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlx_lm.utils import load_model, quantize_model, save

    from mlxforge.models.source.load import load_tokenizer

    monkeypatch.setattr(leaves, "RESIDENT", 600)
    source, folder = tiny(tied=True), tmp_path / "model"
    packed, config = load_model(source, lazy=True)
    packed, config = quantize_model(packed, config, 32, 4)
    folder.mkdir()
    save(folder, source, packed, load_tokenizer(source), config)
    model = hold_model(folder, open_tensors(folder), Supply(0), as_stored=True)
    embedding, states = model.model.embed_tokens, mx.random.normal((1, TOKENS, WIDTH))
    assert columns_stand_alone(lambda: embedding.as_linear(states), embedding, TOKENS)
    rows = mx.arange(TOKENS)
    looked_up = lambda: embedding(rows)[None] @ states.swapaxes(1, 2)  # noqa: E731
    assert not columns_stand_alone(looked_up, embedding, TOKENS)
