"""Generating text."""

from __future__ import annotations

from typing import Any

import mlx.nn as nn

__all__ = ["generate"]


def generate(model: nn.Module, tokenizer: Any, prompt: str, max_tokens: int) -> str:
    """The greedy continuation of ``prompt``, through the chat template where there is one."""
    from mlx_lm import stream_generate

    text: Any = prompt
    if tokenizer.chat_template is not None:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=False
        )
    pieces = stream_generate(model, tokenizer, prompt=text, max_tokens=max_tokens)
    return "".join(piece.text for piece in pieces)
