"""Rows: ours and theirs made comparable before they are compared."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import pytest

from benchmarks.bench import Bench
from benchmarks.compare import check_same, weight_bytes
from benchmarks.inputs import Scratch
from benchmarks.inputs.models import Llama
from benchmarks.ours import learning, quantizing
from benchmarks.rows import ROWS
from benchmarks.rows.quantize import conversion
from mlxforge.errors import ForgeError
from mlxforge.steps.dwq import Dwq
from tests.conftest import ROOT

SMALL = Llama("small", 64, 128, layers=1, heads=4, kv_heads=2, shards=2, vocabulary=512)


def model(folder: Path, **shards: dict[str, mx.array]) -> Path:
    folder.mkdir()
    for name, tensors in shards.items():
        mx.save_safetensors(str(folder / f"model-{name}.safetensors"), tensors)
    return folder


def test_shards_and_order_do_not_matter(tmp_path: Path) -> None:
    a, b = mx.arange(6).reshape(2, 3), mx.ones(4, dtype=mx.bfloat16)
    one = model(tmp_path / "one", whole={"a": a, "b": b})
    two = model(tmp_path / "two", first={"b": b}, second={"a": a})
    check_same(one, two)
    assert weight_bytes(one) == 6 * 4 + 4 * 2


@pytest.mark.parametrize(
    "other,difference",
    [
        ({"a": mx.array([1, 2, 3, 5])}, "a has other bytes"),
        ({"a": mx.array([[1, 2], [3, 4]])}, r"a is I32 \[4\], theirs I32 \[2, 2\]"),
        ({"a": mx.array([1, 2, 3, 4], dtype=mx.uint32)}, r"a is I32 \[4\], theirs U32 \[4\]"),
        ({"b": mx.array([1, 2, 3, 4])}, "only ours a"),
        ({"a": mx.array([1, 2, 3, 4]), "c": mx.zeros(1)}, "only theirs c"),
    ],
)
def test_the_first_difference_is_named(
    tmp_path: Path, other: dict[str, mx.array], difference: str
) -> None:
    ours = model(tmp_path / "ours", all={"a": mx.array([1, 2, 3, 4])})
    with pytest.raises(ForgeError, match=difference):
        check_same(ours, model(tmp_path / "theirs", all=other))


def test_a_step_has_its_recipes_parameters(tmp_path: Path) -> None:
    task = quantizing(tmp_path / "source", tmp_path / "layers", "{mode: nvfp4}")
    (tmp_path / "run").mkdir()
    command = task.command(tmp_path / "run")
    job = json.loads(str(command.line))
    assert job["parameters"]["bits"] == 4 and job["parameters"]["group_size"] == 16
    assert job["inputs"]["source"] == str(tmp_path / "source")
    assert Path(job["out"]).is_dir()


def test_a_step_that_learns_has_its_section_and_a_place_for_checkpoints(tmp_path: Path) -> None:
    section, read = "{method: dwq, dwq: {iterations: 28}}", tmp_path / "calibration"
    task = learning(Dwq, tmp_path / "source", tmp_path / "layers", section, calibration=read)
    (tmp_path / "run").mkdir()
    job = json.loads(str(task.command(tmp_path / "run").line))
    assert job["kind"] == "dwq" and job["parameters"]["iterations"] == 28
    assert job["inputs"]["calibration"] == str(read)
    assert not list(Path(job["inputs"]["checkpoints"]).iterdir())


def test_a_conversion_is_checked_bit_for_bit_and_then_measured(tmp_path: Path) -> None:
    row = conversion("small", SMALL, "{bits: 4}", "-q", wall=1e9, memory=1e9)
    with Bench(Scratch(tmp_path), pairs=1) as bench:
        outcome = row.run(bench)
    wall, memory = outcome.figures
    assert wall.met and wall.quantity == "wall" and wall.theirs[0] > 0
    assert memory.met and memory.ours[0] > 10e6
    assert outcome.notes[1] == "equal tensors, bit for bit"
    assert not list((tmp_path / "work").iterdir())


def test_rows_have_names_of_their_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_the_command_lists_rows_and_refuses_unknown_ones(tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "benchmarks", "--scratch", str(tmp_path), *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    listed = run("--list")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [row.name for row in ROWS]
    refused = run("--only", "quantise-4bit")
    assert refused.returncode == 1
    assert refused.stderr == "error: no row 'quantise-4bit'\n  did you mean 'quantize-4bit'?\n"
