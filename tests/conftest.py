"""Projects and models for the tests: real folders, the real command line, no mocks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "recipes" / "demo"
DOIT = Path(sys.executable).parent / "doit"

# two test processes share two cores, and a loaded BLAS would start two threads in each
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_configure(config: pytest.Config) -> None:
    """Every program that is started from here on begins with startup/sitecustomize.py."""
    if "MLXFORGE_TESTS_IMPORTS" not in os.environ:  # else set by the process that began this one
        kept = tempfile.TemporaryDirectory(prefix="mlxforge-tests-imports-")
        config.add_cleanup(kept.cleanup)
        paths = (str(ROOT / "tests" / "startup"), os.environ.get("PYTHONPATH"))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        os.environ["MLXFORGE_TESTS_IMPORTS"] = kept.name


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Random checkpoints are the same ones, whatever ran before in this process."""
    if "mlx.core" in sys.modules:
        sys.modules["mlx.core"].random.seed(1)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are cores: a test waits for disks, and for servers that stall."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no worker is left alone with one at the end."""
    long = (
        "real/test_smollm2", "test_generated_recipes", "faults/test_kill", "hub/test_killed",
        "recipes/test_builds",
        "models/test_every_vision", "tasks/test_build", "real/test_demo", "tasks/test_search",
        "tasks/test_dynamic", "steps/test_every_method", "calibrate/test_run", "calibrate/awq",
        "hub/test_plan_headers", "tasks/test_vision", "faults/test_bad_source",
        "models/test_every_architecture", "tasks/test_forecast", "hub/test_upload",
    )  # fmt: skip
    items.sort(key=lambda item: next((n for n, p in enumerate(long) if p in str(item.path)), 99))


class Workspace:
    """A user's project in a temporary folder: a dodo.py and recipes/."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "recipes").mkdir(parents=True)
        shutil.copy(ROOT / "dodo.py", root / "dodo.py")

    def recipe(self, name: str, text: str) -> Path:
        path = self.root / "recipes" / f"{name}.yaml"
        path.write_text(text)
        return path

    def doit(
        self, *words: str, cwd: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(DOIT), *words],
            cwd=cwd or self.root,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def build(self, *words: str) -> str:
        """A build that must succeed; what it printed on standard output."""
        done = self.doit("build", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *words: str, **environment: str) -> str:
        """A command that must fail with a message and without a trace; the message."""
        done = self.doit(*words, **environment)
        assert done.returncode != 0, done.stdout
        assert "Traceback" not in done.stderr, done.stderr
        return done.stderr

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    def artifacts(self, kind: str = "*") -> list[Path]:
        return sorted((self.cache / "artifacts").glob(f"{kind}/*"))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "project")


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def tiny(session_folder: Path) -> Callable[..., Path]:
    """Makes small random llama models; equal arguments give the same folder."""
    from tests.tiny import make_llama

    def make(tied: bool = True, dtype: str = "bfloat16", **sizes: int) -> Path:
        words = [f"{key}{value}" for key, value in sorted(sizes.items())]
        folder = session_folder / "-".join(["llama", "tied" if tied else "untied", dtype, *words])
        if not folder.exists():
            make_llama(folder, tied=tied, dtype=dtype, **sizes)
        return folder

    return make


@pytest.fixture(autouse=True)
def _home_untouched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing here may read or write the user's Hugging Face cache."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
    yield
