"""Perplexity of token losses."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["Perplexity", "perplexity"]


@dataclass(frozen=True)
class Perplexity:
    value: float
    standard_error: float
    tokens: int


def perplexity(losses: np.ndarray) -> Perplexity:
    """exp of the mean of ``losses`` (negative log-likelihoods in nats, any shape).

    The standard error is the delta method's, perplexity * s / sqrt(n) with the sample standard
    deviation of the token losses: what mlx_lm's ``eval_ppl`` reports. Tokens of one text are not
    independent, so it is a lower bound.
    """
    flat = np.asarray(losses, dtype=np.float64).reshape(-1)
    value = math.exp(flat.mean()) if flat.mean() < 700 else math.inf
    spread = flat.std(ddof=1) if flat.size > 1 else 0.0
    return Perplexity(value, value * spread / math.sqrt(flat.size), flat.size)
