"""What is compared: our recipes, and upstream's functions with the same bits everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["VARIANTS", "Variant"]

Side = Literal["ours", "theirs"]
Source = Literal["plain", "rescaled"]


@dataclass(frozen=True)
class Variant:
    """``wish`` is the recipe's ``quantize`` section, or the name of upstream's method; ``learns``:
    whether the recipe has a calibration text."""

    method: str
    bits: int
    wish: str
    side: Side = "ours"
    source: Source = "plain"
    learns: bool = True

    @property
    def name(self) -> str:
        words = [self.method.replace(" ", "-").replace(",", ""), f"{self.bits}bit"]
        if self.side == "theirs":
            words.insert(0, "upstream")
        if self.source != "plain":
            words.append(self.source)
        return "-".join(words)


OURS = {
    "rtn": ("method: rtn", False),
    "rtn, searched": ("scales: search", False),
    "rtn, searched with text": ("scales: search", True),
    "awq": ("method: awq", True),
    "gptq": ("method: gptq", True),
    "awq, gptq": ("method: gptq, prepare: awq", True),
    "dwq": ("method: dwq", True),
    "gptq, dwq": ("method: gptq, refine: dwq", True),
}
DYNAMIC = {
    "dynamic, rtn searched": "scales: search, dynamic: {{method: rtn, {target}}}",
    "dynamic, gptq": "dynamic: {{method: gptq, {target}}}",
    "dynamic, awq, gptq": "prepare: awq, dynamic: {{method: gptq, {target}}}",
}
THEIRS = {"gptq": (4, 2), "awq": (4, 3, 2), "dwq": (4, 3, 2)}
"""By method the widths that upstream's function can do."""


def _variants() -> Iterator[Variant]:
    for bits in (4, 3, 2):
        for source in ("plain", "rescaled"):
            if source == "rescaled" and bits == 2:
                continue
            for method, (wish, learns) in OURS.items():
                wish = f"{{{wish}, bits: {bits}}}"
                yield Variant(method, bits, wish, "ours", source, learns)
            if source == "plain":
                for method, wish in DYNAMIC.items():
                    if bits == 2:  # everywhere, which is the least: there is nothing to choose
                        continue
                    target = f"target_bits_per_weight: {bits}.5"
                    text = f"{{method: dynamic, {wish.format(target=target)}}}"
                    yield Variant(method, bits, text)
                for method, widths in THEIRS.items():
                    if bits in widths:
                        yield Variant(method, bits, method, "theirs")


VARIANTS = tuple(_variants())
