"""Whatever learns gives the same bytes on one core and on several."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import DEMO, Workspace
from tests.faults.builds import digests

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two cores, and to choose among them",
)
LEARN = f"""\
calibrate: {{text: {{path: {DEMO / "heldout.txt"}}}, samples: 8, sequence_length: 64}}
"""


@pytest.mark.parametrize(
    "quantize",
    [
        "{scales: search, group_size: 32}",
        "{method: gptq, prepare: awq, refine: dwq, group_size: 32, awq: {grid: 4}}",
        "{method: dynamic, dynamic: {target_bits_per_weight: 4.5}, refine: dwq, group_size: 32}",
    ],
)
def test_one_core_and_two_give_the_same_bytes(
    quantize: str,
    workspace: Workspace,
    tmp_path_factory: pytest.TempPathFactory,
    tiny: Callable[..., Path],
) -> None:
    other = Workspace(tmp_path_factory.mktemp("other") / "project")
    for each in (workspace, other):
        each.recipe("tiny", f"source: {{path: {tiny()}}}\nquantize: {quantize}\n{LEARN}")
    workspace.build("tiny")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # and all that is started meanwhile
    try:
        other.build("tiny")
    finally:
        os.sched_setaffinity(0, cores)
    assert digests(workspace) == digests(other)
    assert len(digests(workspace)) >= 4
