"""Which machines a model fits, and with how long a context."""

from __future__ import annotations

import pytest

from mlxforge.models.layers.cache import CacheBytes
from mlxforge.report.machine import MACS, Machine, common_machines, fit_rows, most_context

GB = 1 << 30
CACHE = CacheBytes(((256, 256 << 17), (512, 512 << 17)))  # 128 KiB a token


def test_metal_wires_two_thirds_up_to_36_gb_and_three_quarters_above() -> None:
    _, *macs = common_machines()
    assert [mac.memory for mac in macs] == [size * GB for size in MACS]
    assert {mac.name: mac.usable for mac in macs} == {
        "Mac, 8 GB": 8 * GB * 2 // 3, "Mac, 16 GB": 16 * GB * 2 // 3,
        "Mac, 24 GB": 16 * GB, "Mac, 32 GB": 32 * GB * 2 // 3,
        "Mac, 64 GB": 48 * GB, "Mac, 128 GB": 96 * GB,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("weights", "positions", "tokens"),
    [
        (0, 131072, 16 * 8192),  # 16 GB of cache, to the byte
        (GB, 131072, 15 * 8192),
        (GB + 1, 131072, 15 * 8192 - 256),
        (GB, 4096, 4096),
        (16 * GB - (256 << 17), None, 256),
        (16 * GB, 131072, None),
    ],
)
def test_weights_and_cache_share_what_is_usable(
    weights: int, positions: int | None, tokens: int | None
) -> None:
    assert most_context(Machine("a Mac", 24 * GB, 16 * GB), weights, CACHE, positions) == tokens


def test_a_row_says_what_fits() -> None:
    told = {name.strip(): context for name, _, context in fit_rows(20 * GB, CACHE, 131072)}
    assert told["Mac, 24 GB"] == "does not fit"
    assert told["Mac, 32 GB"] == "10,752 tokens"
    assert told["Mac, 128 GB"] == "131,072 tokens, all that the model allows"
    endless = {name.strip(): context for name, _, context in fit_rows(GB, CACHE, None)}
    assert endless["Mac, 8 GB"] == "35,328 tokens"
    steady = CacheBytes(((256, 5), (512, 5)))
    assert {context for _, _, context in fit_rows(0, steady, None)} == {"1,048,576 tokens and more"}
    unknown = {name.strip(): context for name, _, context in fit_rows(20 * GB, None, 4096)}
    assert unknown["Mac, 24 GB"] == "does not fit"
    assert unknown["Mac, 32 GB"] == "fits; what a context takes is not known"
