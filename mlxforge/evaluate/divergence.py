"""How far two next-token distributions lie apart, over a text."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["summary"]


def summary(divergence: np.ndarray) -> Mapping[str, float]:
    """Mean, median, 99th percentile and maximum, in nats."""
    return {
        "mean": float(divergence.mean(dtype=np.float64)),
        "median": float(np.median(divergence)),
        "p99": float(np.quantile(divergence, 0.99)),
        "max": float(divergence.max()),
    }
