"""From a source folder and one decision per layer to a finished model folder."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, Protocol

from mlxforge.models.layers.assign import Assignment
from mlxforge.models.layers.inspection import Inspection
from mlxforge.models.layers.size import ModelSize, model_size
from mlxforge.models.streaming.tensors import rows_of
from mlxforge.models.writing.chosen import UNKNOWN, UNTOLD, Chosen
from mlxforge.models.writing.container import ShardWriter, write_index
from mlxforge.models.writing.packing import Pack, packer
from mlxforge.models.writing.parallel import in_order
from mlxforge.models.writing.parallel import workers as default_workers
from mlxforge.models.writing.pieces import Stripe, layer_stripes
from mlxforge.models.writing.save import copy_side_files, save_config
from mlxforge.progress import Progress
from mlxforge.quantize.importance import Importance
from mlxforge.quantize.scheme import Scheme

__all__ = ["write_model"]

NOTHING: Mapping[str, Importance] = {}
SPOOLED_BYTES = 16 << 20  # of scales or biases of one layer in memory; more go to a scratch file
COPIED_BYTES = 1 << 20


class Wish(Protocol):
    """What the recipe says of the model as a whole."""

    @property
    def method(self) -> str: ...
    @property
    def bits(self) -> int: ...
    @property
    def group_size(self) -> int: ...
    @property
    def mode(self) -> str: ...
    @property
    def dtype(self) -> str | None: ...
    @property
    def allow_nonfinite(self) -> bool: ...
    @property
    def scales(self) -> str: ...


def write_model(
    source: Path,
    inspection: Inspection,
    assignments: Sequence[Assignment],
    wish: Wish,
    out: Path,
    progress: Progress,
    workers: int | None = None,
    further: Collection[str] = (),
    importances: Mapping[str, Importance] = NOTHING,
    chosen: Chosen | None = None,
    learned: bool = False,
) -> dict[str, str]:
    """Quantize as ``assignments`` say, cast the rest to ``wish.dtype``, write all into ``out``.

    Unless ``wish.scales`` are searched, with the ``importances`` of layers by path, or a method
    has ``chosen`` codes, every tensor is bit-identical to what ``mlx_lm.convert`` makes of the
    same decisions. What a method has not reached is searched. Rows stream from the source's files
    to the result's: memory holds a few pieces, whatever the size of the model. The bytes do not
    depend on ``workers`` (threads; default: one per core of a CPU).
    ``further`` names files of the source that are copied besides those of every model. Where the
    recipe has ``learned``, by a text or drawn tokens, ``mlxforge.json`` says which layers have not.

    Returns the sha256 of every file of weights. Raises ForgeError for a source that cannot be
    read, a disk that is too small and, unless ``wish`` allows them, for NaN and infinity in a
    weight.
    """
    default = Scheme(wish.bits, wish.group_size, wish.mode)
    quantization = None if wish.method == "none" else quantization_entry(default, assignments)
    save_config(inspection.folder / "config.json", quantization, out)
    copy_side_files(source, out, further)
    dtype = inspection.table.cast(wish.dtype)
    size = model_size(assignments, dtype)
    unknown = {path: entry.unknown() for path, entry in importances.items()}
    scales = "search" if chosen else wish.scales
    unknown |= chosen.unknown if chosen else {}
    without = _without(assignments, importances, chosen) if learned else frozenset()
    (out / "mlxforge.json").write_text(_provenance(assignments, size, unknown, without))
    with rows_of(source, inspection.parameters()) as parameters:
        ordered = sorted(assignments, key=lambda entry: _natural(entry.layer.path))
        stripes = [
            stripe
            for entry in ordered
            for stripe in layer_stripes(
                entry,
                dtype,
                parameters,
                wish.allow_nonfinite,
                _pack(entry, scales, importances),
                chosen,
            )
        ]
        writer = ShardWriter([plan for stripe in stripes for plan in stripe.tensors], out)
        with writer:
            _write(stripes, writer, workers or default_workers(), progress)
    write_index(writer.where(), writer.total, size.parameters, out)
    return writer.digests


def _pack(entry: Assignment, scales: str, importances: Mapping[str, Importance]) -> Pack | None:
    if entry.scheme is None:
        return None
    return packer(entry.layer, entry.scheme, scales, importances)


def _write(
    stripes: Sequence[Stripe], writer: ShardWriter, workers: int, progress: Progress
) -> None:
    """Tensors of one stripe are computed together and written one after the other: the first at
    once, the others, which are small, when it is complete."""
    pieces = in_order((job for stripe in stripes for job in stripe.jobs()), workers)
    for stripe in stripes:
        with ExitStack() as stack:
            later = [
                stack.enter_context(SpooledTemporaryFile(max_size=SPOOLED_BYTES))
                for _ in stripe.tensors[1:]
            ]
            for first, *others in islice(pieces, stripe.pieces):
                writer.write(first)
                for spool, data in zip(later, others, strict=True):
                    spool.write(data)
                progress(writer.written, writer.total, "bytes")
            for spool in later:
                spool.seek(0)
                while copied := spool.read(COPIED_BYTES):
                    writer.write(memoryview(copied))


def _natural(path: str) -> list[tuple[int, str]]:
    """Layers by number: 2 before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in path.split(".")]


def quantization_entry(default: Scheme, assignments: Sequence[Assignment]) -> dict[str, Any]:
    """``config["quantization"]``: the default, and every quantizable layer that differs from it.

    Nothing but layers may stand here: mlx-swift refuses other keys.
    """
    entry: dict[str, Any] = default.config()
    for assignment in assignments:
        if assignment.layer.quantizable and assignment.scheme != default:
            entry[assignment.layer.path] = (
                assignment.scheme.config() if assignment.scheme else False
            )
    return entry


def _without(
    assignments: Sequence[Assignment], importances: Mapping[str, Importance], chosen: Chosen | None
) -> frozenset[str]:
    """Layers that calibration has told nothing of, though their scales are not given. Embeddings
    that are no head meet no inputs: there is nothing to be told."""
    told = importances.keys() | (chosen.layers - chosen.untold if chosen else frozenset())
    return frozenset(
        entry.layer.path
        for entry in assignments
        if entry.scheme is not None
        and entry.scheme.mode == "affine"
        and entry.layer.role != "embeddings"
        and entry.layer.path not in told
    )


def _provenance(
    assignments: Sequence[Assignment],
    size: ModelSize,
    unknown: Mapping[str, list[int]],
    without: frozenset[str],
) -> str:
    """``mlxforge.json``: what was done to each layer. The same for everybody: no host, no time."""
    layers = {
        entry.layer.path: {
            "role": entry.layer.role,
            "decided_by": entry.reason,
            **(entry.scheme.config() if entry.scheme else {"bits": None}),
            **_rounded(unknown.get(entry.layer.path)),
            **({UNTOLD: True} if entry.layer.path in without else {}),
        }
        for entry in assignments
        if entry.layer.quantizable
    }
    rounded = round(size.bits_per_weight, 4)
    document = {"bytes": size.bytes, "bits_per_weight": rounded, "layers": layers}
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def _rounded(experts: list[int] | None) -> dict[str, list[int]]:
    """The experts that calibration has told too little of."""
    return {UNKNOWN: experts} if experts else {}
