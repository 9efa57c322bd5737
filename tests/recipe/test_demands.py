"""What no step can do is told before anything is fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlxforge.demands import check_supported
from mlxforge.errors import ForgeError

if TYPE_CHECKING:
    from tests.recipe.conftest import Project

SOURCE = "source: {path: m}\n"


@pytest.mark.parametrize(
    ("text", "at", "message", "hint"),
    [
        (
            "quantize: {mode: mxfp4, method: gptq}", 2,
            "method gptq cannot do mode mxfp4", "use mode: affine, or method: rtn",
        ),
        (
            "quantize: {mode: mxfp4, refine: dwq}", 2,
            "refine dwq cannot do mode mxfp4", "use mode: affine, or leave refine out",
        ),
        (
            "quantize: {scales: search}\ncalibrate: {samples: 1, sequence_length: 32}", 3,
            "1 x 32 are 32 tokens", "take 64 or more",
        ),
        (
            "quantize: {method: dwq}\ncalibrate: {samples: 1}", 3,
            "dwq trains on some samples and is judged by others", "use samples: 2 or more",
        ),
        (
            "quantize: {method: gptq, refine: dwq}\ncalibrate: {samples: 1}", 3,
            "dwq trains on some samples", "use samples: 2 or more",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_at_its_line(
    project: Project, text: str, at: int, message: str, hint: str
) -> None:
    with pytest.raises(ForgeError) as caught:
        check_supported(project.recipe(SOURCE + text))
    said = str(caught.value)
    assert said.startswith(f"recipes/mine.yaml:{at}:")
    assert message in said and hint in said


@pytest.mark.parametrize(
    "text",
    [
        "quantize: {method: gptq}\ncalibrate: {samples: 1, sequence_length: 64}",
        "quantize: {method: dwq}\ncalibrate: {samples: 2, sequence_length: 32}",
        "quantize: {bits: 4}\ncalibrate: {samples: 1, sequence_length: 2}",
    ],
)
def test_a_little_is_enough_where_it_is_used(project: Project, text: str) -> None:
    check_supported(project.recipe(SOURCE + text))
