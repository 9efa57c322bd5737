"""The front matter of a model card, written by the Hub's own client.

https://huggingface.co/docs/hub/model-cards lists the keys. The client is imported only when a
card is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Figure", "Metadata", "ScoredText", "front_matter"]

TASK = "text-generation"
"""The task of every figure: they are all over the next tokens of a text."""

OTHER_TEXT = "custom"
"""The type of a text that is no data set on the Hub; the key must not be left out."""

_ORDER = [
    "license", "license_name", "license_link", "language", "base_model", "base_model_relation",
    "library_name", "pipeline_tag", "tags",
]  # fmt: skip


@dataclass(frozen=True)
class ScoredText:
    """What figures were measured on: ``name`` for people, the rest for a data set on the Hub."""

    name: str
    repo: str | None = None
    config: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Figure:
    """One measured number; ``metric`` is its word in `model-index`, ``name`` what people read."""

    metric: str
    name: str
    value: float


@dataclass(frozen=True)
class Metadata:
    """Everything in the front matter. Each text is one line; what is None or empty is left out."""

    model_name: str
    license: tuple[str, ...]
    license_name: str | None
    license_link: str | None
    language: tuple[str, ...]
    base_model: str | None
    base_model_relation: str | None
    pipeline_tag: str
    tags: tuple[str, ...]
    text: ScoredText
    figures: tuple[Figure, ...]


def front_matter(metadata: Metadata) -> str:
    """The YAML block with the lines of dashes around it; ends with a newline."""
    from huggingface_hub.repocard_data import EvalResult, ModelCardData

    text = metadata.text
    results = [
        EvalResult(
            task_type=TASK,
            dataset_type=text.repo or OTHER_TEXT,
            dataset_name=text.name,
            dataset_config=text.config,
            dataset_split=text.split,
            metric_type=figure.metric,
            metric_name=figure.name,
            metric_value=figure.value,
        )
        for figure in metadata.figures
    ]
    data = ModelCardData(
        license=_one_or_all(metadata.license),
        license_name=metadata.license_name,
        license_link=metadata.license_link,
        language=_one_or_all(metadata.language),
        base_model=metadata.base_model,
        base_model_relation=metadata.base_model_relation,
        library_name="mlx",
        pipeline_tag=metadata.pipeline_tag,
        tags=list(metadata.tags),
        model_name=metadata.model_name if results else None,
        eval_results=results or None,
    )
    block = data.to_yaml(original_order=_ORDER)
    return f"---\n{block}\n---\n"


def _one_or_all(texts: tuple[str, ...]) -> Any:
    """As people write it: one value bare, several as a list."""
    return texts[0] if len(texts) == 1 else list(texts) or None
