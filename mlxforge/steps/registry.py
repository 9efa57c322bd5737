"""Every step by its kind. A new step is one module and one line here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mlxforge.steps.base import Step

__all__ = ["STEPS", "make_step"]

STEPS = {
    "download": "mlxforge.steps.download:Download",
    "headers": "mlxforge.steps.headers:Headers",
    "inspect": "mlxforge.steps.inspect:Inspect",
    "text": "mlxforge.steps.text:Text",
    "overlap": "mlxforge.steps.overlap:Overlap",
    "calibrate": "mlxforge.steps.calibrate:Calibrate",
    "sensitivity": "mlxforge.steps.sensitivity:Sensitivity",
    "heads": "mlxforge.steps.heads:Heads",
    "gptq": "mlxforge.steps.gptq:Gptq",
    "pairs": "mlxforge.steps.pairs:FindPairs",
    "awq": "mlxforge.steps.awq:Awq",
    "dwq": "mlxforge.steps.dwq:Dwq",
    "quantize": "mlxforge.steps.quantize:Quantize",
    "baseline": "mlxforge.steps.baseline:Baseline",
    "answers": "mlxforge.steps.answers:Answers",
    "evaluate": "mlxforge.steps.evaluate:Evaluate",
    "upload": "mlxforge.steps.upload:Upload",
}


def make_step(kind: str, parameters: dict[str, Any]) -> Step:
    module, name = STEPS[kind].split(":")
    step: Step = getattr(import_module(module), name)(**parameters)
    return step
