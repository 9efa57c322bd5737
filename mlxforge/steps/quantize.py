"""quantize: a source and its layer table in, an MLX model folder out."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, Unpack

from mlxforge.errors import ForgeError, Position
from mlxforge.progress import Progress
from mlxforge.recipe.model import Override
from mlxforge.recipe.model import Quantize as Wanted
from mlxforge.steps.source import SourceStep, Wants

__all__ = ["Quantize"]


@dataclass(frozen=True)
class Quantize(SourceStep):
    """``source``, ``layers`` -> a folder that mlx_lm or mlx_vlm loads, with ``mlxforge.json``
    beside it. ``calibration`` weighs the search for scales; ``chosen`` holds the codes that another
    step has made."""

    method: str
    bits: int
    group_size: int
    mode: str
    scales: str
    dtype: str | None
    refine: str
    overrides: tuple[dict[str, Any], ...] = ()
    allow_nonfinite: bool = False
    widths: dict[str, int] | None = None
    prepare: str = "none"

    kind = "quantize"
    version = 3
    tools = ("mlx", "mlx-lm")
    backend = True
    large_pages = True

    @classmethod
    def of(cls, wanted: Wanted, **wants: Unpack[Wants]) -> Self:
        rules = tuple(
            {
                "layers": rule.layers,
                "quantize": rule.quantize,
                "bits": rule.bits if rule.quantize else None,
                "group_size": rule.group_size if rule.quantize else None,
                "mode": rule.mode if rule.quantize else None,
            }
            for rule in wanted.overrides
        )
        return cls(
            wanted.method, wanted.bits, wanted.group_size, wanted.mode, wanted.scales,
            wanted.dtype, wanted.refine, rules, wanted.allow_nonfinite,
            dict(wanted.widths) if wanted.widths else None, wanted.prepare, **wants,
        )  # fmt: skip

    def parameters(self) -> dict[str, Any]:
        """What a recipe need not say does not stand in the key, which so is the one of times when
        there was nothing to be said."""
        parameters = super().parameters()
        if not self.allow_nonfinite:
            del parameters["allow_nonfinite"]
        if self.widths is None:
            del parameters["widths"]
        if self.prepare == "none":
            del parameters["prepare"]
        return parameters

    def wanted(self) -> Wanted:
        """The recipe's section again; positions are numbers of rules."""
        rules = tuple(
            Override(
                layers=rule["layers"],
                quantize=rule["quantize"],
                bits=rule["bits"] or self.bits,
                group_size=rule["group_size"] or self.group_size,
                mode=rule["mode"] or self.mode,
                at=Position("overrides", number, 1),
            )
            for number, rule in enumerate(self.overrides, start=1)
        )
        return Wanted(
            self.method, self.bits, self.group_size, self.mode, self.scales, self.dtype,
            self.refine, rules, self.allow_nonfinite, self.prepare,
            widths=tuple(self.widths.items()) if self.widths else None,
        )  # fmt: skip

    def run(
        self, inputs: Mapping[str, Path], out: Path, progress: Progress
    ) -> Mapping[str, str] | None:
        from mlxforge.models.layers.assign import assign
        from mlxforge.models.layers.inspection import Inspection
        from mlxforge.models.writing.chosen import read_chosen
        from mlxforge.models.writing.quantized import write_model
        from mlxforge.quantize.importance import Importance

        if self.method == "dynamic":
            raise ForgeError("the widths are not chosen yet", "`doit build NAME` chooses them")
        inspection = Inspection(inputs["layers"])
        assignments = assign(inspection.table, self.wanted())
        further = (*self.files, *self.remote_code)
        source = inputs["source"]
        importances: dict[str, Importance] = {}
        if "calibration" in inputs:
            from mlxforge.calibrate.importances import read_importances

            importances = read_importances(inputs["calibration"], inspection.table)
        with read_chosen(inputs["chosen"]) if "chosen" in inputs else nullcontext() as chosen:
            return write_model(
                source, inspection, assignments, self, out, progress,
                further=further, importances=importances, chosen=chosen,
                learned=not {"calibration", "chosen"}.isdisjoint(inputs),
            )  # fmt: skip
