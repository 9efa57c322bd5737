"""Rows of a parameter, computed from the stored tensors that they need and from nothing else."""

from __future__ import annotations

import math
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model

from mlxforge.errors import ForgeError
from mlxforge.models.layers.inspection import Inspection, write_parameters
from mlxforge.models.source.files import read_tensors
from mlxforge.models.streaming.boxes import boxes_of_range, cover, offset, shape_of
from mlxforge.models.streaming.expression import (
    Computed,
    Constant,
    Stored,
    Whole,
    from_json,
    to_json,
)
from mlxforge.models.streaming.files import StoredTensors
from mlxforge.models.streaming.rows import Rows
from mlxforge.models.streaming.tensors import open_tensors, trace_folder
from mlxforge.models.streaming.tensors import rows_of as rows_of_folder
from mlxforge.models.streaming.trace import trace_loading
from tests import checkpoints
from tests.models.test_architectures import PACKED

FOLDERS: dict[str, Callable[[Path], Path]] = {
    **{
        name: lambda folder, make=make: checkpoints.write(make(), folder, shards=3)
        for name, make in checkpoints.PLAIN.items()
    },
    **PACKED,
}


@pytest.mark.parametrize("name", FOLDERS)
def test_every_parameter_can_be_read_by_rows(name: str, tmp_path: Path) -> None:
    mx.random.seed(3)
    folder = FOLDERS[name](tmp_path / "source")
    traced = trace_folder(folder)
    assert not [entry for entry in traced.parameters.values() if isinstance(entry, Whole)]
    rows = open_tensors(folder)
    model, _ = load_model(folder)
    for parameter, value in tree_flatten(model.parameters()):
        found = rows[parameter]
        assert (found.shape, found.dtype) == (value.shape, str(value.dtype).split(".")[-1])
        flat = value.reshape(found.rows, found.columns)
        for start, stop in ((0, found.rows), (found.rows // 3, found.rows // 3 + 1)):
            assert mx.array_equal(found.read(start, stop), flat[start:stop]), parameter


def test_expressions_survive_being_written_down(tmp_path: Path) -> None:
    for name in ("deepseek_v3", "fp8", "awq"):
        for expression in trace_folder(FOLDERS[name](tmp_path / name)).parameters.values():
            constants: dict[int, tuple[int, Constant]] = {}
            raw = to_json(expression, constants)
            pool = [from_json(to_json(entry, None), ()) for _, entry in constants.values()]
            assert from_json(raw, pool) == expression


class Held(nn.Module):
    """A model whose parameters are what ``make`` gives for the stored tensors."""

    def __init__(self, values: dict[str, mx.array]) -> None:
        super().__init__()
        self.held = values


OPERATIONS: dict[str, Callable[[mx.array], mx.array]] = {
    "transposed": lambda a: a.transpose(2, 0, 1),
    "flattened": lambda a: a.flatten(0, 1),
    "reshaped": lambda a: a.reshape(3, 40, 4),
    "regrouped": lambda a: a.transpose(1, 0, 2).reshape(-1, 8),
    "unflattened": lambda a: mx.unflatten(a, 1, (2, 5)),
    "expanded": lambda a: a[:, None, :, None],
    "squeezed": lambda a: a[1:2].squeeze(0),
    "every other": lambda a: a[:, 1::2],
    "backwards": lambda a: a[:, ::-1],
    "one of them": lambda a: a[2],
    "some of them": lambda a: a[mx.array([3, 0, 3])],
    "joined": lambda a: mx.concatenate([a[:, :3], a, a[:, 5:]], axis=1),
    "stacked": lambda a: mx.stack([a, a + 1, -a]),
    "split": lambda a: mx.split(a, [2, 7], axis=1)[1],
    "padded": lambda a: mx.pad(a, ((0, 0), (2, 3), (1, 0))),
    "repeated": lambda a: mx.repeat(a, 3, axis=1),
    "viewed": lambda a: a.view(mx.uint16),
    "viewed narrower": lambda a: a.view(mx.uint8),
    "viewed wider": lambda a: a.view(mx.float32),
    "cast": lambda a: a.astype(mx.float32),
    "scaled by blocks": lambda a: (
        a.reshape(6, 5, 2, 8) * mx.arange(12).reshape(6, 1, 2, 1)
    ).reshape(6, 10, 8),
    "summed": lambda a: a.reshape(6, 5, 2, 8).view(mx.uint16).sum(axis=2),
    "shifted": lambda a: (a.view(mx.uint16)[..., None] >> mx.array([0, 4], mx.uint16)) & 15,
    "chosen": lambda a: mx.where(a > 0, a, -2 * a),
    "from fp8": lambda a: mx.from_fp8(a.view(mx.uint8), dtype=mx.bfloat16),
    "contiguous": lambda a: mx.contiguous(a.swapaxes(0, 1)),
    "masked": lambda a: a > 0,
    "nothing": lambda a: a[:, :0],
    "zeros": lambda a: mx.zeros_like(a) + mx.arange(8).astype(a.dtype),
}  # fmt: skip


@pytest.fixture(scope="module")
def one_tensor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    mx.random.seed(5)
    checkpoints.write(({}, {"a": checkpoints.random(6, 10, 8)}), folder / "it")
    return folder / "it"


def rows_of(folder: Path, make: Callable[[mx.array], mx.array]) -> Rows:
    files = {"model.safetensors": mx.load(str(folder / "model.safetensors"))}

    def load() -> tuple[nn.Module, dict[str, Any]]:
        return Held({"it": make(mx.load(str(folder / "model.safetensors"))["a"])}), {}

    expression = trace_loading(files, load).parameters["held.it"]
    whole = dict(tree_flatten(load()[0].parameters()))
    return Rows("held.it", expression, StoredTensors(read_tensors(folder)), whole.__getitem__)


@lru_cache
def _example(name: str, folder: Path) -> tuple[Rows, mx.array]:
    stored = mx.load(str(folder / "model.safetensors"))["a"]
    return rows_of(folder, OPERATIONS[name]), OPERATIONS[name](stored)


@pytest.mark.parametrize("name", OPERATIONS)
@given(data=st.data())
def test_every_operation_gives_any_rows(name: str, one_tensor: Path, data: st.DataObject) -> None:
    rows, expected = _example(name, one_tensor)
    assert isinstance(rows.expression, Computed)
    start = data.draw(st.integers(0, rows.rows))
    stop = data.draw(st.integers(start, rows.rows))
    found = rows.read(start, stop)
    assert found.dtype == expected.dtype
    flat = expected.reshape(rows.rows, rows.columns)
    assert mx.array_equal(found, flat[start:stop], equal_nan=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda a: mx.sort(a, axis=0),
        lambda a: a * a.max().item(),
        lambda a: mx.take(a, mx.array([3, 1]), axis=1),
        lambda a: a.max(axis=1),
        lambda a: a.astype(mx.float32).sum(axis=1),
    ],
    ids=["sorted", "looked at", "taken along the middle", "greatest", "float sum"],
)
def test_what_cannot_be_told_is_left_to_the_loader(
    one_tensor: Path, make: Callable[[mx.array], mx.array]
) -> None:
    rows = rows_of(one_tensor, make)
    assert isinstance(rows.expression, Whole)
    expected = make(mx.load(str(one_tensor / "model.safetensors"))["a"])
    flat = expected.reshape(rows.rows, rows.columns)
    assert mx.array_equal(rows.read(2, 5), flat[2:5])


def test_nothing_is_read_but_the_rows_that_are_asked_for(tmp_path: Path) -> None:
    """One expert of a stack lies in one file: the others may as well be gone."""
    folder = checkpoints.write(checkpoints.mixtral(), tmp_path / "source", shards=3)
    traced = trace_folder(folder)
    name = "model.layers.1.block_sparse_moe.switch_mlp.up_proj.weight"
    expression = traced.parameters[name]
    read: list[str] = []

    class Noted(StoredTensors):
        def read(self, name: str, *rest: Any) -> mx.array:
            read.append(name)
            return super().read(name, *rest)

    rows = Rows(name, expression, Noted(read_tensors(folder)), dict[str, mx.array]().__getitem__)
    rows.read(2 * 256 + 3, 2 * 256 + 5)
    assert read == ["model.layers.1.block_sparse_moe.experts.2.w3.weight"]


def test_a_file_that_shrinks_is_named(one_tensor: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes((one_tensor / "model.safetensors").read_bytes())
    stored = StoredTensors(read_tensors(tmp_path))
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size - 100)
    with pytest.raises(ForgeError, match=r"model\.safetensors ends at byte \d+: it was cut off"):
        stored.read("a", ((0, 6), (0, 10), (0, 8)), mx.bfloat16)


def test_columns_are_read_without_the_rest_of_their_rows(tmp_path: Path) -> None:
    weights = {"a": checkpoints.random(7, 4096), "b": checkpoints.random(3, 5, 4096)}
    checkpoints.write(({}, weights), tmp_path / "wide")
    stored = StoredTensors(read_tensors(tmp_path / "wide"))
    found = stored.read("a", ((1, 6), (100, 1200)), mx.bfloat16)
    assert mx.array_equal(found, weights["a"][1:6, 100:1200])
    found = stored.read("b", ((0, 2), (1, 4), (5, 900)), mx.bfloat16)
    assert mx.array_equal(found, weights["b"][:2, 1:4, 5:900])


shapes = st.lists(st.integers(1, 5), min_size=0, max_size=4).map(tuple)


@given(shapes, st.data())
def test_a_range_is_cut_into_boxes_without_gap_or_overlap(
    shape: tuple[int, ...], data: st.DataObject
) -> None:
    size = math.prod(shape)
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, size))
    position = start
    for box in boxes_of_range(shape, start, stop):
        assert cover(shape, box) == box
        assert offset(shape, box) == position
        position += math.prod(shape_of(box))
    assert position == stop


def test_a_stored_tensor_is_its_own_expression(tmp_path: Path) -> None:
    folder = checkpoints.write(checkpoints.llama(), tmp_path / "source")
    traced = trace_folder(folder)
    assert all(isinstance(entry, Stored) for entry in traced.parameters.values())
    assert all(entry.name == name for name, entry in traced.parameters.items())


@pytest.fixture(autouse=True)
def mx_is_as_it_was() -> Iterator[None]:
    before = (mx.load, mx.contiguous, mx.from_fp8)
    yield
    assert before == (mx.load, mx.contiguous, mx.from_fp8)


def test_equal_constants_are_written_down_once(tmp_path: Path) -> None:
    """A table of 256 numbers goes with every float8 weight."""
    folder = FOLDERS["fp8"](tmp_path / "source")
    traced = trace_folder(folder)
    write_parameters(traced.parameters, tmp_path)
    found = Inspection(tmp_path).parameters()
    for name, expression in traced.parameters.items():
        assert repr(found[name]) == repr(expression)  # a NaN is in the table
    tables = (tmp_path / "parameters.tsv").read_text().splitlines()[0]
    assert tables.count("-448.0") == 1


def test_what_only_the_loader_knows_is_loaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces of three parameters, asked for in turn."""
    import mlx_lm.utils

    folder = checkpoints.write(checkpoints.llama(), tmp_path / "source")
    loads: list[Path] = []
    load = mlx_lm.utils.load_model

    def counted(path: Path, **rest: Any) -> Any:
        loads.append(path)
        return load(path, **rest)

    monkeypatch.setattr(mlx_lm.utils, "load_model", counted)
    expressions = {
        name: Whole(name, entry.shape, entry.dtype)
        for name, entry in trace_folder(folder).parameters.items()
    }
    loads.clear()
    names = [f"model.layers.0.mlp.{part}_proj.weight" for part in ("up", "gate", "down")]
    stored = mx.load(str(folder / "model.safetensors"))
    with rows_of_folder(folder, expressions) as rows:
        for start in range(0, 128, 32):
            for name in names:
                assert mx.array_equal(
                    rows[name].read(start, start + 32), stored[name][start : start + 32]
                )
    assert len(loads) == 1


def test_more_shards_than_files_may_be_open(tmp_path: Path) -> None:
    """Where programs may open 256 files, as on a Mac."""
    weights = {f"w{number}": checkpoints.random(1, 8) for number in range(300)}
    checkpoints.write(({}, weights), tmp_path / "many", shards=300)
    program = (
        "import resource, sys; from pathlib import Path\n"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))\n"
        "from mlxforge.models.source.files import read_tensors\n"
        "from mlxforge.models.streaming.files import StoredTensors\n"
        "StoredTensors(read_tensors(Path(sys.argv[1])))\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "many")], check=True)


def test_a_transposed_weight_is_not_read_whole_for_a_few_of_its_rows(tmp_path: Path) -> None:
    weights = {"a": checkpoints.random(4096, 512)}
    checkpoints.write(({}, weights), tmp_path / "wide")
    stored = StoredTensors(read_tensors(tmp_path / "wide"))
    mx.reset_peak_memory()
    tracemalloc.start()
    found = stored.read("a", ((0, 4096), (64, 72)), mx.bfloat16)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert mx.array_equal(found, weights["a"][:, 64:72])
    assert peak < 2_000_000  # the weight has 4 MB
