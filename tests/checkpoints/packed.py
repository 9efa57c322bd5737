"""Checkpoints whose weights are stored packed: float8, mxfp4, AWQ, GPTQ."""

from __future__ import annotations

import math
from collections.abc import Iterable

import mlx.core as mx

from tests.checkpoints.common import (
    BLOCK_NORMS,
    EXPERTS,
    HIDDEN,
    LAYERS,
    QKV,
    Checkpoint,
    Weights,
    attention,
    ends,
    fields,
    norms,
    random,
)
from tests.checkpoints.dense import llama
from tests.checkpoints.experts import deepseek_v3


def deepseek_fp8() -> tuple[Checkpoint, list[str]]:
    """float8 weights with a float32 scale per block of 128 x 128; and their names."""
    config, weights = deepseek_v3()
    kept = ("norm", "embed_tokens", "lm_head", "mlp.gate.")
    packed = [name for name, array in weights.items() if array.ndim == 2 and not _any(kept, name)]
    for name in packed:
        rows, columns = weights[name].shape
        blocks = (math.ceil(rows / 128), math.ceil(columns / 128))
        weights[f"{name}_scale_inv"] = mx.random.uniform(0.5, 2.0, blocks)
        weights[name] = mx.to_fp8(weights[name])
    config["quantization_config"] = {
        "quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128],
        "activation_scheme": "dynamic",
    }  # fmt: skip
    return (config, weights), packed


def gpt_oss() -> Checkpoint:
    """Experts packed as mxfp4, gate and up interleaved."""
    weights = ends()

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
        weights |= attention(prefix, biases=(*QKV, "o_proj")) | norms(prefix, *BLOCK_NORMS)
        weights[f"{prefix}self_attn.sinks"] = random(4)
        weights[f"{prefix}mlp.router.weight"] = random(EXPERTS, HIDDEN)
        weights[f"{prefix}mlp.router.bias"] = random(EXPERTS)
        weights |= packed(f"{prefix}mlp.experts.gate_up_proj", 2 * HIDDEN, HIDDEN)
        weights |= packed(f"{prefix}mlp.experts.down_proj", HIDDEN, HIDDEN)
    kept = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens",
            "lm_head"]  # fmt: skip
    config = fields(
        "gpt_oss", architectures=["GptOssForCausalLM"], attention_bias=True, attention_dropout=0.0,
        experts_per_token=2, num_local_experts=EXPERTS, num_experts_per_tok=2,
        intermediate_size=HIDDEN, initial_context_length=2048, sliding_window=64,
        layer_types=["sliding_attention", "full_attention"], rope_theta=150000,
        output_router_logits=False, router_aux_loss_coef=0.9, swiglu_limit=7.0, torch_dtype=None,
        rope_scaling={"rope_type": "yarn", "factor": 2.0, "beta_fast": 32.0, "beta_slow": 1.0,
                      "original_max_position_embeddings": 2048, "truncate": False},
        quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": kept},
    )  # fmt: skip
    return config, weights


def awq() -> Checkpoint:
    """A llama as AutoAWQ packs it: 4 bit, groups of 64, inputs first, eight outputs to a word."""
    config, weights = llama()
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
    config["torch_dtype"] = "float16"
    config["quantization_config"] = {
        "quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "version": "gemm",
    }  # fmt: skip
    return config, weights


def gptq() -> Checkpoint:
    """The same packing with zero points left out: every group is symmetric."""
    config, weights = awq()
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 64}
    return config, {name: array for name, array in weights.items() if "qzeros" not in name}


def _any(parts: Iterable[str], name: str) -> bool:
    return any(part in name for part in parts)
