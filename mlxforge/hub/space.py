"""Whether a disk has room."""

from __future__ import annotations

import shutil
from pathlib import Path

from mlxforge.errors import ForgeError
from mlxforge.units import readable_bytes

__all__ = ["check_space"]


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raises ForgeError where the disk of ``folder``, which need not exist yet, has less than
    ``needed`` bytes left for ``what``."""
    present = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(present).free
    if needed > free:
        raise ForgeError(
            f"{what} needs {readable_bytes(needed)} more, and the disk of {present} has "
            f"{readable_bytes(free)} left",
            "free some, or set HF_HOME to a folder on a larger disk",
        )
