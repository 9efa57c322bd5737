"""What `evaluate` measured, and the table of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlxforge.report.card.facts import CardFacts
from mlxforge.report.card.markdown import code, escaped, table
from mlxforge.units import readable_bytes

__all__ = ["Divergence", "Perplexity", "Quality", "quality_of", "quality_section"]


@dataclass(frozen=True)
class Perplexity:
    value: float
    standard_error: float


@dataclass(frozen=True)
class Divergence:
    """KL divergence of the model from its source over the tokens, in nats."""

    mean: float
    median: float
    p99: float


@dataclass(frozen=True)
class Quality:
    """None for a metric that was not measured; ``top1`` is a share between 0 and 1."""

    source: Perplexity
    perplexity: Perplexity | None
    kl: Divergence | None
    top1: float | None
    windows: int
    sequence_length: int
    arithmetic: str


def quality_of(figures: Mapping[str, Any] | None) -> Quality | None:
    """From `evaluate`'s ``result.json``; None where no metric was measured."""
    found = (figures or {}).get("figures")
    if not figures or not found:
        return None
    baseline = figures["baseline"]
    kl = found.get("kl_divergence")
    return Quality(
        _perplexity(baseline["perplexity"]),
        _perplexity(found["perplexity"]) if "perplexity" in found else None,
        Divergence(kl["mean"], kl["median"], kl["p99"]) if kl else None,
        found.get("top1_agreement"),
        baseline["windows"],
        baseline["sequence_length"],
        figures["arithmetic"],
    )


def _perplexity(entry: Mapping[str, Any]) -> Perplexity:
    return Perplexity(entry["value"], entry["standard_error"])


def quality_section(facts: CardFacts) -> str:
    """A row for the model and one for its source, a column for each thing that is known, and
    how it was measured."""
    quality = quality_of(facts.figures)
    columns = [
        *(_measured(quality) if quality else []),
        ("size", readable_bytes(facts.bytes), readable_bytes(facts.source_bytes)),
        ("bits per weight", f"{facts.bits_per_weight:.2f}", ""),
    ]
    heads, model, source = zip(*[("", "this model", "source"), *columns], strict=True)
    figures = table(heads, [model, source], right=range(1, len(heads)))
    return "\n\n".join(["## Quality", figures, _how(quality, facts)])


def _measured(quality: Quality) -> list[tuple[str, str, str]]:
    columns = []
    if quality.perplexity:
        change = quality.perplexity.value / quality.source.value - 1
        model = f"{_with_error(quality.perplexity)} ({change:+.2%})"
        columns.append(("perplexity", model, _with_error(quality.source)))
    if quality.kl:
        kl = f"{quality.kl.mean:.3g} / {quality.kl.median:.3g} / {quality.kl.p99:.3g}"
        columns.append(("KL divergence, nats (mean / median / p99)", kl, ""))
    if quality.top1 is not None:
        columns.append(("top-1 agreement", f"{quality.top1:.1%}", ""))
    return columns


def _with_error(perplexity: Perplexity) -> str:
    return f"{perplexity.value:#.4g} ± {perplexity.standard_error:#.2g}"


def _how(quality: Quality | None, facts: CardFacts) -> str:
    if quality is None:
        return "Its quality was not measured."
    named = f" of {code(facts.text)}" if facts.text else ""
    lines = [
        f"Measured on {quality.windows} windows of {quality.sequence_length} tokens{named} "
        f"({escaped(quality.arithmetic)})."
    ]
    if quality.perplexity:
        lines.append("± is the standard error.")
    if quality.kl or quality.top1 is not None:
        lines.append(
            "KL divergence and top-1 agreement compare the next-token distribution with the "
            "source's, over the whole vocabulary."
        )
    return " ".join(lines)
