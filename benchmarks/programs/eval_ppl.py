"""mlx_lm's own perplexity of a model on given tokens.

eval_ppl.py MODEL TOKENS OUT as-loaded | float32 | float32-blas

``as-loaded`` is what `mlx_lm.perplexity` does. ``float32`` is the same with scales and activations
in float32. ``float32-blas`` gives it what it does not take by itself on a CPU: an optimized BLAS,
and weights dequantized to float32.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    folder, tokens, out, way = sys.argv[1:]
    if way == "float32-blas":
        from mlxforge.models.blas import load_blas

        load_blas()
    import mlx.core as mx
    import numpy as np
    from mlx_lm import load
    from mlx_lm.perplexity import eval_ppl
    from mlx_lm.utils import dequantize_model

    model = load(folder)[0]
    if way != "as-loaded":
        model.set_dtype(mx.float32)  # first: dequantizing rounds to the dtype of the scales
    if way == "float32-blas":
        model = dequantize_model(model)
    perplexity, _ = eval_ppl(model, mx.array(np.load(tokens)))
    Path(out).write_text(json.dumps({"perplexity": perplexity}) + "\n")


if __name__ == "__main__":
    main()
