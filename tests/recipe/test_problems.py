"""What the schema finds: exact words, exact places."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.recipe.conftest import Project


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sorce: {path: m}", "1:1: unknown key 'sorce'\n  did you mean 'source'?"),
        (
            "quantize:\n  bit: 4",
            "2:3: unknown key 'bit' in quantize\n  did you mean 'bits'?",
        ),
        (
            "source: {zzz: 4}",
            "1:10: unknown key 'zzz' in source\n  one of path, repo, revision, files, remote_code",
        ),
        (
            "quantize: {gptq: {samples: 64}}",
            "1:19: unknown key 'samples' in quantize.gptq\n"
            "  it is a key of calibrate and of evaluate",
        ),
        (
            "calibrate: {batch_size: 4}",
            "1:13: unknown key 'batch_size' in calibrate\n  it is a key of quantize.dwq",
        ),
        (
            "quantize: {bits: four}",
            "1:18: quantize.bits is 'four', not an integer\n  one of 2, 3, 4, 5, 6, 8",
        ),
        (
            "quantize: {bits: 4.0}",
            "1:18: quantize.bits is 4.0, not an integer\n  one of 2, 3, 4, 5, 6, 8",
        ),
        (
            "quantize: {bits: true}",
            "1:18: quantize.bits is true, not an integer\n  one of 2, 3, 4, 5, 6, 8",
        ),
        ("quantize: {bits: 7}", "1:18: quantize.bits cannot be 7\n  one of 2, 3, 4, 5, 6, 8"),
        (
            "quantize: {method: gptqq}",
            "1:20: quantize.method cannot be 'gptqq'\n  did you mean 'gptq'?",
        ),
        (
            "quantize: {mode: fp8}",
            "1:18: quantize.mode cannot be 'fp8'\n  did you mean 'mxfp8'?",
        ),
        (
            "quantize: {scales: best}",
            "1:20: quantize.scales cannot be 'best'\n  one of minmax, search",
        ),
        (
            "source: mine",
            "1:9: source is 'mine', not a mapping\n"
            "  its keys are path, repo, revision, files, remote_code",
        ),
        (
            "source: {repo: a/b, revision: 1.10}",
            "1:31: source.revision is 1.10, not text\n  in quotes it is text: '1.10'",
        ),
        (
            "source: {repo: a/b, revision: a b}",
            "1:31: source.revision must be a branch, a tag or a commit, without spaces, not 'a b'",
        ),
        (
            "source: {path: ''}",
            "1:16: source.path cannot be ''\n  write a value, or leave the key out",
        ),
        (
            "upload: {private: yes}",
            "1:19: upload.private is 'yes', not true or false",
        ),
        (
            "evaluate: {metrics: perplexity}",
            "1:21: evaluate.metrics is 'perplexity', not a list\n  a list is written [perplexity]",
        ),
        (
            "evaluate: {metrics: [perplexity, perplexity]}",
            "1:34: evaluate.metrics has 'perplexity' twice\n  leave one out",
        ),
        (
            "evaluate: {metrics: [perplexty]}",
            "1:22: evaluate.metrics[0] cannot be 'perplexty'\n  did you mean 'perplexity'?",
        ),
        ("evaluate: {samples: 0}", "1:21: evaluate.samples cannot be 0\n  at least 1"),
        (
            "evaluate: {samples: many}",
            "1:21: evaluate.samples is 'many', not an integer\n  such as 16",
        ),
        (
            "evaluate: {sequence_length: 1}",
            "1:29: evaluate.sequence_length cannot be 1\n  at least 2",
        ),
        ("calibrate:\n  seed:", "2:8: calibrate.seed is empty, not an integer"),
        (
            "evaluate: {require: {perplexity: 0}}",
            "1:34: evaluate.require.perplexity cannot be 0\n  more than 0",
        ),
        (
            "quantize: {method: gptq, gptq: {damping: 1e16}}",
            "1:42: quantize.gptq.damping cannot be 1e16\n  at most 10",
        ),
        (
            "quantize: {method: awq, awq: {grid: 100000000000}}",
            "1:37: quantize.awq.grid cannot be 100000000000\n  at most 1000",
        ),
        (
            "quantize: {refine: dwq, dwq: {temperature: 1e-300}}",
            "1:44: quantize.dwq.temperature cannot be 1e-300\n  at least 0.01",
        ),
        (
            "evaluate: {require: {perplexity: 5%}}",
            "1:34: evaluate.require.perplexity is '5%', not a number",
        ),
        (
            "evaluate: {require: {top1_agreement: 95}}",
            "1:38: evaluate.require.top1_agreement cannot be 95\n  at most 1",
        ),
        (
            "evaluate: {require: {kl_divergence: '0.1'}}",
            "1:37: evaluate.require.kl_divergence must be a number or a percentage such as 5%,"
            " not '0.1'",
        ),
        (
            "quantize:\n  overrides:\n    - bits: 4",
            "3:7: quantize.overrides[0] has no layers\n  write layers: …",
        ),
        (
            "matrix: {bits: []}",
            "1:16: matrix.bits cannot be an empty list\n  write a value, or leave the key out",
        ),
        (
            "matrix: {bits: [4, 4]}\nname: a",
            "1:20: matrix.bits has 4 twice\n  leave one out",
        ),
        (
            "matrix: {layers: [a]}",
            "1:10: unknown key 'layers' in matrix\n"
            "  one of method, bits, group_size, mode, scales, dtype, prepare, refine",
        ),
    ],
)
def test_a_problem_is_told_with_its_place_and_what_would_work(
    project: Project, text: str, message: str
) -> None:
    assert project.error(text) == f"recipes/mine.yaml:{message}"


def test_the_first_problem_in_the_text_is_told(project: Project) -> None:
    assert project.error(
        """
        quantize:
          bits: 7
        evaluate:
          samples: 0
        calibrate:
          sampels: 1
        """
    ).startswith("recipes/mine.yaml:2:9: quantize.bits cannot be 7")


def test_a_problem_that_was_inherited_is_told_where_it_was_written(project: Project) -> None:
    project.write("_base.yaml", "source: {path: m}\nquantize: {bits: 7}\n")
    assert project.error("extends: _base.yaml") == (
        "recipes/_base.yaml:2:18: quantize.bits cannot be 7\n  one of 2, 3, 4, 5, 6, 8"
    )


def test_long_values_are_shortened_and_stay_on_one_line(project: Project) -> None:
    long = "x\\n" * 100
    told = project.error(f'quantize: {{method: "{long}"}}').splitlines()[0]
    assert len(told) < 160
