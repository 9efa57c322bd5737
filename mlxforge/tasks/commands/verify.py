"""`doit verify NAME`: hash the finished model and compare with what was written."""

from __future__ import annotations

from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.project import Project
from mlxforge.tasks.commands.base import ForgeCommand
from mlxforge.units import readable_bytes

__all__ = ["Verify"]


class Verify(ForgeCommand):
    name = "verify"
    doc_purpose = "hash a built model's files and compare them with its manifest"
    doc_usage = "TASK... | GLOB"

    def run(self, project: Project, params: Any, names: list[str]) -> int:
        damaged = False
        for recipe in self.selected(project, names):
            built = project.built(recipe.name)
            if built is None:
                raise ForgeError(f"{recipe.name} has not been built", f"doit build {recipe.name}")
            for kind in ("quantize", "evaluate"):
                if kind in built.keys:
                    damaged |= not self._whole(project, recipe.name, kind, built.keys[kind])
        return 1 if damaged else 0

    def _whole(self, project: Project, name: str, kind: str, key: str) -> bool:
        artifact = project.store.find(kind, key)
        if artifact is None:
            print(f"{name}  {kind}  MISSING: build it again")
            return False
        manifest = artifact.manifest
        found = artifact.damage()
        size = readable_bytes(sum(fact.size for fact in manifest.files.values()))
        if not found:
            count = len(manifest.files)
            print(f"{name}  {kind}  ok  {count} files, {size}, digest {manifest.digest}")
            return True
        print(f"{name}  {kind}  DAMAGED  {artifact.data}")
        for problem in found:
            print(f"  {problem}")
        print(f"  remove {artifact.folder} and build again")
        return False
