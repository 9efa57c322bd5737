"""Run by Python at the start of every program of the tests (see conftest): imports take less time.

At each import transformers reads all of its files, a thousand and more, to tell which names are in
which: most of the two seconds that it takes, and of what a short step takes. Here one program of a
test run reads them, and writes what it found into a folder of that run, where the others find it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

READER = "transformers.utils.import_utils"
FOLDER = "MLXFORGE_TESTS_IMPORTS"


class _Kept(Loader):
    def __init__(self, loader: Loader, folder: Path) -> None:
        self._loader, self._folder = loader, folder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        module.define_import_structure = self._kept(module.define_import_structure)

    def _kept(self, read: Callable[..., Any]) -> Callable[..., Any]:
        import hashlib  # most programs come without transformers
        import pickle

        def define_import_structure(module_path: str | Path, prefix: str | None = None) -> Any:
            words = repr((str(module_path), prefix)).encode()
            known = self._folder / hashlib.sha256(words).hexdigest()
            if not known.exists():
                own = known.with_suffix(f".{os.getpid()}")
                own.write_bytes(pickle.dumps(read(module_path, prefix)))
                own.rename(known)
            return pickle.loads(known.read_bytes())

        return define_import_structure


class _Finder(MetaPathFinder):
    def find_spec(
        self, name: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != READER:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Kept(spec.loader, Path(os.environ[FOLDER]))
        return spec


if FOLDER in os.environ:
    sys.meta_path.insert(0, _Finder())
