"""mlx_lm's own quantizers on given windows, at the same bits everywhere.

upstream_quant.py gptq | awq | dwq BITS MODEL TOKENS OUT

An optimized BLAS is loaded as for ours, and the model computes in float32. Tokens are what its
own data sets would give; embeddings and whatever else a method leaves alone get the same bits.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

GROUP_SIZE = 64
STEPS_OF = 1  # windows in a batch of dwq
HELD_OUT = 4  # windows that dwq validates on


def main() -> None:
    method, bits, folder, tokens, out = sys.argv[1:]
    from mlxforge.models.blas import load_blas

    load_blas()
    import mlx.core as mx
    import numpy as np
    from mlx_lm.utils import load, save

    windows = np.load(tokens)
    model, tokenizer, config = load(folder, return_config=True)
    model.set_dtype(mx.float32)
    quantize = {"gptq": gptq, "awq": awq, "dwq": dwq}[method]
    model, config = quantize(model, config, windows, int(bits))
    cast = [(name, value.astype(mx.bfloat16)) for name, value in floats(model)]
    model.load_weights(cast, strict=False)
    Path(out).mkdir(parents=True, exist_ok=True)
    save(out, folder, model, tokenizer, config)


def floats(model: Any) -> list[tuple[str, Any]]:
    import mlx.core as mx
    from mlx.utils import tree_flatten

    return [(n, v) for n, v in tree_flatten(model.parameters()) if v.dtype == mx.float32]


def gptq(model: Any, config: Any, windows: Any, bits: int) -> tuple[Any, Any]:
    import mlx.core as mx
    from mlx_lm.quant.gptq import gptq_quantize

    data = mx.array(windows)
    model, config["quantization"] = gptq_quantize(model, data, bits, GROUP_SIZE, bits, GROUP_SIZE)
    return model, config


def awq(model: Any, config: Any, windows: Any, bits: int) -> tuple[Any, Any]:
    import mlx.core as mx
    from mlx_lm.quant.awq import AWQ_MODEL_CONFIGS, awq_quantize, update_config

    awq_quantize(
        model, mx.array(windows), AWQ_MODEL_CONFIGS[config["model_type"]], bits=bits,
        group_size=GROUP_SIZE, embed_bits=bits, embed_group_size=GROUP_SIZE, n_grid=20,
    )  # fmt: skip
    return model, update_config(model, config)


def dwq(model: Any, config: Any, windows: Any, bits: int) -> tuple[Any, Any]:
    """Its quantized kernels take hours for this on a CPU: weights are dequantized for each product
    instead, which gives the same gradients."""
    import copy

    import mlx.core as mx
    import mlx.nn as nn
    import mlx.optimizers as optim
    from mlx_lm.quant.dwq import dwq_quantize
    from mlx_lm.utils import quantize_model

    def weight(m: Any) -> Any:
        return mx.dequantize(m.weight, m.scales, m.biases, m.group_size, m.bits)

    nn.QuantizedLinear.__call__ = lambda m, x: x @ weight(m).T
    nn.QuantizedEmbedding.as_linear = lambda m, x: x @ weight(m).T
    teacher = model
    student, config = quantize_model(copy.deepcopy(model), config, GROUP_SIZE, bits)
    data = [(row.tolist(), 0) for row in windows]

    def target(batch: Any, index: int, split: str) -> Any:
        return teacher(batch)

    # its default, 1e-6, is for thousands of steps
    optimizer = optim.Adam(learning_rate=1e-4, bias_correction=True)
    dwq_quantize(
        student, target, optimizer, data[:-HELD_OUT], data[-HELD_OUT:], batch_size=STEPS_OF,
        max_seq_length=windows.shape[1], seed=123, dtype=mx.float32,
    )  # fmt: skip
    return student, config


if __name__ == "__main__":
    main()
