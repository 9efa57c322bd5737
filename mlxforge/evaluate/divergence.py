"""How far two next-token distributions lie apart."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
import numpy as np

__all__ = ["compare", "summary", "token_losses"]


def token_losses(logits: mx.array, targets: mx.array) -> mx.array:
    """Negative log-likelihood in nats, float32 [tokens], of ``targets`` (int32 [tokens]) under
    ``logits`` ([tokens, vocabulary])."""
    return -mx.take_along_axis(_log_softmax(logits), targets[:, None], axis=-1)[:, 0]


def compare(
    source: mx.array, model: mx.array, targets: mx.array
) -> tuple[mx.array, mx.array, mx.array]:
    """Compare logits over the whole vocabulary.

    ``source`` and ``model`` are logits [tokens, vocabulary], ``targets`` int32 [tokens]. Returns,
    each [tokens]: KL(source || model) in nats (float32), whether both rank the same token first
    (bool), and the model's loss on the targets in nats (float32).
    """
    log_p = _log_softmax(source)
    log_q = _log_softmax(model)
    divergence = (mx.exp(log_p) * (log_p - log_q)).sum(axis=-1)
    agrees = mx.argmax(source, axis=-1) == mx.argmax(model, axis=-1)
    losses = -mx.take_along_axis(log_q, targets[:, None], axis=-1)[:, 0]
    return mx.maximum(divergence, 0), agrees, losses


def _log_softmax(logits: mx.array) -> mx.array:
    logits = logits.astype(mx.float32)
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


def summary(divergence: np.ndarray) -> Mapping[str, float]:
    """Mean, median, 99th percentile and maximum, in nats."""
    return {
        "mean": float(divergence.mean(dtype=np.float64)),
        "median": float(np.median(divergence)),
        "p99": float(np.quantile(divergence, 0.99)),
        "max": float(divergence.max()),
    }
