"""`doit list` and a build with nothing to do stay light."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Workspace

PROBE = """\
import sys
from doit.doit_cmd import DoitMain
code = DoitMain().run(sys.argv[1:])
heavy = ("mlx", "mlx_lm", "transformers", "huggingface_hub", "numpy", "tokenizers", "pyarrow")
print("HEAVY", sorted(name for name in heavy if name in sys.modules))
sys.exit(code)
"""


@pytest.mark.parametrize("words", [["list"], ["list", "--quiet"], ["build", "tiny"]], ids=" ".join)
def test_nothing_heavy_is_imported_where_nothing_is_to_be_done(
    workspace: Workspace, tiny: Callable[..., Path], words: list[str]
) -> None:
    workspace.recipe("tiny", f"source: {{path: {tiny()}}}")
    workspace.build("tiny")
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *words], cwd=workspace.root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("HEAVY []\n")
