"""How one layer is packed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Scheme"]


@dataclass(frozen=True)
class Scheme:
    """How one layer is packed. ``explicit_mode`` is False where the architecture left it out."""

    bits: int
    group_size: int
    mode: str
    explicit_mode: bool = True

    def config(self) -> dict[str, Any]:
        """The entry in config.json, spelled as mlx_lm spells it."""
        entry = {"group_size": self.group_size, "bits": self.bits}
        return entry | ({"mode": self.mode} if self.explicit_mode else {})

    def packs_like(self, other: Scheme) -> bool:
        """Whether both give the same tensors."""
        mine = (self.bits, self.group_size, self.mode)
        return mine == (other.bits, other.group_size, other.mode)
