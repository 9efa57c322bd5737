"""Where a recipe says what mlx_lm.convert can say, the result is mlx_lm.convert's, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm import convert

from mlxforge.errors import Position
from mlxforge.models.layers.assign import assign
from mlxforge.models.layers.inspect import inspect_source
from mlxforge.models.layers.inspection import Inspection
from mlxforge.models.layers.size import model_size
from mlxforge.models.writing.quantized import write_model
from mlxforge.recipe.model import Override, Quantize
from tests.checkpoints import stored

AFFINE = list(product((2, 3, 4, 5, 6, 8), (32, 64, 128)))
OTHER_MODES = [("mxfp4", 4, 32), ("nvfp4", 4, 16), ("mxfp8", 8, 32)]
SCHEMES = [("affine", bits, group) for bits, group in AFFINE] + OTHER_MODES


def quantize(method: str = "rtn", **words: Any) -> Quantize:
    plain = {"bits": 4, "group_size": 64, "mode": "affine", "scales": "minmax", "dtype": None}
    return Quantize(method=method, refine="none", **(plain | words))


def inspected(source: Path, out: Path) -> Inspection:
    folder = out.with_name(f"{out.name}-inspected")
    folder.mkdir()
    return inspect_source(source, folder)


def build(source: Path, wanted: Quantize, out: Path) -> None:
    out.mkdir()
    inspection = inspected(source, out)
    assignments = assign(inspection.table, wanted)
    write_model(source, inspection, assignments, wanted, out, lambda *_: None)


def tensors(folder: Path) -> Mapping[str, tuple[str, tuple[int, ...], bytes]]:
    found = {}
    for shard in sorted(folder.glob("model*.safetensors")):
        for name, array in mx.load(str(shard)).items():
            raw = bytes(memoryview(mx.contiguous(array).reshape(-1).view(mx.uint8)))
            found[name] = (str(array.dtype), tuple(array.shape), raw)
    return found


def config(folder: Path) -> Any:
    return json.loads((folder / "config.json").read_text())


def assert_same(ours: Path, theirs: Path) -> None:
    mine, upstream = tensors(ours), tensors(theirs)
    assert mine.keys() == upstream.keys()
    for name in mine:
        assert mine[name] == upstream[name], name
    assert config(ours) == config(theirs)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("mode,bits,group_size", SCHEMES)
def test_every_scheme_gives_upstreams_tensors_and_config(
    tiny: Callable[..., Path], tmp_path: Path, mode: str, bits: int, group_size: int, tied: bool
) -> None:
    source = tiny(tied=tied)
    convert(
        str(source), tmp_path / "theirs", quantize=True,
        q_bits=bits, q_group_size=group_size, q_mode=mode,
    )  # fmt: skip
    build(source, quantize(bits=bits, group_size=group_size, mode=mode), tmp_path / "ours")
    assert_same(tmp_path / "ours", tmp_path / "theirs")


@pytest.mark.parametrize("source_dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", None])
@pytest.mark.parametrize("method", ["rtn", "none"])
def test_every_dtype_gives_upstreams_tensors_and_config(
    tiny: Callable[..., Path], tmp_path: Path, source_dtype: str, dtype: str | None, method: str
) -> None:
    source = tiny(tied=False, dtype=source_dtype)
    convert(str(source), tmp_path / "theirs", quantize=method == "rtn", dtype=dtype)
    build(source, quantize(method, dtype=dtype), tmp_path / "ours")
    assert_same(tmp_path / "ours", tmp_path / "theirs")


def test_an_architectures_own_rule_is_upstreams(session_folder: Path, tmp_path: Path) -> None:
    source = stored("qwen3_moe", session_folder)
    convert(str(source), tmp_path / "theirs", quantize=True)
    build(source, quantize(), tmp_path / "ours")
    assert config(tmp_path / "ours")["quantization"]["model.layers.0.mlp.gate"]["bits"] == 8
    assert_same(tmp_path / "ours", tmp_path / "theirs")


def test_a_router_that_upstream_would_crush_keeps_eight_bits(
    session_folder: Path, tmp_path: Path
) -> None:
    source = stored("phimoe", session_folder)
    build(source, quantize(), tmp_path / "ours")
    entry = config(tmp_path / "ours")["quantization"]
    router = "model.layers.0.block_sparse_moe.gate"
    assert entry[router] == {"group_size": 64, "bits": 8, "mode": "affine"}

    rule = Override("router", True, 4, 64, "affine", Position("r.yaml", 1, 1))
    build(source, quantize(overrides=(rule,)), tmp_path / "named")
    convert(str(source), tmp_path / "theirs", quantize=True)
    assert_same(tmp_path / "named", tmp_path / "theirs")


def test_mixed_rules_are_upstreams_with_a_predicate(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    source = tiny(tied=False)
    at = Position("r.yaml", 1, 1)
    rules = (
        Override("attention", True, 8, 32, "affine", at),
        Override("lm_head", False, 4, 64, "affine", Position("r.yaml", 2, 1)),
    )

    def predicate(path: str, module: Any) -> Any:
        if "self_attn" in path:
            return {"group_size": 32, "bits": 8, "mode": "affine"}
        return path != "lm_head"

    convert(
        str(source), tmp_path / "theirs", quantize=True, q_group_size=64, quant_predicate=predicate
    )
    build(source, quantize(overrides=rules), tmp_path / "ours")
    mine, upstream = config(tmp_path / "ours"), config(tmp_path / "theirs")
    assert mine["quantization"].pop("lm_head") is False  # upstream leaves it unsaid
    mine["quantization_config"].pop("lm_head")
    assert mine == upstream
    assert tensors(tmp_path / "ours") == tensors(tmp_path / "theirs")


def test_a_rule_is_followed_where_only_the_default_group_size_does_not_divide(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    source = tiny(tied=True, hidden=192)
    rule = Override("*", True, 4, 64, "affine", Position("r.yaml", 1, 1))
    build(source, quantize(group_size=128, overrides=(rule,)), tmp_path / "ours")
    assert "model.layers.0.mlp.up_proj.scales" in tensors(tmp_path / "ours")

    def predicate(path: str, module: Any) -> Any:
        return {"group_size": 64, "bits": 4, "mode": "affine"}

    convert(
        str(source), tmp_path / "theirs", quantize=True, q_group_size=128, quant_predicate=predicate
    )
    assert "model.layers.0.mlp.up_proj.scales" not in tensors(tmp_path / "theirs")  # in silence
    convert(str(source), tmp_path / "plain", quantize=True, q_group_size=64)
    assert tensors(tmp_path / "ours") == tensors(tmp_path / "plain")


@pytest.mark.parametrize("mode,bits,group_size", SCHEMES)
def test_the_size_is_known_before_the_build(
    tiny: Callable[..., Path], tmp_path: Path, mode: str, bits: int, group_size: int
) -> None:
    source = tiny(tied=False)
    wanted = quantize(bits=bits, group_size=group_size, mode=mode)
    table = inspected(source, tmp_path / "size").table
    expected = model_size(assign(table, wanted), table.cast(None))
    build(source, wanted, tmp_path / "ours")
    made = sum(len(raw) for _, _, raw in tensors(tmp_path / "ours").values())
    assert expected.bytes == made
    index = json.loads((tmp_path / "ours" / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": made, "total_parameters": expected.parameters}
