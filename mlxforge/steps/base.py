"""The one contract of all steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from mlxforge.progress import Progress

__all__ = ["Step"]


class Step:
    """A piece of work, as a frozen value: subclasses are frozen dataclasses of JSON-plain fields.

    The fields are the parameters, and all of them are part of the key. Raise ``version`` when
    the same parameters and inputs would give other bytes than before. ``tools`` names the
    distributions whose version can change the bytes, ``backend`` says whether the device can.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    tools: ClassVar[tuple[str, ...]] = ()
    backend: ClassVar[bool] = False
    network: ClassVar[bool] = False  # whether it talks to the Hub
    large_pages: ClassVar[bool] = False  # whether speed is worth some memory
    blas: ClassVar[bool] = False  # whether an optimized BLAS is worth loading on a CPU
    # whether its bytes come out of products: a BLAS rounds otherwise with each number of threads,
    # and each otherwise than others, so that its name is in the key
    one_blas_thread: ClassVar[bool] = False
    # whether it evaluates graphs on several streams at once (see mlxforge.models.threads.Lanes)
    side_by_side: ClassVar[bool] = False
    # whether ``inputs["checkpoints"]`` is a folder that outlives a killed run: the next run finds
    # there what the step left, itself to be judged whole or not; gone once the step is done
    checkpoints: ClassVar[bool] = False

    def parameters(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload,no-any-return]

    def needed_tools(self) -> tuple[str, ...]:
        """``tools``, and those that this very step needs besides."""
        return self.tools

    def result(self, data: Path) -> Path:
        """What the steps that need this one read; ``data`` is the folder that it wrote."""
        return data

    def complete(self) -> bool:
        """Whether what the artifact stands for outside the store is there too."""
        return True

    def run(
        self, inputs: Mapping[str, Path], out: Path, progress: Progress
    ) -> Mapping[str, str] | None:
        """Read ``inputs`` (name -> folder or file), write files into the empty folder ``out``.

        May return the sha256 of files that were hashed while they were written, by name.
        Raises ForgeError for what the user can mend. Knows nothing of doit, keys or the store.
        """
        raise NotImplementedError
