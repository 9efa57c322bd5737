"""Projects for doit: many recipes on one small model, and many plain tasks."""

from __future__ import annotations

import shutil
from pathlib import Path

__all__ = ["demo_project", "recipes_project", "tasks_project"]

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "recipes" / "demo"

# gates, upload and comments tell the recipes apart; bits and group size alone make other models
RECIPE = """\
# yaml-language-server: $schema=../schemas/recipe.schema.json
# Number {number}: the demo model at {bits} bits, for the team that asked for it.
#
# It is one of many on the same source, so that its source is hashed, inspected and scored once.
source:
  path: ../model            # what recipes/demo/train.py made
quantize:
  method: rtn               # round to nearest
  bits: {bits}
  group_size: {group_size}            # smaller is better and larger
  scales: minmax            # upstream's bytes
  dtype: bfloat16           # of what stays as it is
  overrides:
    # they are the head as well, which decides the next word directly
    - layers: embeddings
      bits: 8
evaluate:
  text: {{path: ../heldout.txt}}
  samples: 2
  sequence_length: 128
  metrics: [perplexity, kl_divergence]
  require:
    # a model that is worse than this is of no use to anybody
    perplexity_increase: {limit}%
    kl_divergence: 9.5
upload:
  repo: acme/demo-{number}
  private: true             # until somebody has looked at it
"""
CHILD = """\
extends: _family.yaml
quantize: {{bits: {bits}}}
upload: {{repo: acme/child-{number}}}
"""
MATRIX = """\
extends: _family.yaml
name: "matrix-{number:04d}-${{bits}}bit"
matrix:
  bits: [4, 8]
upload:
  repo: "acme/matrix-{number}-${{bits}}"
"""
TASKS = """\
from pathlib import Path


def write(target):
    Path(target).write_text("made\\n")


def task_file():
    for number in range({count}):
        target = f"out/{{number}}"
        yield {{
            "name": str(number),
            "file_dep": [f"in/{{number}}"],
            "targets": [target],
            "actions": [(write, [target])],
        }}
"""


def recipes_project(folder: Path, count: int) -> None:
    """``count`` distinct recipes, a multiple of 10, that come down to four models and scores.

    Of ten, six stand alone, two extend a family and two come from a matrix.
    """
    recipes = folder / "recipes"
    recipes.mkdir()
    shutil.copyfile(ROOT / "dodo.py", folder / "dodo.py")
    shutil.copytree(DEMO / "model", folder / "model")
    shutil.copyfile(DEMO / "heldout.txt", folder / "heldout.txt")
    family = RECIPE.format(number="of a family", bits=4, group_size=64, limit=900)
    (recipes / "_family.yaml").write_text(family)
    for ten in range(count // 10):
        for one in range(6):
            number = 6 * ten + one
            text = RECIPE.format(
                number=number, bits=(4, 8)[one % 2], group_size=(32, 64)[one // 2 % 2],
                limit=900 + number,
            )  # fmt: skip
            (recipes / f"plain-{number:04d}.yaml").write_text(text)
        for one in range(2):
            number = 2 * ten + one
            text = CHILD.format(number=number, bits=(4, 8)[one])
            (recipes / f"child-{number:04d}.yaml").write_text(text)
        (recipes / f"matrix-{ten:04d}.yaml").write_text(MATRIX.format(number=ten))


def tasks_project(folder: Path, count: int) -> None:
    """``count`` doit tasks, each with one file that it depends on and one target."""
    (folder / "in").mkdir()
    (folder / "out").mkdir()
    (folder / "dodo.py").write_text(TASKS.format(count=count))
    for number in range(count):
        (folder / "in" / str(number)).write_text(f"{number}\n")


def demo_project(folder: Path) -> None:
    """The recipes that ship with mlxforge, with an empty store."""
    shutil.copyfile(ROOT / "dodo.py", folder / "dodo.py")
    shutil.copytree(ROOT / "recipes", folder / "recipes")
