"""Hands the recipes in recipes/ to doit: `doit list`, `doit plan NAME`, `doit build NAME`."""

from mlxforge.tasks.dodo import load

DOIT_CONFIG, task_recipes = load(__file__)
