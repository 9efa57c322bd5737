"""What a build would cost and where its model will run, in lines, told before anything is built."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from mlxforge.models.layers.cache import CacheBytes
from mlxforge.models.layers.size import ModelSize
from mlxforge.models.layers.table import LayerTable
from mlxforge.plan import Plan
from mlxforge.project import Project
from mlxforge.report.effort import memory_line, time_line
from mlxforge.report.space import disk_line, download_line, rooms
from mlxforge.units import readable_bytes

__all__ = ["context_line", "forecast_lines"]

SHORT = 4096  # tokens


def forecast_lines(
    project: Project, plan: Plan, needed: Collection[str], table: LayerTable, size: ModelSize
) -> Iterator[tuple[str, str]]:
    """Each with its label. ``needed``: keys of the steps that a build would run."""
    if download := download_line(plan, needed):
        yield "download", download
    room = rooms(project, plan, needed, table, size)
    yield "disk", disk_line(room, project.seen_from)
    yield "memory", memory_line(project, plan, table, size)
    yield "time", time_line(project, plan, needed, size)
    cache = table.cache_bytes(plan.recipe.quantize.dtype)
    yield "context", context_line(cache, table.positions)


def context_line(cache: CacheBytes | None, positions: int | None) -> str:
    """What a short and the longest context take, besides the weights."""
    if cache is None:
        return "what it takes is not known for this architecture"
    lengths = sorted({min(SHORT, positions or SHORT), positions or SHORT})
    told = [f"{readable_bytes(cache.at(tokens))} at {tokens:,} tokens" for tokens in lengths]
    return ", ".join(told)
