"""Harm that comes while weights are written: nothing partial stays, one line says what it was."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import Workspace
from tests.faults.builds import digests, marked, started_by, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

SIZES = {"hidden": 1024, "intermediate": 4096, "layers": 4}  # 130 MB: a fifth of a second at least
RECIPE = "source: {{path: {source}}}\nquantize: {{bits: 8}}\n"


@pytest.fixture(scope="module")
def source(tiny: Callable[..., Path]) -> Path:
    return tiny(**SIZES)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, source: Path) -> dict[str, str]:
    workspace = Workspace(tmp_path_factory.mktemp("undisturbed") / "project")
    workspace.recipe("tiny", RECIPE.format(source=source))
    workspace.build("tiny")
    return digests(workspace)


class Build:
    """A build that is under way, its weights half written."""

    def __init__(self, workspace: Workspace, share: float) -> None:
        self.workspace = workspace
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, "-m", "doit", "build", "tiny"],
            cwd=workspace.root,
            env=os.environ | {"MLXFORGE_TEST_MARK": self.mark},
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda: self.written() > share * 70e6, "weights to be written")

    def written(self) -> int:
        with suppress(FileNotFoundError):  # of a folder that has become an artifact meanwhile
            files = self.workspace.cache.glob("staging/*/data/*.safetensors")
            return sum(path.stat().st_size for path in files)
        return 0

    def step(self) -> int:
        return started_by(self.process, self.mark)[0]

    def ends(self) -> str:
        _, told = self.process.communicate(timeout=60)
        wait_for(lambda: not marked(self.mark), "every process to end")
        assert self.process.returncode == 1
        assert "Traceback" not in told
        assert self.workspace.artifacts("quantize") == []
        assert list(self.workspace.cache.glob("staging/*")) == []
        _, _, problem = told.partition("quantize tiny FAILED\n")
        return problem.strip()


@pytest.fixture
def started(workspace: Workspace, source: Path) -> Iterator[Callable[..., Build]]:
    builds: list[Build] = []

    def start(source: Path = source, share: float = 0.1) -> Build:
        workspace.recipe("tiny", RECIPE.format(source=source))
        builds.append(Build(workspace, share))
        return builds[-1]

    yield start
    for build in builds:
        build.process.kill()


@pytest.mark.parametrize("who", ["build", "step"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6])
def test_killed_while_writing_the_next_build_ends_with_the_same_bytes(
    workspace: Workspace,
    started: Callable[..., Build],
    undisturbed: dict[str, str],
    who: str,
    share: float,
) -> None:
    build = started(share=share + random.uniform(0, 0.1))
    if who == "build":
        build.process.kill()
        build.process.wait(timeout=30)
        wait_for(lambda: not marked(build.mark), "the step's process to end")
        assert workspace.artifacts("quantize") == []
    else:
        os.kill(build.step(), signal.SIGKILL)
        assert "the step's process was killed by SIGKILL" in build.ends()
    workspace.build("tiny")
    assert digests(workspace) == undisturbed
    assert list(workspace.cache.glob("staging/*")) == []


def test_a_source_that_shrinks_while_it_is_read_is_named(
    workspace: Workspace, started: Callable[..., Build], source: Path, tmp_path: Path
) -> None:
    mine = shutil.copytree(source, tmp_path / "mine")
    build = started(mine)
    step = build.step()
    os.kill(step, signal.SIGSTOP)
    weights = mine / "model.safetensors"
    os.truncate(weights, 10_000_000)
    os.kill(step, signal.SIGCONT)
    told = build.ends()
    assert f"{weights} ends at byte 10000000: it was cut off while it was read" in told
    assert len(told.splitlines()) <= 2

    shutil.copy(source / "model.safetensors", weights)
    workspace.build("tiny")


def test_a_disk_that_fills_up_while_writing_is_said_to_be_full(
    workspace: Workspace, started: Callable[..., Build], tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=120m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        workspace.cache.symlink_to(disk)
        build = started()
        step = build.step()
        os.kill(step, signal.SIGSTOP)
        filling = disk / "somebody else's"
        with pytest.raises(OSError, match="No space"), filling.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
        os.kill(step, signal.SIGCONT)
        told = build.ends()
        assert "the disk is full" in told
        assert len(told.splitlines()) <= 2

        filling.unlink()
        workspace.build("tiny")
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_descriptor_that_cannot_be_read_is_told_with_its_file(source: Path) -> None:
    import mlx.core as mx

    from mlxforge.errors import ForgeError
    from mlxforge.models.source.files import read_tensors
    from mlxforge.models.streaming.files import StoredTensors

    stored = StoredTensors(read_tensors(source))
    for descriptor in stored._open.values():
        os.close(descriptor)
    told = r"model\.safetensors cannot be read: Bad file descriptor"
    with pytest.raises(ForgeError, match=told):
        stored.read("model.norm.weight", ((0, 1024),), mx.bfloat16)
