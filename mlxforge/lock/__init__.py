"""The lock of a recipe: what its moving names stood for. ``recipes/NAME.lock``, committed::

    # What demo stood for. Made by mlxforge; commit it with the recipe.
    recipe: "91ab…"
    tools:
      "mlx": "0.32.4"
    source:
      repo: "acme/demo"
      revision: "main"
      commit: "5d0c6a…"
      files:
        "config.json": {size: 912, git_sha1: "03f2…"}
        "model.safetensors": {size: 4096, sha256: "77e1…"}
    models:
      cpu:
        digest: "c0de…"
        tensors: |
          4f9a31c2b7e80d15 lm_head.weight
          …

Sorted, one line per fact, so that a difference reads well and merges. ``recipe`` is the digest of
the resolved recipe, ``tools`` are the versions that can change bytes, ``models`` is what the first
build made, by MLX's backend. A recipe whose source is a local folder has no ``source`` here: its
files are hashed at every build instead, and its lock is only made when it is asked for.
"""

from mlxforge.lock.model import Lock, LockedModel, LockedSource, lock_file
from mlxforge.lock.reading import read_lock
from mlxforge.lock.writing import write_lock

__all__ = ["Lock", "LockedModel", "LockedSource", "lock_file", "read_lock", "write_lock"]
