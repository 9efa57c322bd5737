"""Showing an image to a model and asking about it, through mlx_vlm's own generation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.errors import ForgeError

__all__ = ["Answer", "Seer"]


@dataclass(frozen=True)
class Answer:
    """``tokens`` are what was said, ``logprobs`` float32 [tokens, vocabulary] what the model
    thought before each of them, in nats."""

    text: str
    tokens: tuple[int, ...]
    logprobs: np.ndarray


class Seer:
    """A model of mlx_vlm with the processor of its folder.

    Raises ForgeError where the folder's processor does not load.
    """

    def __init__(self, model: nn.Module, folder: Path) -> None:
        from mlx_vlm.utils import load_image_processor, load_processor

        self._model = model
        ends = getattr(model.config, "eos_token_id", None)
        try:
            own = load_image_processor(folder)
            self._processor = load_processor(folder, True, eos_token_ids=ends)
        except Exception as error:
            raise ForgeError(
                f"the processor in {folder} does not load: {error}".splitlines()[0],
                "does the folder hold the processor's files of the model's repository?",
            ) from error
        if own is not None:
            self._processor.image_processor = own

    def answer(
        self, image: Path, question: str, max_tokens: int, said: Sequence[int] | None = None
    ) -> Answer:
        """The greedy answer to ``question`` about ``image``, or what the model thinks of another
        one's words, the tokens ``said``."""
        from mlx_vlm.generate import generate_step

        wanted = list(said or ())
        inputs = self._inputs(image, question)
        steps = generate_step(
            inputs.pop("input_ids"), self._model, inputs.pop("pixel_values"),
            inputs.pop("attention_mask"), max_tokens=len(wanted) or max_tokens, temperature=0.0,
            sampler=_Said(wanted) if wanted else _likeliest, **inputs,
        )  # fmt: skip
        tokens, thoughts = [], []
        for token, logprobs in steps:
            tokens.append(int(token))
            thoughts.append(np.asarray(logprobs.astype(mx.float32)).reshape(-1))
            if not wanted and self._tokenizer.stopping_criteria(tokens[-1]):
                break
        text = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return Answer(text, tuple(tokens), np.stack(thoughts))

    @property
    def _tokenizer(self) -> Any:
        return getattr(self._processor, "tokenizer", self._processor)

    def _inputs(self, image: Path, question: str) -> dict[str, Any]:
        from mlx_vlm.prompt_utils import apply_chat_template
        from mlx_vlm.utils import load_image, prepare_inputs, should_add_special_tokens

        config, processor = self._model.config, self._processor
        text = apply_chat_template(processor, config, question, num_images=1)
        try:
            return dict(
                prepare_inputs(
                    processor,
                    images=[str(image)],
                    prompts=text,
                    image_token_index=getattr(config, "image_token_index", None),
                    add_special_tokens=should_add_special_tokens(config.model_type, processor),
                )
            )
        except ValueError:  # it adds a padding that the processors of some models refuse
            return dict(processor(images=[load_image(str(image))], text=[text]))


def _likeliest(logprobs: mx.array) -> mx.array:
    return mx.argmax(logprobs, axis=-1)


class _Said:
    """Gives the next of some known tokens, whatever the model thinks."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._left = list(tokens)

    def __call__(self, logprobs: mx.array) -> mx.array:
        token = self._left.pop(0) if self._left else 0  # generation runs one token ahead
        return mx.array([token])
