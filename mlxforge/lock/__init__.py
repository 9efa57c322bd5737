"""The lock of a recipe: what its moving names stood for. ``recipes/NAME.lock``, committed::

    # What demo stood for. Made by mlxforge; commit it with the recipe.
    recipe: "91ab…"
    tools:
      "mlx": "0.32.4"
    source:
      repo: "acme/demo"
      revision: "main"
      commit: "5d0c6a…"
      loader: "mlx_lm"
      files:
        "config.json": {size: 912, git_sha1: "03f2…"}
        "model.safetensors": {size: 4096, sha256: "77e1…"}
    texts:
      "./heldout.txt": {size: 100189, sha256: "5b1f…"}
      "acme/lines * test":
        config: "default"
        split: "test"
        revision: "main"
        commit: "b08601…"
        files:
          "data/test-00000-of-00001.parquet": {size: 732610, sha256: "5f1b…"}
    models:
      cpu:
        digest: "c0de…"
        recipe: "77aa…"
        tensors: |
          4f9a31c2b7e80d15 lm_head.weight
          …

Where bits are chosen by measuring, before ``models``::

    widths:
      recipe: "77aa…"
      bits_per_weight: 4.4987
      layers: |
        4 lm_head
        …

Where the recipe wants further files of its source, a line ``further: {files: ["*.txt"]}`` below
``repo`` says which it was locked for.

Sorted, one line per fact, so that a difference reads well and merges. ``recipe`` is the digest of
the resolved recipe, ``tools`` are the versions that can change bytes, ``loader`` is the library
that makes a model of the source's config, mlx_lm or mlx_vlm, ``texts`` are those that the recipe
names, by what it says of them, ``models`` is what the first build made, by MLX's backend, each with
the digest of what the recipe says of the model alone. ``widths`` are for what it says of the model,
too: once that is another, they are chosen anew.

A recipe whose source is a local folder has no ``source`` here: its files are hashed at every build
instead. So are texts that are local files; what the lock knows of them is compared by `doit lock
--check` alone. Where neither source nor text is on the Hub, a lock is only made when it is asked
for, or has widths to hold.
"""

from mlxforge.lock.model import (
    Lock,
    LockedFile,
    LockedModel,
    LockedSource,
    LockedText,
    LockedWidths,
    lock_file,
)
from mlxforge.lock.reading import read_lock
from mlxforge.lock.texts import text_label, texts_by_section, texts_of
from mlxforge.lock.widths import widths_of
from mlxforge.lock.writing import lock_text, write_lock

__all__ = [
    "Lock",
    "LockedFile",
    "LockedModel",
    "LockedSource",
    "LockedText",
    "LockedWidths",
    "lock_file",
    "lock_text",
    "read_lock",
    "text_label",
    "texts_by_section",
    "texts_of",
    "widths_of",
    "write_lock",
]
