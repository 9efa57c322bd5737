"""How far two next-token distributions lie apart, over a text."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["divergence", "summary"]


def divergence(expected: np.ndarray, found: np.ndarray) -> np.ndarray:
    """KL(expected || found) per token in nats, float64 [tokens], of log-probabilities [tokens,
    vocabulary]."""
    expected = expected.astype(np.float64)
    share = np.exp(expected)
    nats: np.ndarray = np.where(share > 0, share * (expected - found), 0.0).sum(axis=-1)
    return nats


def summary(divergence: np.ndarray) -> Mapping[str, float]:
    """Mean, median, 99th percentile and maximum, in nats."""
    return {
        "mean": float(divergence.mean(dtype=np.float64)),
        "median": float(np.median(divergence)),
        "p99": float(np.quantile(divergence, 0.99)),
        "max": float(divergence.max()),
    }
