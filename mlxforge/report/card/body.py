"""The page under the front matter: what it is, how it was made, how to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from mlxforge.report.card.facts import CardFacts
from mlxforge.report.card.markdown import code, escaped, fenced, folded, link, table
from mlxforge.report.card.quality import quality_section
from mlxforge.report.card.use import use_section
from mlxforge.report.images import nearness

__all__ = ["body"]

HEADS = ("layers", "role", "count", "shape", "bits", "group size", "mode", "bytes", "decided by")
_BITS = HEADS.index("bits")
_RIGHT = tuple(HEADS.index(head) for head in ("count", "bits", "group size", "bytes"))
_LAYERS = HEADS.index("layers")


def body(facts: CardFacts) -> str:
    """Markdown, from the title on; ends with a newline."""
    parts = [
        f"# {escaped(facts.repo)}",
        _introduction(facts),
        quality_section(facts),
        *_samples(facts),
        use_section(facts),
        _made(facts),
        _again(facts),
    ]
    return "\n\n".join(parts) + "\n"


def _introduction(facts: CardFacts) -> str:
    source = "A local model" if facts.base_model is None else _base(facts, facts.base_model)
    what = f"quantized to {facts.bits} bit" if facts.bits else "converted, and not quantized,"
    text = f"{source}, {what} for [MLX](https://github.com/ml-explore/mlx) by mlxforge."
    if facts.licence_files:
        files = ", ".join(link(name, name) for name in facts.licence_files)
        text += f" Its licence: {files}."
    return text


def _base(facts: CardFacts, repo: str) -> str:
    address = f"https://huggingface.co/{repo}"
    if facts.base_commit is None:
        return link(repo, address)
    at = link(repo, f"{address}/tree/{facts.base_commit}")
    return f"{at} at commit {code(facts.base_commit[:12])}"


def _samples(facts: CardFacts) -> Iterator[str]:
    figures = facts.figures or {}
    parts = []
    for sample in figures.get("samples", ()):
        parts += ["Prompt:", fenced(sample["prompt"]), "Answer:", fenced(sample["text"])]
    for entry in figures.get("images", ()):
        asked = f"{entry['image']}: {entry['question']} ({nearness(entry)})"
        parts += [escaped(f"An image, {asked}"), "The source:", fenced(entry["source"])]
        parts += ["This model:", fenced(entry["text"])]
    if not parts:
        return
    yield folded("What it answers", *parts)


def _made(facts: CardFacts) -> str:
    tools = ", ".join(f"{name} {version}" for name, version in sorted(facts.tools.items()))
    lines = [
        f"- Method: {code(facts.method)}",
        f"- Weights: {_weights(facts)}",
        f"- Backend: {code(facts.backend)}",
        f"- Tools: {escaped(tools)}",
    ]
    parts = ["## How it was made", "\n".join(lines)]
    if facts.layers:
        parts.append(folded("What became of each layer", _layers(facts)))
    return "\n\n".join(parts)


def _weights(facts: CardFacts) -> str:
    dtype = code(facts.dtype) if facts.dtype else "the source's dtype"
    if facts.bits is None:
        return f"not quantized, {dtype}"
    text = f"{facts.bits} bit, group size {facts.group_size}, {code(facts.mode or '')}"
    differing = {row[_BITS].strip() for row in facts.layers} - {str(facts.bits), "-", ""}
    if differing:
        widths = ", ".join(escaped(width) for width in sorted(differing, key=_by_number))
        text += f"; some layers {widths} bit"
    return f"{text}; what is not quantized, {dtype}"


def _by_number(width: str) -> tuple[int, str]:
    return len(width), width


def _layers(facts: CardFacts) -> str:
    rows = [
        [code(cell) if number == _LAYERS else escaped(cell) for number, cell in enumerate(row)]
        for row in facts.layers
    ]
    return table(HEADS, rows, right=_RIGHT)


def _again(facts: CardFacts) -> str:
    published = {facts.recipe_file: f"{facts.name}.yaml"}
    if facts.lock_file is not None:
        published[facts.lock_file] = f"{facts.name}.lock"
    files = " and ".join(link(name, name) for name in published)
    what = "recipe and lock are" if facts.lock_file else "recipe is"
    local = "" if facts.base_model else " The folder that is its source is not."
    text = (
        f"The {what} published here: {files}.{local} In a project of mlxforge "
        "(`pip install mlxforge`):"
    )
    moves = [(name, wanted) for name, wanted in published.items() if name != wanted]
    commands = [
        ["hf", "download", facts.repo, *published, "--local-dir", "recipes"],
        *(["mv", f"recipes/{name}", f"recipes/{wanted}"] for name, wanted in moves),
        ["doit", "build", facts.name],
    ]
    shell = fenced("\n".join(map(shlex.join, commands)), "sh")
    digest = f"What comes out has the digest {code(facts.digest)} on {code(facts.backend)}."
    return "\n\n".join(["## Build it again", text, shell, digest])
