"""The container: one layout, shards, digests of what was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest

from mlxforge.errors import ForgeError
from mlxforge.models.layers.assign import assign
from mlxforge.models.source.headers import read_header
from mlxforge.models.writing import container, quantized
from mlxforge.models.writing.container import ShardWriter, TensorPlan
from mlxforge.models.writing.quantized import write_model
from tests import checkpoints
from tests.models.test_upstream import inspected, quantize, tensors


def test_digests_are_those_of_the_files(tiny: Callable[..., Path], tmp_path: Path) -> None:
    source, out = tiny(), tmp_path / "out"
    out.mkdir()
    found = inspected(source, out)
    digests = write_model(source, found, assign(found.table, quantize()), quantize(), out, print)
    assert digests.keys() == {path.name for path in out.glob("*.safetensors")}
    for name, digest in digests.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest


def test_many_shards_hold_what_one_does(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards cut between a weight and its scales, scales too large for memory: the same."""
    source = tiny(tied=False)
    found = inspected(source, tmp_path / "x")
    assignments = assign(found.table, quantize())
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
        digests = write_model(
            source, found, assignments, quantize(), tmp_path / name, lambda *_: None
        )
        monkeypatch.setattr(container, "SHARD_BYTES", 9000)
        monkeypatch.setattr(quantized, "SPOOLED_BYTES", 100)
    assert tensors(tmp_path / "many") == tensors(tmp_path / "one")
    shards = sorted((tmp_path / "many").glob("*.safetensors"))
    assert len(shards) > 10
    assert shards[0].name == f"model-00001-of-{len(shards):05d}.safetensors"
    assert len(digests) == len(shards)
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    for shard in shards:
        header = read_header(shard)
        assert len(header) == 1 or sum(i.end - i.start for i in header.values()) <= 9000
        assert all(index["weight_map"][name] == shard.name for name in header)


def test_layers_lie_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    checkpoint = checkpoints.llama()
    source = checkpoints.write(checkpoint, tmp_path / "source")
    (tmp_path / "out").mkdir()
    found = inspected(source, tmp_path / "out")
    write_model(source, found, assign(found.table, quantize()), quantize(), tmp_path / "out", print)
    names = list(read_header(tmp_path / "out" / "model.safetensors"))
    first = names.index("model.layers.0.mlp.down_proj.weight")
    assert names[first + 1 : first + 3] == [
        "model.layers.0.mlp.down_proj.scales", "model.layers.0.mlp.down_proj.biases",
    ]  # fmt: skip
    raw = (tmp_path / "out" / "model.safetensors").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert header["__metadata__"] == {"format": "mlx"}


def test_a_disk_without_room_is_refused_before_the_first_byte(tmp_path: Path) -> None:
    with pytest.raises(ForgeError, match=r"the disk is full: .* the weights need 4000000\.00 GB"):
        ShardWriter([TensorPlan("a", "float32", (10**15,))], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_all_written_are_a_mistake(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="8 bytes of weights were not written"),
        ShardWriter([TensorPlan("a", "float32", (4,))], tmp_path) as writer,
    ):
        writer.write(memoryview(bytes(8)))


def test_what_was_written_is_read_by_mlx(tmp_path: Path) -> None:
    plans = [TensorPlan("a", "bfloat16", (2, 3)), TensorPlan("b", "uint32", (2,))]
    with ShardWriter(plans, tmp_path) as writer:
        writer.write(memoryview(mx.ones((2, 3), dtype=mx.bfloat16).view(mx.uint16)).cast("B"))
        writer.write(memoryview(mx.array([1, 2], dtype=mx.uint32)).cast("B"))
    read = mx.load(str(tmp_path / "model.safetensors"))
    assert mx.array_equal(read["a"], mx.ones((2, 3), dtype=mx.bfloat16))
    assert mx.array_equal(read["b"], mx.array([1, 2], dtype=mx.uint32))
