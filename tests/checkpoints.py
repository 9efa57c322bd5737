"""Small random checkpoints of many architectures, with the key names that the Hub's files have.

Each maker returns the config's fields and the tensors; ``write`` puts them into a folder, in
shards that cut layers wherever it hurts.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import mlx.core as mx

from tests.tiny import DEMO_MODEL, TOKENIZER_FILES

Weights = dict[str, mx.array]
Checkpoint = tuple[dict[str, Any], Weights]

VOCABULARY = json.loads((DEMO_MODEL / "config.json").read_text())["vocab_size"]
HIDDEN, INNER, LAYERS, EXPERTS = 128, 256, 2, 4
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
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data))


def cast(checkpoint: Checkpoint, dtype: str) -> Checkpoint:
    """The same in another dtype."""
    config, weights = checkpoint
    changed = {name: array.astype(getattr(mx, dtype)) for name, array in weights.items()}
    return config | {"torch_dtype": dtype}, changed


def random(*shape: int) -> mx.array:
    return (mx.random.normal(shape) * 0.05).astype(mx.bfloat16)


def _ends() -> Weights:
    return {
        "model.embed_tokens.weight": random(VOCABULARY, HIDDEN),
        "model.norm.weight": 1 + random(HIDDEN),
        "lm_head.weight": random(VOCABULARY, HIDDEN),
    }


def _fields(model_type: str, **more: Any) -> dict[str, Any]:
    plain = {
        "model_type": model_type, "hidden_size": HIDDEN, "intermediate_size": INNER,
        "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 32, "rms_norm_eps": 1e-5, "vocab_size": VOCABULARY, "rope_theta": 1e4,
        "max_position_embeddings": 4096, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    }  # fmt: skip
    return plain | more


def _norms(prefix: str, *names: str) -> Weights:
    return {f"{prefix}{name}.weight": 1 + random(HIDDEN) for name in names}


def _attention(prefix: str) -> Weights:
    rows = {"q_proj": HIDDEN, "k_proj": HIDDEN // 2, "v_proj": HIDDEN // 2, "o_proj": HIDDEN}
    return {f"{prefix}self_attn.{name}.weight": random(rows[name], HIDDEN) for name in rows}


def _mlp(prefix: str, names: tuple[str, str, str], inner: int = INNER) -> Weights:
    gate, up, down = names
    return {
        f"{prefix}{gate}.weight": random(inner, HIDDEN),
        f"{prefix}{up}.weight": random(inner, HIDDEN),
        f"{prefix}{down}.weight": random(HIDDEN, inner),
    }


PROJECTIONS = ("gate_proj", "up_proj", "down_proj")
BLOCK_NORMS = ("input_layernorm", "post_attention_layernorm")


def llama() -> Checkpoint:
    weights = _ends()
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        weights |= _attention(prefix) | _mlp(f"{prefix}mlp.", PROJECTIONS)
        weights |= _norms(prefix, *BLOCK_NORMS)
    return _fields("llama"), weights


def tied_gemma() -> Checkpoint:
    """Embeddings that are the head as well; norms that count from one."""
    weights = {k: v for k, v in _ends().items() if k != "lm_head.weight"}
    norms = (*BLOCK_NORMS, "pre_feedforward_layernorm", "post_feedforward_layernorm")
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        weights |= _attention(prefix) | _mlp(f"{prefix}mlp.", PROJECTIONS) | _norms(prefix, *norms)
        for name in ("q_norm", "k_norm"):
            weights[f"{prefix}self_attn.{name}.weight"] = random(32)
    fields = _fields(
        "gemma3_text", tie_word_embeddings=True, sliding_window=64, sliding_window_pattern=2,
        query_pre_attn_scalar=32, rope_local_base_freq=1e4,
    )  # fmt: skip
    return fields, weights


def phi3() -> Checkpoint:
    """Fused projections."""
    weights = _ends()
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        weights[f"{prefix}self_attn.qkv_proj.weight"] = random(2 * HIDDEN, HIDDEN)
        weights[f"{prefix}self_attn.o_proj.weight"] = random(HIDDEN, HIDDEN)
        weights[f"{prefix}mlp.gate_up_proj.weight"] = random(2 * INNER, HIDDEN)
        weights[f"{prefix}mlp.down_proj.weight"] = random(HIDDEN, INNER)
        weights |= _norms(prefix, *BLOCK_NORMS)
    return _fields("phi3"), weights


def mixtral() -> Checkpoint:
    """Experts in separate tensors, stacked by sanitize."""
    weights = _ends()
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        weights |= _attention(prefix) | _norms(prefix, *BLOCK_NORMS)
        weights[f"{prefix}block_sparse_moe.gate.weight"] = random(EXPERTS, HIDDEN)
        for expert in range(EXPERTS):
            name = f"{prefix}block_sparse_moe.experts.{expert}."
            weights |= _mlp(name, ("w1", "w3", "w2"))
    return _fields("mixtral", num_local_experts=EXPERTS, num_experts_per_tok=2), weights


def deepseek_v3() -> Checkpoint:
    """Latent attention, whose projection sanitize splits and transposes; experts beside shared."""
    rank, rope, nope, value, heads = 64, 32, 64, 64, 4
    weights = _ends()
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        attention = {
            "q_a_proj": (64, HIDDEN), "q_b_proj": (heads * (nope + rope), 64),
            "kv_a_proj_with_mqa": (rank + rope, HIDDEN),
            "kv_b_proj": (heads * (nope + value), rank), "o_proj": (HIDDEN, heads * value),
        }  # fmt: skip
        for name, shape in attention.items():
            weights[f"{prefix}self_attn.{name}.weight"] = random(*shape)
        for name, size in (("q_a_layernorm", 64), ("kv_a_layernorm", rank)):
            weights[f"{prefix}self_attn.{name}.weight"] = 1 + random(size)
        weights |= _norms(prefix, *BLOCK_NORMS)
        if layer == 0:
            weights |= _mlp(f"{prefix}mlp.", PROJECTIONS)
            continue
        weights[f"{prefix}mlp.gate.weight"] = random(EXPERTS, HIDDEN)
        weights[f"{prefix}mlp.gate.e_score_correction_bias"] = random(EXPERTS).astype(mx.float32)
        for expert in range(EXPERTS):
            weights |= _mlp(f"{prefix}mlp.experts.{expert}.", PROJECTIONS, 192)
        weights |= _mlp(f"{prefix}mlp.shared_experts.", PROJECTIONS, 192)
    fields = _fields(
        "deepseek_v3", moe_intermediate_size=192, n_shared_experts=1, n_routed_experts=EXPERTS,
        routed_scaling_factor=1.0, kv_lora_rank=rank, q_lora_rank=64, qk_rope_head_dim=rope,
        v_head_dim=value, qk_nope_head_dim=nope, n_group=2, topk_group=1, num_experts_per_tok=2,
        moe_layer_freq=1, first_k_dense_replace=1, num_key_value_heads=heads,
    )  # fmt: skip
    return fields, weights


def mamba2() -> Checkpoint:
    """A state-space model: convolutions with their axes in torch's order."""
    heads, width, state, groups = 8, 32, 16, 1
    inner = heads * width
    mixed = inner + 2 * groups * state
    weights = {
        "backbone.embeddings.weight": random(VOCABULARY, HIDDEN),
        "backbone.norm_f.weight": 1 + random(HIDDEN),
    }
    for layer in range(LAYERS):
        prefix = f"backbone.layers.{layer}."
        weights[f"{prefix}norm.weight"] = 1 + random(HIDDEN)
        weights[f"{prefix}mixer.in_proj.weight"] = random(inner + mixed + heads, HIDDEN)
        weights[f"{prefix}mixer.out_proj.weight"] = random(HIDDEN, inner)
        weights[f"{prefix}mixer.conv1d.weight"] = random(mixed, 1, 4)
        weights[f"{prefix}mixer.conv1d.bias"] = random(mixed)
        weights[f"{prefix}mixer.norm.weight"] = 1 + random(inner)
        for name in ("A_log", "D", "dt_bias"):
            weights[f"{prefix}mixer.{name}"] = random(heads)
    fields = _fields(
        "mamba2", num_heads=heads, head_dim=width, state_size=state, conv_kernel=4, expand=2,
        n_groups=groups, use_bias=False, use_conv_bias=True, tie_word_embeddings=True,
        time_step_limit=[0.0, 1e9], time_step_rank="auto", ssm_state_size=state, norm_eps=1e-5,
        layer_norm_epsilon=1e-5, residual_in_fp32=False, chunk_size=256, max_position_embeddings=0,
    )  # fmt: skip
    return fields, weights


PLAIN: dict[str, Callable[[], Checkpoint]] = {
    "llama": llama, "gemma3_text": tied_gemma, "phi3": phi3, "mixtral": mixtral,
    "deepseek_v3": deepseek_v3, "mamba2": mamba2,
}  # fmt: skip


def deepseek_fp8() -> tuple[Checkpoint, list[str]]:
    """float8 weights with a float32 scale per block of 128 x 128; and their names."""
    fields, weights = deepseek_v3()
    kept = ("norm", "embed_tokens", "lm_head", "mlp.gate.")
    packed = [name for name, array in weights.items() if array.ndim == 2 and not _any(kept, name)]
    for name in packed:
        rows, columns = weights[name].shape
        blocks = (math.ceil(rows / 128), math.ceil(columns / 128))
        weights[f"{name}_scale_inv"] = mx.random.uniform(0.5, 2.0, blocks)
        weights[name] = mx.to_fp8(weights[name])
    fields["quantization_config"] = {
        "quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128],
        "activation_scheme": "dynamic",
    }  # fmt: skip
    return (fields, weights), packed


def gpt_oss() -> Checkpoint:
    """Experts packed as mxfp4, gate and up interleaved."""
    weights = _ends()

    def packed(prefix: str, rows: int, columns: int) -> Weights:
        found = [mx.quantize(random(rows, columns), group_size=32, bits=4, mode="mxfp4")
                 for _ in range(EXPERTS)]  # fmt: skip
        blocks = mx.stack([codes for codes, _ in found]).view(mx.uint8)
        return {
            f"{prefix}_blocks": blocks.reshape(EXPERTS, rows, columns // 32, 16),
            f"{prefix}_scales": mx.stack([scales for _, scales in found]),
            f"{prefix}_bias": random(EXPERTS, rows),
        }

    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        weights |= _attention(prefix) | _norms(prefix, *BLOCK_NORMS)
        rows = {"q_proj": HIDDEN, "k_proj": HIDDEN // 2, "v_proj": HIDDEN // 2, "o_proj": HIDDEN}
        weights |= {f"{prefix}self_attn.{name}.bias": random(rows[name]) for name in rows}
        weights[f"{prefix}self_attn.sinks"] = random(4)
        weights[f"{prefix}mlp.router.weight"] = random(EXPERTS, HIDDEN)
        weights[f"{prefix}mlp.router.bias"] = random(EXPERTS)
        weights |= packed(f"{prefix}mlp.experts.gate_up_proj", 2 * HIDDEN, HIDDEN)
        weights |= packed(f"{prefix}mlp.experts.down_proj", HIDDEN, HIDDEN)
    fields = _fields(
        "gpt_oss", num_local_experts=EXPERTS, num_experts_per_tok=2, intermediate_size=HIDDEN,
        sliding_window=64, layer_types=["sliding_attention", "full_attention"],
        rope_scaling={"rope_type": "yarn", "factor": 2.0, "beta_fast": 32.0, "beta_slow": 1.0,
                      "original_max_position_embeddings": 2048, "truncate": False},
        quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": []},
    )  # fmt: skip
    return fields, weights


def awq() -> Checkpoint:
    """A llama as AutoAWQ packs it: 4 bit, groups of 64, inputs first, eight outputs to a word."""
    fields, weights = llama()
    order = mx.array([0, 4, 1, 5, 2, 6, 3, 7], dtype=mx.uint32) * 4

    def words(codes: mx.array) -> mx.array:
        lanes = codes.astype(mx.uint32).reshape(*codes.shape[:-1], -1, 8)
        return (lanes << order).sum(axis=-1).astype(mx.uint32).view(mx.int32)

    for name in [name for name in weights if _any(("_proj.weight",), name)]:
        rows, columns = weights.pop(name).shape
        path = name.removesuffix(".weight")
        weights[f"{path}.qweight"] = words(mx.random.randint(0, 16, (columns, rows)))
        weights[f"{path}.qzeros"] = words(mx.random.randint(0, 16, (columns // 64, rows)))
        scales = mx.random.uniform(0.001, 0.01, (columns // 64, rows))
        weights[f"{path}.scales"] = scales.astype(mx.float16)
    fields["torch_dtype"] = "float16"
    fields["quantization_config"] = {
        "quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "version": "gemm",
    }  # fmt: skip
    return fields, weights


def gptq() -> Checkpoint:
    """The same packing with zero points left out: every group is symmetric."""
    fields, weights = awq()
    fields["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 64}
    return fields, {name: array for name, array in weights.items() if "qzeros" not in name}


def _any(parts: Iterable[str], name: str) -> bool:
    return any(part in name for part in parts)
