"""What is part of a step's key besides its parameters and inputs."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from mlxforge.nodes import Node
from mlxforge.steps.calibrate import Calibrate
from mlxforge.steps.gptq import Gptq
from mlxforge.steps.quantize import Quantize

WANTED = ("rtn", 4, 64, "affine", "search", None, "none")


def tools(step: Calibrate | Quantize) -> dict[str, str]:
    return dict(Node(step, ()).recipe["tools"])


def test_what_is_made_of_sums_has_another_key_with_another_blas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mlxforge.nodes.backend", lambda: "cpu")
    learned = Calibrate.drawn(), Gptq(*WANTED)
    rounded = Quantize(*WANTED)
    before = [Node(step, ()).key for step in (*learned, rounded)]
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setenv("MLXFORGE_BLAS", "/opt/lib/libother.so.1")
    assert [tools(step)["blas"] for step in learned] == ["libother.so.1"] * 2
    after = [Node(step, ()).key for step in (*learned, rounded)]
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, False, True]


@pytest.mark.parametrize("backend", ["cpu", "cuda"])
@pytest.mark.parametrize("blas", ["/opt/lib/libopenblas.so.0", "/opt/lib/libmkl_rt.so.2"])
def test_what_numpy_sums_has_another_key_with_other_kernels(
    backend: str, blas: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its OpenBLAS is its own: it takes them beside whatever MLX runs on."""
    monkeypatch.setattr("mlxforge.nodes.backend", lambda: backend)
    monkeypatch.setenv("MLXFORGE_BLAS", blas)
    keys = set()
    for kernels in ("Haswell", "SkylakeX"):
        monkeypatch.setenv("OPENBLAS_CORETYPE", kernels)
        assert tools(Gptq(*WANTED))["kernels"] == kernels
        assert "kernels" not in tools(Quantize(*WANTED))
        keys.add(Node(Gptq(*WANTED), ()).key)
    assert len(keys) == 2


def test_numpy_is_named_where_it_takes_part() -> None:
    assert tools(Gptq(*WANTED))["numpy"] == version("numpy")
    assert not {"numpy", "blas"} & tools(Quantize(*WANTED)).keys()
