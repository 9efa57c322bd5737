"""What a model's card tells, gathered from recipe, lock and artifacts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from mlxforge.checks import check_layers
from mlxforge.errors import ForgeError
from mlxforge.hub.verify import difference
from mlxforge.models.layers.assign import Assignment
from mlxforge.models.layers.size import model_size
from mlxforge.plan import Node, Plan
from mlxforge.project import Project
from mlxforge.report.card import CardFacts
from mlxforge.report.layers import layer_rows
from mlxforge.report.result import figures_of
from mlxforge.report.texts import text_name
from mlxforge.steps.download import Download
from mlxforge.store.manifest import Manifest

__all__ = ["card_facts"]


def card_facts(
    project: Project, plan: Plan, manifest: Manifest, beside: Collection[str]
) -> CardFacts:
    """``manifest`` is the finished model's; ``beside`` names the YAML files published with it."""
    recipe = plan.recipe
    wanted, upload = recipe.quantize, recipe.upload
    assert upload is not None
    assignments = check_layers(project, plan)
    whole = [Assignment(entry.layer, None, "") for entry in assignments]
    figures = figures_of(project, plan)
    scored = "figures" in figures
    text = recipe.evaluate.text if recipe.evaluate else None
    packed = wanted.method != "none"
    tools = dict(manifest.recipe["tools"])
    lock = f"{recipe.name}.lock"
    return CardFacts(
        name=recipe.name,
        repo=upload.repo,
        base_model=recipe.source.repo,
        base_commit=_commit(plan),
        source_card=_source_card(project, plan),
        licence_files=tuple(n for n in manifest.files if n.startswith(("LICENSE", "NOTICE"))),
        bits=wanted.bits if packed else None,
        group_size=wanted.group_size if packed else None,
        mode=wanted.mode if packed else None,
        method=", ".join(wanted.methods),
        dtype=wanted.dtype,
        bytes=figures["bytes"],
        bits_per_weight=figures["bits_per_weight"],
        source_bytes=model_size(whole, None).bytes,
        digest=manifest.digest,
        backend=tools.pop("backend"),
        tools=tools,
        figures=figures if any(map(figures.get, ("figures", "samples", "images"))) else None,
        text=text_name(text) if scored and text else None,
        text_dataset=(text.dataset, text.config, text.split) if text and text.dataset else None,
        # without the places of rules: they are lines of the recipe as it was written
        layers=layer_rows([replace(entry, at=None) for entry in assignments], wanted.dtype, False),
        recipe_file=f"{recipe.name}.yaml",
        lock_file=lock if lock in beside else None,
        remote_code=recipe.source.further.remote_code,
        vision=getattr(plan.inspect.step, "loader", None) == "mlx_vlm",
    )


def _commit(plan: Plan) -> str | None:
    source = plan.source
    if isinstance(source, Node) and isinstance(source.step, Download):
        return source.step.commit
    return None


def _source_card(project: Project, plan: Plan) -> str:
    """The source's README.md; fetched again where the cache was emptied after the build."""
    source = plan.source
    if not isinstance(source, Node):
        return _read(source.path / "README.md")
    assert isinstance(source.step, Download)
    fact = source.step.files.get("README.md")
    if fact is None:
        return ""
    card = source.step.folder() / "README.md"
    if difference(card, fact):  # also where it is not there
        from mlxforge.hub.client import fetch_file

        card = fetch_file(source.step.repo, source.step.commit, "README.md", fact)
    return _read(card)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ForgeError(f"{path} cannot be read: {error.strerror}") from error
