"""What a layer's inputs have drifted by, as moments or as products with its weights."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlxforge.calibrate import hessians
from mlxforge.calibrate.drifts import Drift
from mlxforge.calibrate.hessians import Hessian, Sums, drift_bytes, drift_sums, hessian_bytes
from mlxforge.calibrate.observe import Given

NUMBERS = np.random.default_rng(4)
COLUMNS = 96
ROWS = {"up": 300, "down": 40}
WEIGHTS = {
    path: mx.array(NUMBERS.normal(size=(rows, COLUMNS)).astype(np.float32))
    for path, rows in ROWS.items()
}
WAVES = [
    [mx.array(NUMBERS.normal(size=(2, 50, COLUMNS)).astype(np.float32)) for _ in range(2)]
    for _ in range(3)
]


def summed(*paths: str) -> Hessian:
    rows = {path: ROWS[path] for path in paths}
    sums = Sums(COLUMNS, drifts=drift_sums(COLUMNS, rows, paths, WEIGHTS.__getitem__))
    for given, meant in WAVES:
        sums.add(sums.look(Given(given), Given(meant)))
    (found,) = sums.means("layer")
    return found


def expected() -> np.ndarray:
    given, meant = (
        np.concatenate([np.array(wave[at], np.float64).reshape(-1, COLUMNS) for wave in WAVES])
        for at in range(2)
    )
    change: np.ndarray = (meant - given).T @ given / len(given)
    return change


def times(drift: Drift | None, path: str, piece: slice) -> np.ndarray:
    assert drift is not None
    return drift.times(path, WEIGHTS[path][piece], piece)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("paths", [("down",), ("up", "down")])
def test_both_ways_give_the_weights_times_the_drift(
    paths: tuple[str, ...], wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if wide:
        monkeypatch.setattr(hessians, "WIDE", 64)
    drift = summed(*paths).drift
    assert drift is not None
    products = wide and paths == ("down",)  # else there are more rows than columns
    assert (drift.matrix is None) == products == bool(drift.products)
    for path in paths:
        for piece in (slice(0, ROWS[path]), slice(8, 24)):
            wanted = np.array(WEIGHTS[path][piece], np.float64) @ expected()
            found = times(drift, path, piece)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())
            before = found.copy()
            found += 1  # the caller's own
            assert np.array_equal(times(drift, path, piece), before)


def test_a_token_that_is_off_by_far_more_than_others_does_not_outweigh_them() -> None:
    given, meant = WAVES[0]
    random = np.random.default_rng(6)
    r, far = random.normal(size=(2, 2, 50, ROWS["down"])).astype(np.float32)
    far[1, 7] *= 1000
    rows = {"down": ROWS["down"]}
    drifts = drift_sums(COLUMNS, rows, ["down"], WEIGHTS.__getitem__, residual=True)
    sums = Sums(COLUMNS, drifts=drifts)
    sums.add(sums.look(Given(given, None, mx.array(r)), Given(meant, None, mx.array(r + far))))
    (found,) = sums.means("layer")
    lengths = np.linalg.norm(far, axis=-1)
    far[1, 7] *= hessians.FAR * np.sort(lengths.reshape(-1))[50] / lengths[1, 7]
    x, s = (np.array(each, np.float64).reshape(100, COLUMNS) for each in (given, meant))
    off = (s - x) @ np.array(WEIGHTS["down"], np.float64).T + far.reshape(100, -1)
    wanted = off.T @ x / 100
    assert found.drift is not None
    drift = found.drift.products["down"]
    np.testing.assert_allclose(drift, wanted, atol=1e-4 * np.abs(wanted).max())


def test_memory_is_counted_as_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hessian_bytes(COLUMNS) == summed("down").matrix.nbytes == 8 * COLUMNS**2
    monkeypatch.setattr(hessians, "WIDE", 64)
    found = summed("down")
    assert hessian_bytes(COLUMNS) == found.matrix.nbytes == 4 * COLUMNS**2
    assert found.drift is not None
    assert drift_bytes(COLUMNS, ROWS["down"]) == found.drift.products["down"].nbytes
    assert drift_bytes(COLUMNS, ROWS["up"]) == hessian_bytes(COLUMNS)


def test_a_wide_hessian_is_where_mlx_has_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hessians, "WIDE", 64)
    matrix, room = summed("down").spent()
    assert room is not None and np.array_equal(np.array(room), matrix)
    matrix[3, 4] = 5
    assert room[3, 4].item() == 5
