"""What the makers of small checkpoints share: sizes, common fields and layers, and the folder.

A checkpoint is its config's fields and its tensors; ``write`` puts them into a folder, in shards
that cut layers wherever it hurts.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mlx.core as mx

from tests.tiny import DEMO_MODEL, TOKENIZER_FILES

Weights = dict[str, mx.array]
Checkpoint = tuple[dict[str, Any], Weights]

VOCABULARY = json.loads((DEMO_MODEL / "config.json").read_text())["vocab_size"]
HIDDEN, INNER, LAYERS, EXPERTS = 128, 256, 2, 4
PROJECTIONS = ("gate_proj", "up_proj", "down_proj")
BLOCK_NORMS = ("input_layernorm", "post_attention_layernorm")
QKV = ("q_proj", "k_proj", "v_proj")
CODES = {
    mx.uint8: "U8", mx.int32: "I32", mx.uint32: "U32",
    mx.float16: "F16", mx.bfloat16: "BF16", mx.float32: "F32",
}  # fmt: skip


def write(checkpoint: Checkpoint, folder: Path, shards: int = 1, fp8: Iterable[str] = ()) -> Path:
    """Tensors are dealt to the shards in turn, so that no layer lies in one file. Those named in
    ``fp8`` (uint8 arrays) get that dtype in the header."""
    config, weights = checkpoint
    folder.mkdir(parents=True)
    where = {}
    for number in range(shards):
        one = shards == 1
        name = "model.safetensors" if one else f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        dealt = dict(list(weights.items())[number::shards])
        _write_file(folder / name, dealt, set(fp8))
        where |= dict.fromkeys(dealt, name)
    if shards > 1:
        index = {"metadata": {}, "weight_map": where}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    for name in TOKENIZER_FILES:
        shutil.copy(DEMO_MODEL / name, folder / name)
    return folder


def _write_file(path: Path, weights: Weights, fp8: set[str]) -> None:
    header, data, offset = {}, [], 0
    for name, array in weights.items():
        raw = bytes(memoryview(mx.contiguous(array).reshape(-1).view(mx.uint8)))
        header[name] = {
            "dtype": "F8_E4M3" if name in fp8 else CODES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + len(raw)],
        }
        data.append(raw)
        offset += len(raw)
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.writelines(data)


def cast(checkpoint: Checkpoint, dtype: str) -> Checkpoint:
    """The same in another dtype."""
    config, weights = checkpoint
    changed = {name: array.astype(getattr(mx, dtype)) for name, array in weights.items()}
    return config | {"torch_dtype": dtype}, changed


def random(*shape: int) -> mx.array:
    return (mx.random.normal(shape) * 0.05).astype(mx.bfloat16)


def ends() -> Weights:
    return {
        "model.embed_tokens.weight": random(VOCABULARY, HIDDEN),
        "model.norm.weight": 1 + random(HIDDEN),
        "lm_head.weight": random(VOCABULARY, HIDDEN),
    }


def fields(model_type: str, **more: Any) -> dict[str, Any]:
    """A config of the common sizes. What is given as None is left out."""
    plain = {
        "model_type": model_type, "hidden_size": HIDDEN, "intermediate_size": INNER,
        "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 32, "rms_norm_eps": 1e-5, "vocab_size": VOCABULARY, "rope_theta": 1e4,
        "max_position_embeddings": 4096, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "hidden_act": "silu", "initializer_range": 0.02, "use_cache": True,
    }  # fmt: skip
    return {name: value for name, value in (plain | more).items() if value is not None}


def norms(prefix: str, *names: str, size: int = HIDDEN) -> Weights:
    return {f"{prefix}{name}.weight": 1 + random(size) for name in names}


def attention(prefix: str, width: int = 32, biases: Iterable[str] = ()) -> Weights:
    """Four heads of ``width`` that share two keys and values; biases of the projections named."""
    rows = {"q_proj": 4 * width, "k_proj": 2 * width, "v_proj": 2 * width, "o_proj": HIDDEN}
    weights = {f"{prefix}self_attn.{name}.bias": random(rows[name]) for name in biases}
    for name, size in rows.items():
        columns = 4 * width if name == "o_proj" else HIDDEN
        weights[f"{prefix}self_attn.{name}.weight"] = random(size, columns)
    return weights


def mlp(prefix: str, names: tuple[str, str, str] = PROJECTIONS, inner: int = INNER) -> Weights:
    gate, up, down = names
    return {
        f"{prefix}{gate}.weight": random(inner, HIDDEN),
        f"{prefix}{up}.weight": random(inner, HIDDEN),
        f"{prefix}{down}.weight": random(HIDDEN, inner),
    }
