"""What a recipe may say about a method, in the section of the method's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "FEWEST_TOKENS",
    "PROBED_TOKENS",
    "SECTIONS",
    "Awq",
    "Dwq",
    "Dynamic",
    "Gptq",
    "calibrated",
    "filling",
    "learning",
    "sections_in_use",
    "takes_scales",
]


@dataclass(frozen=True)
class Gptq:
    """``damping`` is relative to the mean of the Hessian's diagonal; ``block_size`` columns are
    rounded before those behind them hear of it; ``act_order``: columns of large inputs first."""

    block_size: int
    damping: float
    act_order: bool


@dataclass(frozen=True)
class Awq:
    """``grid``: into how many steps the exponents of a scale are cut, those of inputs and those of
    weights; ``clip``: whether ranges are searched as well."""

    grid: int
    clip: bool


@dataclass(frozen=True)
class Dwq:
    """``iterations`` of ``batch_size`` windows, of each block or, by ``scope``, of the model;
    ``temperature`` of the distributions that are compared; ``norms``: whether they are trained."""

    iterations: int
    batch_size: int
    learning_rate: float
    temperature: float
    scope: str
    norms: bool


@dataclass(frozen=True)
class Dynamic:
    """``method`` is what fills the widths that were chosen, between ``min_bits`` and
    ``max_bits``, for ``target_bits_per_weight`` over everything."""

    target_bits_per_weight: float
    min_bits: int
    max_bits: int
    method: str


FEWEST_TOKENS = 64
"""Of a text, or of what an expert is sent of it: fewer tell nothing of what inputs are like."""

PROBED_TOKENS = 512
"""Of a text, on which ``dynamic`` measures what each layer's rounding does."""

CALIBRATED = ("gptq", "awq", "dwq", "dynamic")
"""Methods that cannot do without a text."""

SECTIONS = {"gptq": Gptq, "awq": Awq, "dwq": Dwq, "dynamic": Dynamic}


def filling(quantize: Mapping[str, Any]) -> str:
    """The method that chooses the codes: with ``dynamic`` the one that fills the widths."""
    if quantize["method"] != "dynamic":
        return str(quantize["method"])
    return str((quantize["dynamic"] or {}).get("method", "rtn"))


def sections_in_use(quantize: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the sections that mean something beside the other values of ``quantize``, a
    document's section."""
    used = {quantize["method"], filling(quantize), quantize["prepare"], quantize["refine"]}
    return tuple(name for name in SECTIONS if name in used)


def learning(quantize: Mapping[str, Any]) -> bool:
    """Whether a document's section, defaults filled in, makes anything of a calibration text."""
    return calibrated(quantize["method"], quantize["refine"]) is not None or (
        quantize["scales"] == "search" and quantize["method"] != "none"
    )


def takes_scales(method: str) -> bool:
    """Whether ``scales`` means something to a method: those that choose codes search always."""
    return method not in ("gptq", "awq", "none")


def calibrated(method: str, refine: str) -> str | None:
    """Which of the two cannot do without a text, if one of them cannot."""
    return next((name for name in (method, refine) if name in CALIBRATED), None)
