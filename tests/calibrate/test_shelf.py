"""What blocks hand on comes back with the same bits, from memory and from disk."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx.utils import tree_flatten

from mlxforge.calibrate.shelf import Shelf

BF16 = mx.array([[1.0, float("nan")], [-0.0, 3e38]], dtype=mx.bfloat16)
KINDS = (mx.float32, mx.float16, mx.bfloat16, mx.int32, mx.uint8, mx.bool_)


def bits(state: Any) -> list[tuple[str, Any]]:
    """Every leaf with its path; of arrays dtype, shape and bytes."""
    return [
        (path, (leaf.dtype, leaf.shape, bytes(memoryview(leaf)))
         if isinstance(leaf, mx.array) else leaf)
        for path, leaf in tree_flatten(state)
    ]  # fmt: skip


def arrays(seed: int, kind: int) -> mx.array:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 4, size=rng.integers(0, 4)))
    return mx.array(rng.integers(-9, 9, size=shape)).astype(KINDS[kind])


leaves = st.one_of(
    st.builds(arrays, st.integers(0, 99), st.integers(0, len(KINDS) - 1)),
    st.none(), st.integers(0, 5),
)  # fmt: skip
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3),
    ),
    max_leaves=5,
)


@given(puts=st.lists(st.tuples(st.integers(0, 3), trees), max_size=12), room=st.integers(0, 200))
def test_what_was_put_last_is_what_is_there(puts: list[tuple[int, Any]], room: int) -> None:
    with TemporaryDirectory() as folder:
        states = Shelf(room, Path(folder)).states(4)
        expected: dict[int, Any] = {}
        for number, state in puts:
            states[number] = state
            expected[number] = bits(state)
            assert {n: bits(states[n]) for n in expected} == expected


def test_every_bit_of_every_dtype_comes_back_from_disk(tmp_path: Path) -> None:
    states = Shelf(0, tmp_path).states(1)
    state = {"x": BF16, "more": (mx.array(2.5), [mx.arange(6).reshape(2, 3)[:, ::2], None])}
    states[0] = state
    assert [*tmp_path.iterdir()]
    assert bits(states[0]) == bits(state)


@pytest.mark.parametrize("room", [1 << 20, 0])
def test_what_is_taken_may_be_changed_in_place(room: int, tmp_path: Path) -> None:
    states = Shelf(room, tmp_path).states(1)
    states[0] = (mx.arange(5), [mx.ones(2), None])
    one, (two, _) = states[0]
    one += 1
    two *= 3
    one, (two, _) = states[0]
    assert one.tolist() == [0, 1, 2, 3, 4] and two.tolist() == [1, 1]


def test_memory_holds_no_more_than_it_has_room_for(tmp_path: Path) -> None:
    shelf = Shelf(1000, tmp_path)
    first, second = shelf.states(3), shelf.states(3)
    for number in range(3):
        first[number] = second[number] = mx.zeros(100)  # 400 bytes
    assert len([*tmp_path.iterdir()]) == 4
    first[0] = None
    second[0] = mx.ones(100)  # stays where it was: there is room for one
    second[1] = mx.full(100, 2.0)  # from disk into the room that was given back
    assert second[1].sum().item() == 200 and second[0].sum().item() == 100


def test_without_a_folder_everything_stays_in_memory() -> None:
    states = Shelf().states(2)
    states[0] = states[1] = mx.zeros((1000, 1000))
    assert len(states) == 2 and states[1].shape == (1000, 1000)


def test_a_disk_that_is_full_is_told_and_nothing_is_taken_for_whole(tmp_path: Path) -> None:
    (tmp_path / "0.safetensors").symlink_to("/dev/full")
    states = Shelf(0, tmp_path).states(1)
    with pytest.raises(OSError, match="No space left"):
        states[0] = mx.zeros(100_000)
    assert states[0] is None


def test_what_could_be_made_again_is_left_out_where_the_disk_is_full(tmp_path: Path) -> None:
    (tmp_path / "0.safetensors").symlink_to("/dev/full")
    shelf = Shelf(0, tmp_path, spare=500_000)
    assert shelf.spare(mx.zeros(100_000)) is None
    place = shelf.spare(mx.ones(100_000))  # there is room for one: the first took none
    assert place is not None and place.read().sum().item() == 100_000
    assert [file.name for file in tmp_path.iterdir()] == ["1.safetensors"]


def test_what_could_be_made_again_takes_no_more_room_than_is_spared_for_it(tmp_path: Path) -> None:
    shelf = Shelf(1000, tmp_path, spare=800)
    held, *filed = (shelf.spare(mx.full(150, value)) for value in range(3))  # 600 bytes each
    assert held and held.file is None
    assert filed[0] and filed[0].file and filed[1] is None
    states = shelf.states(2)
    states[0] = mx.full(150, 7)  # what could not has room on disk however much that is
    states[1] = mx.full(100, 8)  # and in memory
    assert len([*tmp_path.iterdir()]) == 2
    for value, place in enumerate((held, filed[0])):
        assert place.read().tolist() == [value] * 150
        place.leave()
    assert len([*tmp_path.iterdir()]) == 1
    assert (again := shelf.spare(mx.zeros(150))) and again.file is None


def test_without_a_folder_nothing_is_spared_beyond_the_room() -> None:
    shelf = Shelf(1000)
    assert shelf.spare(mx.zeros(150)) and not shelf.spare(mx.zeros(150))
    assert not shelf.spare_on_disk(mx.zeros(10))


def test_a_file_is_not_read_before_it_is_used(tmp_path: Path) -> None:
    place = Shelf(0, tmp_path, spare=1 << 20).spare_on_disk(mx.arange(1000))
    assert place and place.file
    before = mx.get_active_memory()
    found = place.read()[...]
    assert mx.get_active_memory() == before
    place.leave()  # whoever has it may still use it
    assert found.tolist() == [*range(1000)] and not [*tmp_path.iterdir()]


def test_threads_put_and_take_side_by_side(tmp_path: Path) -> None:
    shelf = Shelf(20_000, tmp_path, spare=30_000)

    def work(seed: int) -> bool:
        for value in range(seed, seed + 60):
            if place := shelf.spare(mx.full(500, value)):
                if place.read().tolist() != [value] * 500:
                    return False
                place.leave()
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))
    assert not [*tmp_path.iterdir()]
    assert shelf.spare(mx.zeros(5000)) and shelf.spare(mx.zeros(7500))  # all of both rooms
