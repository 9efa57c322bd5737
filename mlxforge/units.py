"""Numbers as people read them."""

from __future__ import annotations

__all__ = ["readable_bytes", "readable_rate"]


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
