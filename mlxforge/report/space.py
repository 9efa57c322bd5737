"""What a build would download, and the room that it needs on which disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from mlxforge.hub.cache import bytes_there
from mlxforge.models.layers.size import ModelSize
from mlxforge.models.layers.table import LayerTable
from mlxforge.plan import Node, Plan
from mlxforge.project import Project
from mlxforge.steps.baseline import Baseline
from mlxforge.steps.download import Download
from mlxforge.units import readable_bytes

__all__ = ["Room", "disk_line", "download_line", "missing_bytes", "rooms"]


@dataclass(frozen=True)
class Room:
    """``needed`` bytes more on the disk of ``folder``, which has ``free`` left."""

    folder: Path
    needed: int
    free: int


def missing_bytes(step: Download) -> int:
    """What is not in the cache yet."""
    total: int = sum(fact["size"] for fact in step.files.values())
    return total - bytes_there(step.folder(), step.files)


def download_line(plan: Plan, needed: Collection[str]) -> str | None:
    """None for a recipe that names nothing on the Hub. ``needed``: keys of the steps that a build
    would run."""
    found = {node.key: node.step for node in plan.nodes() if isinstance(node.step, Download)}
    if not found:
        return None
    total = sum(fact["size"] for step in found.values() for fact in step.files.values())
    there = total - sum(map(missing_bytes, found.values()))
    line = f"{total:,} bytes ({readable_bytes(total)}), {readable_bytes(there)} in the cache"
    return line if needed & found.keys() else f"{line}; nothing has to be fetched"


def rooms(
    project: Project, plan: Plan, needed: Collection[str], table: LayerTable, size: ModelSize
) -> tuple[Room, ...]:
    """What a build would write, disk by disk: what is missing in the cache, the result, and the
    states with which a source is compared. Small files are not counted."""
    wanted: dict[int, tuple[Path, int]] = {}
    for folder, more in _written(project, plan, needed, table, size):
        present = next(parent for parent in (folder, *folder.parents) if parent.exists())
        disk = present.stat().st_dev
        first, before = wanted.get(disk, (present, 0))
        wanted[disk] = (first, before + more)
    return tuple(
        Room(folder, needed, shutil.disk_usage(folder).free) for folder, needed in wanted.values()
    )


def disk_line(found: Collection[Room], seen_from: Path) -> str:
    told = []
    for room in found:
        where = os.path.relpath(room.folder, seen_from)
        where = str(room.folder) if where.startswith("..") else where
        short = ": too little" if room.needed > room.free else ""
        told.append(
            f"{readable_bytes(room.needed)} needed, {readable_bytes(room.free)} free on the disk "
            f"of {where}{short}"
        )
    return "; ".join(told) or "nothing more is needed"


def _written(
    project: Project, plan: Plan, needed: Collection[str], table: LayerTable, size: ModelSize
) -> Iterator[tuple[Path, int]]:
    for node in plan.nodes():
        if node.key not in needed:
            continue
        if isinstance(node.step, Download):
            yield node.step.folder().parents[2], missing_bytes(node.step)
        elif node.kind == "quantize":
            yield project.store.root, size.bytes
        elif isinstance(node.step, Baseline):
            yield project.store.root, _states_bytes(node, table)


def _states_bytes(node: Node, table: LayerTable) -> int:
    """float32 [windows, length - 1, width]: what goes into the head."""
    step = node.step
    assert isinstance(step, Baseline)
    ends = [layer for layer in table.layers if layer.role in ("lm_head", "embeddings")]
    widths = [layer.weight.shape[-1] for layer in ends if layer.quantizable]
    return 4 * step.samples * (step.sequence_length - 1) * max(widths, default=0)
