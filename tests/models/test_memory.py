"""How much memory may be taken, by a small copy of what Linux says about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlxforge.models.memory import available_bytes


@pytest.fixture
def linux(tmp_path: Path) -> Path:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 4000 kB\n")
    return tmp_path


def limit(root: Path, group: str, limit: str, used: int, files: int) -> None:
    (root / "proc/self/cgroup").write_text("0::/build/one\n")
    folder = root / "sys/fs/cgroup" / group
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {files}\n")


def test_it_is_what_the_kernel_says_is_available(linux: Path) -> None:
    assert available_bytes(linux) == 4000 << 10


def test_a_group_without_a_limit_changes_nothing(linux: Path) -> None:
    limit(linux, "build/one", "max", 7 << 20, 0)
    assert available_bytes(linux) == 4000 << 10


@pytest.mark.parametrize("group", ["build/one", "build", "."])
def test_the_group_and_those_around_it_limit_it(linux: Path, group: str) -> None:
    limit(linux, group, "3000000", 2_500_000, 200_000)
    assert available_bytes(linux) == 700_000


def test_a_group_beyond_its_limit_leaves_nothing(linux: Path) -> None:
    limit(linux, "build/one", "1000", 2000, 0)
    assert available_bytes(linux) == 0


def test_without_linux_it_is_less_than_half_of_the_machine(tmp_path: Path) -> None:
    assert 0 < available_bytes(tmp_path) == available_bytes(tmp_path / "nowhere")
