"""A build with nothing to do, against `doit list` in a project with one empty task.

    python -m benchmarks.noop

The target is a ratio of at most 3: what mlxforge adds to doit's own start should not be felt.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import compare

DOIT = str(Path(sys.executable).parent / "doit")
ROOT = Path(__file__).parent.parent


def main() -> None:
    subprocess.run([DOIT, "build", "demo-4bit"], cwd=ROOT, check=True, capture_output=True)
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder)
        (empty / "dodo.py").write_text("def task_nothing():\n    return {'actions': None}\n")
        bare = ([DOIT, "list"], empty)
        print("no-op build:", compare(([DOIT, "build", "demo-4bit"], ROOT), bare))
        print("list:       ", compare(([DOIT, "list"], ROOT), bare))


if __name__ == "__main__":
    main()
