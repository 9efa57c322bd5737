"""What a vision model answers to an image, by mlx_vlm alone.

    python -P tests/checkpoints/vision/talk.py FOLDER IMAGE PROMPT TOKENS

prints the answer's token ids as JSON. A process of its own can load an optimized BLAS before MLX
is imported, which the large tower of phi3_v needs: with MLX's own BLAS one image takes minutes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from PIL import Image

__all__ = ["answer", "answer_apart"]


def answer(folder: Path, image: Image.Image, prompt: str, tokens: int) -> list[int]:
    """The ids of the ``tokens`` likeliest next tokens, one after the other, whether or not one
    ends the answer. The model is loaded strictly and computes in float32."""
    import mlx.core as mx
    from mlx_vlm import load
    from mlx_vlm.generate import generate_step
    from mlx_vlm.prompt_utils import apply_chat_template

    model, processor = load(str(folder), strict=True)
    model.set_dtype(mx.float32)
    text = apply_chat_template(processor, model.config, prompt, num_images=1)
    # the processor itself: prepare_inputs adds a padding that transformers refuses for LLaVA
    inputs = processor(images=[image], text=[text])
    steps = generate_step(
        inputs.pop("input_ids"),
        model,
        inputs.pop("pixel_values"),
        inputs.pop("attention_mask"),
        max_tokens=tokens,
        temperature=0.0,
        **inputs,
    )
    return [int(token) for token, _ in steps]


def answer_apart(folder: Path, image: Path, prompt: str, tokens: int) -> list[int]:
    """The same in a process of its own, with the image of a file."""
    done = subprocess.run(
        # -P: the folder beside this file has modules of its own; and not -m, as the packages
        # around it import MLX
        [sys.executable, "-P", __file__, str(folder), str(image), prompt, str(tokens)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: list[int] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    from mlxforge.models.blas import load_blas

    load_blas()
    told = answer(Path(sys.argv[1]), Image.open(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    print(json.dumps(told))
