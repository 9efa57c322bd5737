"""Streamed from awkward shards, by one thread or two: the tensors that mlx_lm.convert makes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest
from mlx_lm import convert

from mlxforge.errors import Position
from mlxforge.models.layers.assign import assign
from mlxforge.models.writing import pieces
from mlxforge.models.writing.quantized import write_model
from mlxforge.recipe.model import Override, Quantize
from tests import checkpoints
from tests.models.test_upstream import assert_same, config, inspected, quantize, tensors

SCHEMES = [
    ("affine", 4, 64), ("affine", 3, 32), ("mxfp4", 4, 32), ("mxfp8", 8, 32), ("nvfp4", 4, 16),
]  # fmt: skip


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that every matrix is cut, and cut where no expert ends."""
    monkeypatch.setattr(pieces, "PIECE_WEIGHTS", 37 * 128)


AWKWARD = ("llama", "gemma3_text", "phi3", "mixtral", "deepseek_v3", "mamba2")
SOURCES = [(name, "bfloat16") for name in AWKWARD]
SOURCES += [("mixtral", "float16"), ("deepseek_v3", "float32"), ("mamba2", "float16")]


@pytest.fixture(scope="module", params=SOURCES, ids=" ".join)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    mx.random.seed(7)
    name, dtype = request.param
    checkpoint = checkpoints.cast(checkpoints.PLAIN[name](), dtype)
    return checkpoints.write(checkpoint, tmp_path_factory.mktemp("sources") / name, shards=3)


def build(source: Path, wanted: Quantize, out: Path, workers: int = 2) -> None:
    out.mkdir()
    inspection = inspected(source, out)
    assignments = assign(inspection.table, wanted)
    write_model(source, inspection, assignments, wanted, out, lambda *_: None, workers)


def unguarded(wanted: Quantize, source: Path, tmp_path: Path) -> Quantize:
    """The same, with every router named: upstream has no guard for those of some models."""
    table = inspected(source, tmp_path / "guards").table
    routers = any(layer.role == "router" and layer.own_rule is True and layer.quantizable
                  for layer in table.layers)  # fmt: skip
    rule = Override("router", True, wanted.bits, wanted.group_size, wanted.mode,
                    Position("r.yaml", 1, 1))  # fmt: skip
    words = {"bits": wanted.bits, "group_size": wanted.group_size, "mode": wanted.mode}
    return quantize(**words, overrides=(rule,)) if routers else wanted


@pytest.mark.parametrize("mode,bits,group_size", SCHEMES)
def test_every_scheme_is_upstreams(
    source: Path, tmp_path: Path, mode: str, bits: int, group_size: int
) -> None:
    wanted = quantize(mode=mode, bits=bits, group_size=group_size)
    convert(str(source), tmp_path / "theirs", quantize=True, q_bits=bits, q_group_size=group_size,
            q_mode=mode)  # fmt: skip
    wanted = unguarded(wanted, source, tmp_path)
    build(source, wanted, tmp_path / "one", workers=1)
    build(source, wanted, tmp_path / "two", workers=2)
    assert_same(tmp_path / "two", tmp_path / "theirs")
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


@pytest.mark.parametrize("dtype", ["float16", "float32", None])
def test_a_dtype_alone_is_upstreams(source: Path, tmp_path: Path, dtype: str | None) -> None:
    convert(str(source), tmp_path / "theirs", dtype=dtype)
    build(source, quantize("none", dtype=dtype), tmp_path / "ours")
    assert_same(tmp_path / "ours", tmp_path / "theirs")


def deepseek_fp8(folder: Path) -> Path:
    checkpoint, packed = checkpoints.deepseek_fp8()
    return checkpoints.write(checkpoint, folder, shards=3, fp8=packed)


def gpt_oss(folder: Path) -> Path:
    return checkpoints.write(checkpoints.gpt_oss(), folder, shards=3)


def awq(folder: Path) -> Path:
    return checkpoints.write(checkpoints.awq(), folder, shards=3)


def gptq(folder: Path) -> Path:
    return checkpoints.write(checkpoints.gptq(), folder, shards=3)


def eight_bit(folder: Path) -> Path:
    plain = checkpoints.write(checkpoints.llama(), folder.with_name("plain"), shards=2)
    convert(str(plain), folder, quantize=True, q_bits=8, q_group_size=64)
    return folder


def mxfp8(folder: Path) -> Path:
    """Packed, and the config says so in a place where few look."""
    plain = checkpoints.write(checkpoints.llama(), folder.with_name("plain"))
    convert(str(plain), folder, quantize=True, q_mode="mxfp8")
    changed = {k: v for k, v in config(folder).items() if not k.startswith("quantization")}
    changed["text_config"] = {"quantization_config": {"quant_method": "mxfp8"}}
    (folder / "config.json").write_text(json.dumps(changed))
    return folder


PACKED: dict[str, Callable[[Path], Path]] = {
    "fp8": deepseek_fp8, "mxfp4": gpt_oss, "awq": awq, "gptq": gptq, "8 bit": eight_bit,
    "mxfp8": mxfp8,
}  # fmt: skip


@pytest.fixture(scope="module", params=PACKED)
def packed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    mx.random.seed(8)
    return PACKED[request.param](tmp_path_factory.mktemp("packed") / "source")


def test_a_packed_source_is_unpacked_and_packed_anew(packed: Path, tmp_path: Path) -> None:
    """Upstream needs two runs; asked in one, it leaves such layers at their old width."""
    convert(str(packed), tmp_path / "plain", dequantize=True)
    convert(str(tmp_path / "plain"), tmp_path / "theirs", quantize=True, q_bits=3, q_group_size=32)
    wanted = unguarded(quantize(bits=3, group_size=32), packed, tmp_path)
    build(packed, wanted, tmp_path / "ours")
    assert tensors(tmp_path / "ours") == tensors(tmp_path / "theirs")
    theirs = config(tmp_path / "theirs")
    if "text_config" not in theirs:  # from there upstream takes the old width up again
        assert config(tmp_path / "ours")["quantization"] == theirs["quantization"]


def test_a_packed_source_is_unpacked_where_nothing_is_to_be_quantized(
    packed: Path, tmp_path: Path
) -> None:
    convert(str(packed), tmp_path / "theirs", dequantize=True)
    build(packed, quantize("none"), tmp_path / "ours")
    assert tensors(tmp_path / "ours") == tensors(tmp_path / "theirs")
    assert "quantization" not in config(tmp_path / "ours")
    assert "quantization_config" not in config(tmp_path / "ours")


def test_layers_that_are_packed_as_asked_keep_their_codes(tmp_path: Path) -> None:
    source = eight_bit(tmp_path / "source")
    build(source, quantize(bits=8, group_size=64), tmp_path / "ours")
    assert tensors(tmp_path / "ours") == tensors(source)
