"""The wheel works by itself: in a project that holds only a dodo.py and recipes/."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import mlxforge
from tests.conftest import DOIT, ROOT


def test_the_wheel_builds_the_demo_in_a_bare_project(tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    # what other tests write meanwhile, and what is no part of the project
    mine = (".git", "cache", ".*_cache", "__pycache__", ".venv", ".hypothesis", "*.egg-info")
    ignored = shutil.ignore_patterns(*mine)
    shutil.copytree(ROOT, copied, ignore=ignored)
    words = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run([*words, str(copied)], check=True, capture_output=True)
    wheel = next(tmp_path.glob("mlxforge-*.whl"))
    names = zipfile.ZipFile(wheel).namelist()
    assert "mlxforge/recipe/recipe.schema.json" in names
    assert not [name for name in names if name.startswith(("tests/", "recipes/", "cache/"))]

    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site)]
    subprocess.run([*pip, "--disable-pip-version-check", str(wheel)], check=True)
    project = tmp_path / "project"
    project.mkdir()
    shutil.copy(ROOT / "dodo.py", project)
    shutil.copytree(ROOT / "recipes", project / "recipes")
    environment = os.environ | {"PYTHONPATH": str(site)}
    probe = "import mlxforge; print(mlxforge.__file__, mlxforge.__version__)"
    where = subprocess.run(
        [sys.executable, "-c", probe], cwd=project, env=environment, capture_output=True, text=True
    )
    assert where.stdout.split() == [str(site / "mlxforge" / "__init__.py"), mlxforge.__version__]
    done = subprocess.run(
        [str(DOIT), "build", "demo-4bit"], cwd=project, env=environment, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (project / "cache" / "models" / "demo-4bit" / "model.safetensors").is_file()


def test_version_and_metadata_agree() -> None:
    from importlib.metadata import version

    assert version("mlxforge") == mlxforge.__version__
