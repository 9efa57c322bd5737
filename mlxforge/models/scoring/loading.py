"""A model made ready for scoring on this machine's device, whatever its size."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.errors import ForgeError
from mlxforge.models.blas import REFERENCE, serving
from mlxforge.models.freed import CACHE_BYTES, give_back_freed
from mlxforge.models.memory import available_bytes
from mlxforge.models.scoring.attention import blocked_attention
from mlxforge.models.scoring.language import as_text_model
from mlxforge.models.scoring.leaves.held import Holder
from mlxforge.models.scoring.leaves.model import decoded_bytes, hold_model, supply_of
from mlxforge.models.scoring.leaves.supply import Supply
from mlxforge.models.scoring.split import find_body
from mlxforge.models.streaming.tensors import open_tensors
from mlxforge.quantize.cpu import on_cpu

__all__ = [
    "arithmetic",
    "attention",
    "check_tokens",
    "keep_weights",
    "load_for_scoring",
]

KEPT_BYTES = 576 << 20  # a model that takes more in float32 is streamed
MOST_KEPT_BYTES = 16 << 30  # however much memory there is


def load_for_scoring(folder: Path, *, keep: bool = True, exact: bool = False) -> nn.Module:
    """The model in ``folder``, or its language side: dequantized float32 on a CPU, as stored on
    a GPU.

    Its weights are read where they are used. They stay in memory if all of them fit into what is
    meant for that, and ``keep`` allows it; else freed memory goes back to the system at once.
    ``exact``: in float32 on a GPU too.
    """
    if not on_cpu() and not exact:
        supply = Supply(_gpu_budget() if keep else 0)
        return as_text_model(hold_model(folder, open_tensors(folder), supply, as_stored=True))
    if keep:
        mx.set_cache_limit(CACHE_BYTES)
    else:
        give_back_freed()
    supply = Supply(0)
    model = as_text_model(hold_model(folder, open_tensors(folder), supply))
    if keep and decoded_bytes(model) <= KEPT_BYTES:
        supply.grow(KEPT_BYTES)
    return model


def keep_weights(model: nn.Module) -> None:
    """Before many short runs: keep as many weights as half of the memory left now holds."""
    supply = supply_of(model)
    if supply is not None and on_cpu():
        supply.grow(min(available_bytes() // 2, MOST_KEPT_BYTES))


def attention(threads: int) -> AbstractContextManager[None]:
    """The fast way to run attention over long windows on this device; ``threads`` work at one."""
    return blocked_attention(threads) if on_cpu() else nullcontext()


def check_tokens(model: nn.Module, windows: np.ndarray) -> None:
    """ForgeError where ``windows`` hold tokens that the model has no embedding for: nothing in
    MLX checks that, and what lies behind the embeddings in memory would be scored."""
    rows = _embedding_rows(model)
    beyond = int(windows.max(initial=0))
    if rows is not None and beyond >= rows:
        raise ForgeError(
            f"token {beyond} is beyond the model's vocabulary of {rows}",
            "is this the model's tokenizer?",
        )


def arithmetic() -> str:
    """How the numbers were computed, in words, for the record."""
    if not on_cpu():
        return "GPU, as stored"
    return f"CPU, float32, {serving() or REFERENCE}"


def _embedding_rows(model: nn.Module) -> int | None:
    """Rows of the body's largest embedding (the others are of positions), where it has any."""
    body = find_body(model)
    kinds = (nn.Embedding, nn.QuantizedEmbedding)
    found = [module for module in (body or {}).values() if isinstance(module, kinds)]
    rows = (
        module._held.rows if isinstance(module, Holder) else module.weight.shape[0]
        for module in found
    )
    return max(rows, default=None)


def _gpu_budget() -> int:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = mx.device_info().get("max_recommended_working_set_size") or memory
    return int(limit) * 7 // 10
