"""Numbers as people read them."""

from __future__ import annotations

__all__ = ["readable_bytes", "readable_rate", "readable_time"]


def readable_bytes(count: float) -> str:
    """``1.8 GB``: decimal units, as disks and downloads are sold."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"


def readable_rate(done: float, seconds: float, unit: str) -> str:
    """``120.0 MB/s``, ``95 tokens/s``, ``1.2 samples/s``."""
    per_second = done / max(seconds, 1e-3)
    if unit == "bytes":
        return f"{readable_bytes(per_second)}/s"
    return f"{per_second:,.0f} {unit}/s" if per_second >= 10 else f"{per_second:.1f} {unit}/s"


def readable_time(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min``, ``1.5 h``."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
