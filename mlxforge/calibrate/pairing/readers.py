"""What reads a layer, and whether a scale can be moved between the two, by runs of their block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.calibrate.pairing.standins import Watch, is_projection, rows_of
from mlxforge.calibrate.pairing.trial import (
    DIGITS,
    Changed,
    Noted,
    Reads,
    Trial,
    code,
    decode,
    ratio,
    same,
)
from mlxforge.models.layers.pairs import FROM_ONE, OTHER, ROWS, Pair

__all__ = ["Bench", "channels_of", "is_proven", "readers_of", "rows_alone"]

MANY, ONE = 0, 1
"""The two texts that are run: one of many tokens, and one token alone."""
SEED = 11


class Bench:
    """``run`` runs a part of a model over one of the two texts and gives what must not change;
    ``watch`` is where its stand-ins look for who watches them."""

    def __init__(
        self, run: Callable[[int], Any], watch: list[Watch], modules: Mapping[str, nn.Module]
    ) -> None:
        self.modules = modules
        self._run = run
        self._watch = watch
        self._plain: dict[int, tuple[Noted, Any]] = {}

    def plain(self, text: int = MANY) -> tuple[Noted, Any]:
        """The run as it is, and its outputs."""
        if text not in self._plain:
            noted = Noted()
            found = self.under(noted, text)
            mx.eval(found, list(noted.inputs.values()))
            self._plain[text] = noted, found
        return self._plain[text]

    def under(self, watch: Watch, text: int = MANY) -> Any:
        self._watch[0] = watch
        try:
            return self._run(text)
        finally:
            self._watch[0] = Watch()


def channels_of(module: nn.Module) -> int:
    """How many numbers a scaler can be divided by."""
    return rows_of(module) if is_projection(module) else int(module["weight"].size)


def readers_of(bench: Bench, scaler: str, kind: str, rows: np.ndarray) -> dict[str, np.ndarray]:
    """By path, which channel of ``scaler`` each column of a layer reads, int64 [columns].

    Of a projection only ``rows`` are scaled; of a norm they are all. Raises Changed where more
    hangs on them than columns of layers.
    """
    found: list[dict[str, np.ndarray]] = []
    for factors in _numbered(channels_of(bench.modules[scaler]), rows):
        digits: dict[str, np.ndarray] = {}
        _run(bench, {scaler: (kind, factors)}, _decoding(digits))
        found.append(digits)
    return _numbers(*found)


def rows_alone(bench: Bench, scaler: str) -> np.ndarray:
    """The rows of a projection that reach the next layer unmixed where there is one token alone:
    of a fused one the values, which attention then hands on as they are."""
    size = channels_of(bench.modules[scaler])
    found: list[dict[str, np.ndarray]] = []
    try:
        for factors in _numbered(size, np.arange(size)):
            digits: dict[str, np.ndarray] = {}
            with suppress(_Enough):
                _run(bench, {scaler: (ROWS, factors)}, _decoding(digits, first=True), ONE)
            found.append(digits)
        channels = _numbers(*found)
    except Changed:
        return np.arange(0)
    reached = {int(channel) for array in channels.values() for channel in array}
    return np.array(sorted(reached - {OTHER}), dtype=int)


def is_proven(bench: Bench, pairs: Sequence[Pair]) -> bool:
    """Whether scales can be moved within all of ``pairs`` at once, each by numbers of its own."""
    random = np.random.default_rng(SEED)
    changes: dict[str, tuple[str, mx.array]] = {}
    expected: dict[str, mx.array] = {}
    for pair in pairs:
        channels = {path: pair.channels(path) for path in pair.readers}
        size = channels_of(bench.modules[pair.scaler])
        lead = (pair.experts,) if pair.experts else ()
        numbers = np.exp2(random.uniform(-1, 1, (*lead, size))).astype(np.float32)
        reached = np.unique(np.concatenate(list(channels.values())))
        numbers[..., np.setdiff1d(np.arange(size), reached)] = 1
        changes[pair.scaler] = (pair.kind, mx.array(numbers))
        for path, places in channels.items():
            expected[path] = mx.array(np.where(places == OTHER, 1, numbers[..., places]))
    try:
        _run(bench, changes, _expecting(expected))
    except Changed:
        return False
    return True


class _Enough(Exception):
    """The first layer that reads the scaler has been reached."""


def _run(
    bench: Bench, changes: Mapping[str, tuple[str, mx.array]], reads: Reads, text: int = MANY
) -> None:
    """The part of the model with its scalers multiplied and their readers divided again. Raises
    Changed where that is not what it was."""
    noted, plain = bench.plain(text)
    rows = {path: factors for path, (kind, factors) in changes.items() if kind == ROWS}
    with ExitStack() as stack:
        for path, (kind, factors) in changes.items():
            if kind != ROWS:
                stack.enter_context(_multiplied(bench.modules[path], kind, factors))
        found = bench.under(Trial(noted, rows.get, reads), text)
        if not same(found, plain):
            raise Changed("more than layers reads it")


@contextmanager
def _multiplied(norm: nn.Module, kind: str, factors: mx.array) -> Iterator[None]:
    before = {name: norm[name] for name in ("weight", "bias") if name in norm}
    try:
        for name, value in before.items():
            from_one = kind == FROM_ONE and name == "weight"
            norm[name] = (1 + value) * factors - 1 if from_one else value * factors
        yield
    finally:
        norm.update(before)


def _numbered(size: int, rows: np.ndarray) -> Iterator[mx.array]:
    """Factors [size] that tell ``rows`` apart, in two digits; 1 for the others."""
    places = np.arange(size)
    for part in (places % DIGITS, places // DIGITS):
        yield mx.where(mx.array(np.isin(places, rows)), code(part), 1.0)


def _decoding(digits: dict[str, np.ndarray], first: bool = False) -> Reads:
    def reads(
        path: str, x: mx.array, before: mx.array, indices: mx.array | None
    ) -> mx.array | None:
        factors = ratio(path, x, before)
        if factors is None and path in digits:
            raise Changed(f"{path} reads it in one place and not in another")
        if factors is None:
            return None
        found = decode(path, factors)
        if not np.array_equal(digits.setdefault(path, found), found):
            raise Changed(f"{path} reads it in two ways")
        if first:
            raise _Enough
        return mx.where(mx.array(found == OTHER), 1.0, code(found))

    return reads


def _expecting(expected: Mapping[str, mx.array]) -> Reads:
    def reads(
        path: str, x: mx.array, before: mx.array, indices: mx.array | None
    ) -> mx.array | None:
        factors = expected.get(path)
        if factors is not None and factors.ndim == 2:
            factors = factors[indices][..., None, :]
        scaled = before if factors is None else before * factors
        if scaled.shape != x.shape or not same(x, scaled):
            raise Changed(f"{path} does not read it alone")
        return factors

    return reads


def _numbers(low: Mapping[str, np.ndarray], high: Mapping[str, np.ndarray]) -> (
    dict[str, np.ndarray]
):  # fmt: skip
    """Two digits for every column as one number."""
    if low.keys() != high.keys():
        raise Changed("what reads it is not always the same")
    found = {}
    for path, digits in low.items():
        if not np.array_equal(digits == OTHER, high[path] == OTHER):
            raise Changed(f"what comes into {path} is multiplied by other numbers as well")
        found[path] = np.where(digits == OTHER, OTHER, digits + DIGITS * high[path])
    return found
