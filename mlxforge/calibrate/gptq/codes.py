"""The codes that a run of gptq has chosen, kept so that the next one finds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlxforge.calibrate.gptq.solver import Solver
from mlxforge.models.writing.chosen import ChosenWriter
from mlxforge.quantize.affine import Affine
from mlxforge.quantize.moved import UNMOVED, Moved

__all__ = ["Codes"]


class Codes:
    """``copies``: heads whose weight is that of embeddings, by the embeddings' paths; loaders take
    one of the two for both. ``moved``: by layer the scales that it was given before."""

    def __init__(
        self, writer: ChosenWriter, solver: Solver, moved: Mapping[str, Moved] | None = None
    ) -> None:
        self._writer, self._solver, self._moved = writer, solver, moved or {}
        self.copies: dict[str, list[str]] = {}
        for head, tied in solver.tied.items():
            self.copies.setdefault(tied, []).append(head)

    def recall(self, path: str) -> Sequence[Affine] | None:
        """Those of a layer, one entry per expert, that a run before this one has kept."""
        found = self._writer.recall(path, self._solver.schemes[path])
        if found is None:
            return None
        for head in self.copies.get(path, ()):
            if not self._writer.recall(head, self._solver.schemes[head]):
                self._keep(head, found)
        return found

    def keep(self, path: str, entries: Sequence[Affine]) -> None:
        self._keep(path, entries)
        for head in self.copies.get(path, ()):
            self._keep(head, entries)

    def _keep(self, path: str, entries: Sequence[Affine]) -> None:
        bits, unknown = self._solver.schemes[path].bits, self._solver.unknown.get(path, ())
        self._writer.add(path, entries, bits, unknown, self._moved.get(path, UNMOVED))
