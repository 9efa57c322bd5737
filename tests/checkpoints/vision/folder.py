"""The folder of a vision model: weights in shards, the demo model's tokenizer with the image tokens
that the model's processor looks for, and the processor's files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.checkpoints.common import VOCABULARY, Checkpoint, write
from tests.tiny import DEMO_MODEL

# of CLIP's images, and of SigLIP's
CLIP_SCALE = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "rescale_factor": 0.00392156862745098,
}
SIGLIP_SCALE = {
    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    "rescale_factor": 0.00392156862745098,
}  # fmt: skip

SHARDS = 2
FIRST: int = VOCABULARY


@dataclass(frozen=True)
class Tokens:
    """Special tokens that follow the demo model's vocabulary; ``FIRST`` is the first's id."""

    added: Sequence[str]

    def __getitem__(self, token: str) -> int:
        return FIRST + self.added.index(token)

    @property
    def rows(self) -> int:
        """Rows of the embedding table: a multiple of 64, as in the releases."""
        return (FIRST + len(self.added) + 63) // 64 * 64

    def all(self) -> list[str]:
        """With those that fill the table: a random model may say any of them."""
        reserved = self.rows - FIRST - len(self.added)
        return [*self.added, *(f"<|reserved_{number}|>" for number in range(reserved))]


@dataclass(frozen=True)
class Files:
    """What lies beside the weights: JSON documents and texts by their names, and the fields that
    ``tokenizer_config.json`` has besides the demo model's (None takes one away)."""

    documents: dict[str, Any] = field(default_factory=dict)
    tokenizer: dict[str, Any] = field(default_factory=dict)


def write_vision(checkpoint: Checkpoint, folder: Path, tokens: Tokens, files: Files) -> Path:
    """The whole folder, its weights in two shards."""
    write(checkpoint, folder, SHARDS)
    _write_tokenizer(folder, tokens, files.tokenizer)
    for name, document in files.documents.items():
        text = document if isinstance(document, str) else json.dumps(document, indent=2)
        (folder / name).write_text(text)
    return folder


def _write_tokenizer(folder: Path, tokens: Tokens, changes: dict[str, Any]) -> None:
    document = json.loads((DEMO_MODEL / "tokenizer.json").read_text())
    plain = document["added_tokens"][0]
    document["added_tokens"] += [
        plain | {"id": FIRST + place, "content": token} for place, token in enumerate(tokens.all())
    ]
    (folder / "tokenizer.json").write_text(json.dumps(document))
    config = json.loads((DEMO_MODEL / "tokenizer_config.json").read_text()) | changes
    kept = {key: value for key, value in config.items() if value is not None}
    (folder / "tokenizer_config.json").write_text(json.dumps(kept, indent=2))


def chat_template(image: str) -> str:
    """The demo model's turns; a message is a text, or a list of texts and images."""
    return (
        "{% for message in messages %}<|{{ message['role'] }}|>"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        "{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}" + image + "{% else %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{% endif %}"
        "{% if message['role'] == 'assistant' %}<|end|>{{ '\\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
