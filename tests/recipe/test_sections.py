"""Source, texts, gates and upload: what the schema cannot say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.recipe.conftest import Project


SOURCE = "source: {path: m}\n"
SEARCHED = "quantize: {scales: search}\n"
TEXT = "text: {path: t.txt}"


def test_a_repository_has_a_revision(project: Project) -> None:
    recipe = project.recipe("source: {repo: microsoft/Phi-3.5-mini-instruct}")
    assert recipe.source.repo == "microsoft/Phi-3.5-mini-instruct"
    assert recipe.source.revision == "main"
    assert recipe.document["source"] == {
        "repo": "microsoft/Phi-3.5-mini-instruct",
        "revision": "main",
    }


def test_a_path_is_made_absolute_and_a_tilde_is_a_name(project: Project) -> None:
    recipe = project.recipe("source: {path: ~/../m}")
    assert recipe.source.path == project.root / "recipes/m"


def test_sections_that_nobody_wrote_are_none(project: Project) -> None:
    recipe = project.recipe(SOURCE)
    assert (recipe.calibrate, recipe.evaluate, recipe.upload) == (None, None, None)


def test_sections_have_their_defaults(project: Project) -> None:
    recipe = project.recipe(
        SOURCE + SEARCHED + "calibrate: {}\nevaluate: {}\nupload: {repo: a/b}\n"
    )
    calibrate, evaluate, upload = recipe.calibrate, recipe.evaluate, recipe.upload
    assert calibrate.text is not None and calibrate.text.dataset == "Salesforce/wikitext"
    assert calibrate.samples == 128
    assert (calibrate.sequence_length, calibrate.seed, calibrate.overlap) == (512, 0, "refuse")
    assert (evaluate.text, evaluate.samples, evaluate.sequence_length) == (None, 16, 512)
    assert evaluate.metrics == ("perplexity", "kl_divergence", "top1_agreement")
    assert (evaluate.prompts, evaluate.max_tokens, evaluate.require) == ((), 64, ())
    assert (upload.private, upload.branch) == (True, "main")
    assert (upload.pull_request, upload.on_build) == (False, False)


def test_a_data_set_has_a_column(project: Project) -> None:
    recipe = project.recipe(SOURCE + SEARCHED + "calibrate: {text: {dataset: wikitext}}")
    text = recipe.calibrate.text
    assert (text.dataset, text.config, text.split, text.column) == ("wikitext", None, None, "text")
    assert str(text.at) == "recipes/mine.yaml:3:19"


@pytest.mark.parametrize("method", ["rtn", "none"])
def test_a_calibration_that_nothing_learns_from_is_checked_and_gone(
    project: Project, method: str
) -> None:
    recipe = project.recipe(
        SOURCE + f"quantize: {{method: {method}}}\ncalibrate: {{text: {{path: t.txt}}}}\n"
    )
    assert recipe.calibrate is None and recipe.document["calibrate"] is None
    said = project.error(
        SOURCE + f"quantize: {{method: {method}}}\ncalibrate: {{samples: 0}}\n", name="wrong"
    )
    assert said.startswith("recipes/wrong.yaml:3:")


@pytest.mark.parametrize(
    ("gate", "limit", "written"),
    [
        ("perplexity: 12", 12.0, "12"),
        ("perplexity_increase: 5%", 0.05, "5%"),
        ("perplexity_increase: 0.050", 0.05, "0.050"),
        ("kl_divergence: 0", 0.0, "0"),
        ("top1_agreement: 97.5%", 0.975, "97.5%"),
    ],
)
def test_a_gate_is_a_number_or_a_percentage(
    project: Project, gate: str, limit: float, written: str
) -> None:
    recipe = project.recipe(SOURCE + f"evaluate: {{{TEXT}, require: {{{gate}}}}}")
    (requirement,) = recipe.evaluate.require
    assert (requirement.metric, requirement.limit) == (gate.split(":")[0], pytest.approx(limit))
    assert requirement.written == written


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "quantize: {bits: 4}",
            "1:1: the recipe has no source\n"
            "  source: {repo: owner/name}, or source: {path: ../models/mine}",
        ),
        (
            "source: {}",
            "1:9: source has neither path nor repo\n  write source.path or source.repo",
        ),
        (
            "source: {path: m, repo: a/b}",
            "1:19: source has both path and repo\n  leave one out",
        ),
        (
            "source: {path: m, revision: v1}",
            "1:19: source.revision has no place beside a path\n  it belongs to a repo",
        ),
        (
            "source: {repo: model}",
            "1:16: source.repo is 'model', not a repository\n  owner/name, as on the Hub",
        ),
        (
            "source: {repo: 'https://huggingface.co/a/b/tree/main'}",
            "1:16: source.repo is 'https://huggingface.co/a/b/tree/main', not a repository\n"
            "  did you mean 'a/b'?",
        ),
        (
            "source: {repo: 'a/..'}",
            "1:16: source.repo is 'a/..', not a repository\n  owner/name, as on the Hub",
        ),
        (
            SOURCE + "calibrate: {text: {split: train}}",
            "2:19: calibrate.text has neither path nor dataset\n"
            "  write calibrate.text.path or calibrate.text.dataset",
        ),
        (
            SOURCE + "calibrate: {text: {path: t, column: c}}",
            "2:29: calibrate.text.column has no place beside a path\n  it belongs to a dataset",
        ),
        (
            SOURCE + "evaluate: {require: {perplexity: 9}}",
            "2:22: evaluate.require.perplexity needs a text to measure\n"
            "  evaluate.text: {path: …} or {dataset: …}",
        ),
        (
            SOURCE + f"evaluate: {{{TEXT}, metrics: [], require: {{perplexity_increase: 1}}}}",
            "2:56: evaluate.require.perplexity_increase needs perplexity,"
            " which evaluate.metrics leaves out\n  add perplexity to metrics",
        ),
        (
            SOURCE + f"evaluate: {{{TEXT}, require: {{top1_agreement: 101%}}}}",
            "2:59: evaluate.require.top1_agreement cannot be 101%\n  at most 100%",
        ),
        (
            SOURCE + "upload: {private: false}",
            "2:9: upload has no repo\n  upload: {repo: owner/name}",
        ),
        (
            SOURCE + "upload: {repo: acme}",
            "2:16: upload.repo is 'acme', not a repository\n  owner/name, as on the Hub",
        ),
    ],
)
def test_what_does_not_go_together_is_told(project: Project, text: str, message: str) -> None:
    assert project.error(text) == f"recipes/mine.yaml:{message}"
