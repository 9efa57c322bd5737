"""What was made, in a few lines: the end of a build."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from mlxforge.models.blas import ADVICE, REFERENCE
from mlxforge.plan import Plan
from mlxforge.project import Project
from mlxforge.report.images import image_rows
from mlxforge.report.overlap import MOST, overlap_line
from mlxforge.report.texts import text_name
from mlxforge.report.words import one_line
from mlxforge.units import readable_bytes

__all__ = ["summary"]


def summary(
    project: Project, plan: Plan, figures: Mapping[str, Any], locked: str | None = None
) -> str:
    """Where the model is, how large, how good, how it talks, and how to talk to it; ``locked``
    is what was written into its lock."""
    name = plan.recipe.name
    path = os.path.relpath(project.model_link(name), project.seen_from)
    rows = [("model", path), ("size", _size(figures)), *_quality(plan, figures)]
    if untold := figures.get("without_calibration"):
        counts = " and ".join(f"{count} {what}" for what, count in untold.items())
        rows.append(("untold", f"{counts}: calibration told nothing of them, see mlxforge.json"))
    if (overlap := figures.get("overlap")) and overlap["share"] > MOST:
        rows.append(("overlap", overlap_line(overlap)))
    if locked:
        rows.append(("locked", locked))
    for sample in figures.get("samples", []):
        rows.append(("prompt", one_line(sample["prompt"])))
        rows.append(("answer", one_line(sample["text"]) or "(nothing)"))
    rows += image_rows(figures)
    prompts = plan.recipe.evaluate.prompts if plan.recipe.evaluate else ()
    prompt = _quoted(prompts[0] if prompts else "hello")
    trust = " --trust-remote-code" if plan.recipe.source.further.remote_code else ""
    sees = bool(figures.get("images"))
    tool, image = ("mlx_vlm", " --image IMAGE.png") if sees else ("mlx_lm", "")
    command = f"{tool}.generate --model {_quoted(path)}{trust}{image} --prompt {prompt}"
    rows.append(("try it", command))
    return f"\n{name}\n" + "\n".join(f"  {label:<11} {text}" for label, text in rows)


def _size(figures: Mapping[str, Any]) -> str:
    bits = figures["bits_per_weight"]
    return f"{readable_bytes(figures['bytes'])}, {bits:.2f} bits per weight"


def _quality(plan: Plan, figures: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    found, baseline = figures.get("figures"), figures.get("baseline")
    if found is None or baseline is None:
        why = "no `evaluate` in the recipe" if plan.evaluate is None else "no `evaluate.text`"
        yield "quality", f"not scored: {why}"
        return
    evaluate = plan.recipe.evaluate
    assert evaluate is not None and evaluate.text is not None
    wanted = evaluate.samples
    short = f" of {wanted} wanted" if baseline["windows"] < wanted else ""
    yield (
        "text",
        f"{text_name(evaluate.text)}, {baseline['windows']}{short} windows of "
        f"{baseline['sequence_length']} tokens ({figures['arithmetic']})",
    )
    if REFERENCE in figures["arithmetic"]:
        yield "advice", ADVICE
    if "perplexity" in found:
        source, model = baseline["perplexity"], found["perplexity"]
        change = model["value"] / source["value"] - 1
        yield (
            "perplexity",
            f"{model['value']:#.4g} ± {model['standard_error']:#.2g}, "
            f"source {source['value']:#.4g} ({change:+.2%})",
        )
    if "kl_divergence" in found:
        kl = found["kl_divergence"]
        yield (
            "KL",
            f"{kl['mean']:.3g} nats mean, {kl['median']:.3g} median, {kl['p99']:.3g} p99, "
            f"{kl['max']:.3g} max",
        )
    if "top1_agreement" in found:
        yield "top-1", f"{found['top1_agreement']:.1%} agree with the source"


def _quoted(text: str) -> str:
    """As one word for a shell; in the quotes that people use, where those do."""
    plain = "'" in text and not set(text) & set('"$`\\!')
    return f'"{text}"' if plain else shlex.quote(text)
