"""Texts that give nothing: told with the recipe's line, before anything long runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Workspace


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "does not exist"), ("folder", "is a folder, not a file"), ("", "is empty")],
)
@pytest.mark.parametrize("section", ["calibrate", "evaluate"])
def test_a_plan_refuses_a_text_that_is_none(
    section: str,
    content: str | None,
    problem: str,
    workspace: Workspace,
    tiny: Callable[..., Path],
) -> None:
    text = workspace.root / "text.txt"
    if content == "folder":
        text.mkdir()
    elif content is not None:
        text.write_text(content)
    method = "gptq" if section == "calibrate" else "rtn"
    start = f"source: {{path: {tiny()}}}\nquantize: {{method: {method}}}\n"
    workspace.recipe("tiny", f"{start}{section}: {{text: {{path: {text}}}}}")
    told = workspace.refused("plan", "tiny")
    at = f"recipes/tiny.yaml:3:{len(section) + 10}"
    assert re.fullmatch(rf"error: {at}: the text {re.escape(str(text))} {problem}\n", told)


def test_a_text_that_fills_no_window_is_told_with_the_recipes_line(
    workspace: Workspace, tiny: Callable[..., Path]
) -> None:
    text = workspace.root / "text.txt"
    text.write_text("a few words")
    workspace.recipe(
        "tiny", f"source: {{path: {tiny()}}}\nevaluate: {{text: {{path: {text}}}, samples: 2}}"
    )
    told = workspace.refused("build", "tiny")
    assert re.search(
        r"recipes/tiny.yaml:2:18: .*text.txt has \d+ tokens, less than one window", told
    )
