"""The language side of a model that sees or hears, as a model of text like any other."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn

__all__ = ["LanguageSide", "as_text_model"]


def as_text_model(model: nn.Module) -> nn.Module:
    """``model``, if mlx_lm made it; else its language side, to be used as mlx_lm's models are."""
    return LanguageSide(model) if hasattr(model, "get_input_embeddings") else model


class LanguageSide(nn.Module):  # type: ignore[misc]
    """tokens [windows, n] -> logits [windows, n, vocabulary], without an image or a sound."""

    def __init__(self, whole: nn.Module) -> None:
        super().__init__()
        self.language = whole.language_model

    def __call__(self, tokens: mx.array, cache: Any = None) -> mx.array:
        found = self.language(tokens, cache=cache)
        logits: mx.array = getattr(found, "logits", found)
        return logits

    @property
    def layers(self) -> Any:
        return self.language.layers

    def make_cache(self) -> Any:
        from mlx_vlm.models.cache import make_prompt_cache

        return make_prompt_cache(self.language)
