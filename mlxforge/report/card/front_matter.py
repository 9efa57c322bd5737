"""The card's metadata: the source's where it is still true, the artifact's where it is known."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from mlxforge.hub.card import Figure, Metadata, ScoredText, front_matter
from mlxforge.report.card.facts import CardFacts
from mlxforge.report.card.markdown import one_line
from mlxforge.report.card.quality import Quality, quality_of
from mlxforge.report.card.source import SourceCard, read_source_card

__all__ = ["card_front_matter"]

OTHER_FORMATS = frozenset({
    "pytorch", "torch", "tf", "tensorflow", "tflite", "jax", "flax", "keras", "rust", "onnx",
    "openvino", "coreml", "gguf", "ggml", "exl2", "exl3", "gptq", "awq", "bitsandbytes",
    "compressed-tensors", "fp8", "transformers", "transformers.js", "llama.cpp", "vllm", "sglang",
    "text-generation-inference",
})  # fmt: skip
"""Tags of formats and programs that the source serves and the result does not."""

COMPUTED = frozenset({"autotrain_compatible", "endpoints_compatible", "has_space", "custom_code"})
"""Tags that the Hub gives to a repository, and would not give to this one."""

OTHER_INPUTS = frozenset({"image", "video", "audio", "any", "visual", "document"})

_OF_ANOTHER_REPOSITORY = ("region:", "license:", "base_model:", "deploy:", "doi:")
_WIDTH = re.compile(r"\d+[-_ ]?bits?")


def card_front_matter(facts: CardFacts) -> str:
    """The YAML block of the card; see `Metadata` for what is in it.

    ``base_model_relation`` is said of a quantized model only: the Hub has no word for another
    dtype. A card whose licence link is a file's name means a file beside that card: the link
    becomes the published file's name, or the source's address.
    """
    card = read_source_card(facts.source_card)
    quality = quality_of(facts.figures)
    repo, config, split = facts.text_dataset or (None, None, None)
    metadata = Metadata(
        model_name=facts.repo.rsplit("/", 1)[-1],
        license=card.license,
        license_name=card.license_name,
        license_link=_license_link(card, facts),
        language=card.language,
        base_model=facts.base_model,
        base_model_relation="quantized" if facts.base_model and facts.bits else None,
        pipeline_tag=_pipeline_tag(card, facts),
        tags=tuple(_tags(card, facts)),
        text=ScoredText(one_line(facts.text or "") or "a text", repo, config, split),
        figures=tuple(_figures(quality)) if quality else (),
    )
    return front_matter(metadata)


def _license_link(card: SourceCard, facts: CardFacts) -> str | None:
    link = card.license_link
    if link is None:
        own = [name for name in facts.licence_files if name.startswith("LICENSE")]
        return one_line(own[0]) if own and card.license == ("other",) else None
    if "://" in link or link in facts.licence_files:
        return link
    if facts.base_model is None:
        return None
    return f"https://huggingface.co/{facts.base_model}/blob/{facts.base_commit or 'main'}/{link}"


def _pipeline_tag(card: SourceCard, facts: CardFacts) -> str:
    """The source's; but of a source that takes pictures mlx_lm keeps the language model alone."""
    if facts.vision:
        return card.pipeline_tag or "image-text-to-text"
    tag = card.pipeline_tag or "text-generation"
    return "text-generation" if OTHER_INPUTS & {*tag.split("-")} else tag


def _tags(card: SourceCard, facts: CardFacts) -> Iterator[str]:
    own = ["mlx", "mlxforge", *([f"{facts.bits}-bit"] if facts.bits else [])]
    yield from own
    seen = {*own}
    for tag in card.tags:
        word = tag.lower()
        if word not in seen and _still_true(word):
            seen.add(word)
            yield tag


def _still_true(word: str) -> bool:
    dropped = word in OTHER_FORMATS or word in COMPUTED or _WIDTH.fullmatch(word)
    return not dropped and not word.startswith(_OF_ANOTHER_REPOSITORY)


def _figures(quality: Quality) -> Iterator[Figure]:
    """Six digits; what is not finite has no place in `model-index`."""
    perplexity = quality.perplexity.value if quality.perplexity else None
    divergence = quality.kl.mean if quality.kl else None
    for metric, name, value in (
        ("perplexity", "Perplexity", perplexity),
        ("kl_divergence", "KL divergence from the source (mean, nats)", divergence),
        ("top1_agreement", "Top-1 agreement with the source", quality.top1),
    ):
        if value is not None and math.isfinite(value):
            yield Figure(metric, name, float(f"{value:.6g}"))
