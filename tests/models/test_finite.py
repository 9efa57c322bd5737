"""NaN and infinity in a source are refused by name, wherever they are, or let through on wish."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxforge.errors import ForgeError
from mlxforge.models.layers.assign import assign
from mlxforge.models.layers.inspect import inspect_source
from mlxforge.models.writing.finite import E4M3, E8M0, Format, Nonfinite, count, format_of
from mlxforge.models.writing.finite import is_finite as finite
from mlxforge.models.writing.quantized import write_model
from mlxforge.recipe.model import Quantize
from mlxforge.steps.quantize import Quantize as Step
from tests import checkpoints
from tests.tiny import make_llama

NAN, INFINITY = float("nan"), float("inf")


def wanted(method: str = "rtn", dtype: str | None = None, allow: bool = False) -> Quantize:
    return Quantize(method, 4, 64, "affine", "minmax", dtype, "none", (), allow)


def build(source: Path, wish: Quantize, folder: Path) -> dict[str, mx.array]:
    (folder / "layers").mkdir(parents=True)
    (folder / "out").mkdir()
    found = inspect_source(source, folder / "layers")
    write_model(source, found, assign(found.table, wish), wish, folder / "out", lambda *_: None)
    return dict(mx.load(str(folder / "out" / "model.safetensors")))  # type: ignore[call-overload]


def refusal(source: Path, folder: Path, **words: Any) -> str:
    with pytest.raises(ForgeError) as caught:
        build(source, wanted(**words), folder)
    assert not (folder / "out" / "model.safetensors.index.json").exists()
    return str(caught.value)


def spoil(source: Path, name: str, *values: float) -> None:
    """Put ``values`` at the end of the tensor ``name``."""
    file = source / "model.safetensors"
    weights = dict(mx.load(str(file)))  # type: ignore[call-overload]
    flat = weights[name].reshape(-1)
    flat[flat.size - len(values) :] = mx.array(values).astype(flat.dtype)
    mx.save_safetensors(str(file), weights | {name: flat.reshape(weights[name].shape)})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    make_llama(tmp_path / "source", tied=False)
    return tmp_path / "source"


WORDS = {
    "float16": (mx.float16, np.uint16, lambda words: words.view(np.float16)),
    "bfloat16": (mx.bfloat16, np.uint16, lambda words: (words.astype("u4") << 16).view(np.float32)),
    "float32": (mx.float32, np.uint32, lambda words: words.view(np.float32)),
}  # fmt: skip


@given(
    kind=st.sampled_from(sorted(WORDS)),
    high=st.lists(st.integers(0, 2**16 - 1), max_size=20),
    low=st.integers(0, 2**16 - 1),
)
def test_every_bit_pattern_is_told_as_ieee_754_tells_it(
    kind: str, high: list[int], low: int
) -> None:
    dtype, word, floats = WORDS[kind]
    near = [code ^ 1 for code in (0x7F80, 0xFF80, 0x7C00, 0xFC00) if code in high]
    codes = np.array(high + near, dtype=np.uint32)
    words = (codes << 16 | low).astype(word) if word is np.uint32 else codes.astype(word)
    numbers = floats(words)
    form = format_of(dtype)
    assert form
    array = mx.array(words).view(dtype)
    assert finite(array, form) == bool(np.isfinite(numbers).all())
    expected = Nonfinite(int(np.isnan(numbers).sum()), int(np.isinf(numbers).sum()))
    assert count(array, form) == expected


@pytest.mark.parametrize("kind", sorted(WORDS))
def test_the_greatest_numbers_are_numbers_and_their_neighbours_are_not(kind: str) -> None:
    dtype, word, floats = WORDS[kind]
    form = format_of(dtype)
    assert form
    for sign in (0, form.sign):
        largest, beyond = (np.array([form.largest + step + sign], word) for step in (0, 1))
        assert np.isfinite(floats(largest)).all() and np.isinf(floats(beyond)).all()
        assert finite(mx.array(largest).view(dtype), form)
        assert not finite(mx.array(beyond).view(dtype), form)


@pytest.mark.parametrize("form,codes", [(E4M3, {0x7F, 0xFF}), (E8M0, {0xFF})], ids=["e4m3", "e8m0"])
def test_eight_bit_floats_have_their_own_nan(form: Format, codes: set[int]) -> None:
    found = {code for code in range(256) if not finite(mx.array([code], dtype=mx.uint8), form)}
    assert found == codes


def test_nothing_is_finite() -> None:
    form = format_of(mx.float32)
    assert form and finite(mx.zeros((0, 4)), form)


@pytest.mark.parametrize("method", ["rtn", "none"])
@pytest.mark.parametrize(
    "name",
    ["model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight", "model.norm.weight"],
)
def test_a_tensor_with_nan_or_infinity_is_refused_by_its_name(
    source: Path, tmp_path: Path, name: str, method: str
) -> None:
    weights = mx.load(str(source / "model.safetensors"))
    size = weights[name].size  # type: ignore[call-overload,index]
    spoil(source, name, NAN, INFINITY, NAN, -INFINITY, NAN)
    assert refusal(source, tmp_path / "build", method=method) == (
        f"3 NaN and 2 infinite among the {size:,} numbers of tensor {name!r}\n"
        "  get the files again, or use another revision; "
        "`quantize: {allow_nonfinite: true}` goes on with them"
    )


@pytest.mark.parametrize("method", ["rtn", "none"])
def test_on_wish_what_is_no_number_is_taken_as_it_is(
    source: Path, tmp_path: Path, method: str
) -> None:
    name = "model.norm.weight"
    spoil(source, name, 1.0, NAN, INFINITY, -INFINITY)
    made = build(source, wanted(method, allow=True), tmp_path / "build")
    last = made[name].astype(mx.float32).tolist()[-4:]
    assert str(last) == "[1.0, nan, inf, -inf]"


def test_the_wish_changes_no_byte_of_a_model_that_is_finite(source: Path, tmp_path: Path) -> None:
    for allow in (False, True):
        build(source, wanted(allow=allow), tmp_path / str(allow))
    files = [tmp_path / str(allow) / "out" / "model.safetensors" for allow in (False, True)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_an_expert_is_named_as_it_is_stored_and_not_as_the_stack_that_it_is_put_into(
    tmp_path: Path,
) -> None:
    source = checkpoints.write(checkpoints.qwen3_moe(), tmp_path / "source")
    spoil(source, "model.layers.1.mlp.experts.2.up_proj.weight", NAN)
    spoil(source, "model.layers.1.mlp.experts.3.up_proj.weight", NAN, NAN)
    told = refusal(source, tmp_path / "build")
    assert told.startswith("1 NaN among the ")
    assert told.splitlines()[0].endswith(
        "numbers of tensor 'model.layers.1.mlp.experts.2.up_proj.weight', and some in 1 more that "
        "model.layers.1.mlp.switch_mlp.up_proj.weight is made of"
    )


def test_numbers_that_the_wanted_dtype_cannot_hold_are_refused(
    source: Path, tmp_path: Path
) -> None:
    spoil(source, "model.layers.0.self_attn.q_proj.weight", 70000.0, -1e30, 65280.0)
    build(source, wanted(), tmp_path / "plain")
    assert refusal(source, tmp_path / "build", dtype="float16") == (
        "2 of the 16,384 numbers of model.layers.0.self_attn.q_proj.weight are too large for "
        "float16\n"
        "  `dtype: bfloat16` or `float32` holds them; "
        "`quantize: {allow_nonfinite: true}` goes on with them"
    )


@pytest.fixture
def packed(source: Path, tmp_path: Path) -> Callable[[str], Path]:
    """The source packed by mlx_lm in a mode with its own group size."""

    def pack(mode: str) -> Path:
        from mlx_lm.convert import convert

        convert(str(source), str(tmp_path / mode), quantize=True, q_mode=mode)
        return tmp_path / mode

    return pack


SPOILT = [
    ("affine", "scales", lambda part: mx.full(part.shape, NAN, part.dtype)),
    ("affine", "biases", lambda part: mx.full(part.shape, -INFINITY, part.dtype)),
    ("mxfp4", "scales", lambda part: mx.full(part.shape, 0xFF, mx.uint8)),
    ("nvfp4", "scales", lambda part: mx.full(part.shape, 0x7F, mx.uint8)),
    ("mxfp8", "scales", lambda part: mx.full(part.shape, 0xFF, mx.uint8)),
    ("mxfp8", "weight", lambda part: mx.full(part.shape, 0x7F007FFF, mx.uint32)),
]  # fmt: skip


@pytest.mark.parametrize("kept", [True, False], ids=["codes-kept", "unpacked"])
@pytest.mark.parametrize("mode,part,harm", SPOILT, ids=[f"{m}-{p}" for m, p, _ in SPOILT])
def test_scales_and_codes_of_a_packed_source_are_looked_at_too(
    packed: Callable[[str], Path],
    tmp_path: Path,
    mode: str,
    part: str,
    harm: Callable[[mx.array], mx.array],
    kept: bool,
) -> None:
    source = packed(mode)
    file = source / "model.safetensors"
    weights = dict(mx.load(str(file)))  # type: ignore[call-overload]
    name = f"model.layers.0.mlp.up_proj.{part}"
    weights[name] = harm(weights[name])
    mx.save_safetensors(str(file), weights)
    size = weights[name].size
    total = {"weight": f"{3 * size:,} NaN among the {4 * size:,}"}.get(
        part, f"{size:,} {'infinite' if part == 'biases' else 'NaN'} among the {size:,}"
    )
    bits, group = {"affine": (4, 64), "mxfp4": (4, 32), "nvfp4": (4, 16), "mxfp8": (8, 32)}[mode]
    wish = Quantize(
        "rtn", bits if kept else 2, group if kept else 64, mode if kept else "affine",
        "minmax", None, "none",
    )  # fmt: skip
    with pytest.raises(ForgeError) as caught:
        build(source, wish, tmp_path / "build")
    named = f"tensor {name!r}" if mode == "affine" else name
    assert caught.value.message == f"{total} numbers of {named}"


def test_the_infinity_of_a_scalar_is_a_bound_that_bounds_nothing(tmp_path: Path) -> None:
    from mlxforge.models.source.headers import read_header
    from mlxforge.models.streaming.expression import Stored
    from mlxforge.models.streaming.files import StoredTensors
    from mlxforge.models.streaming.rows import Rows
    from mlxforge.models.writing.finite import checked

    file = tmp_path / "model.safetensors"
    mx.save_safetensors(str(file), {"bound": mx.array(INFINITY), "broken": mx.array(NAN)})
    stored = StoredTensors({name: (file, info) for name, info in read_header(file).items()})
    form = format_of(mx.float32)
    assert form

    def read(name: str) -> float:
        rows = Rows(name, Stored(name, (), "float32"), stored, lambda _: mx.array(0))
        found: float = checked(name, {name: rows}, rows.read, form)(0, 1).item()
        return found

    assert read("bound") == INFINITY
    with pytest.raises(ForgeError, match="1 NaN among the 1 numbers of tensor 'broken'"):
        read("broken")


def test_the_wish_is_part_of_the_steps_key_only_where_it_is_made() -> None:
    silent, allowing = Step.of(wanted()), Step.of(wanted(allow=True))
    assert "allow_nonfinite" not in silent.parameters()
    assert allowing.parameters() == silent.parameters() | {"allow_nonfinite": True}
    again = Step(**json.loads(json.dumps(allowing.parameters())))
    assert again.wanted().allow_nonfinite
