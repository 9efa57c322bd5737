"""The language side of a model that sees or hears, as a model of text like any other."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn

__all__ = ["LanguageSide", "as_text_model"]

REMEMBERED = ("_position_ids", "_rope_deltas")


def as_text_model(model: nn.Module) -> nn.Module:
    """``model``, if mlx_lm made it; else its language side, to be used as mlx_lm's models are."""
    return LanguageSide(model) if hasattr(model, "get_input_embeddings") else model


class LanguageSide(nn.Module):  # type: ignore[misc]
    """tokens [windows, n] -> logits [windows, n, vocabulary], without an image or a sound.

    ``whole`` is the model that it is a side of.
    """

    whole: nn.Module

    def __init__(self, whole: nn.Module) -> None:
        super().__init__()
        self.language = whole.language_model
        object.__setattr__(self, "whole", whole)  # not a child: its parameters are there once

    def __call__(self, tokens: mx.array, cache: Any = None) -> mx.array:
        if all(getattr(entry, "offset", 0) == 0 for entry in cache or ()):
            self._forget()
        found = self.language(tokens, cache=cache)
        logits: mx.array = getattr(found, "logits", found)
        return logits

    def _forget(self) -> None:
        """Some models remember where the tokens of the text before lay."""
        for name in REMEMBERED:
            if getattr(self.language, name, None) is not None:
                setattr(self.language, name, None)

    @property
    def layers(self) -> Any:
        return self.language.layers

    def make_cache(self) -> Any:
        from mlx_vlm.models.cache import make_prompt_cache

        return make_prompt_cache(self.language)
