"""mlxforge's steps as tasks: the step's own process, from its start to its end."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.meter import Command
from benchmarks.pairs import Task
from mlxforge.recipe.load import load_book
from mlxforge.recipe.model import Quantize as Wanted
from mlxforge.steps.base import Step
from mlxforge.steps.baseline import Baseline
from mlxforge.steps.calibrate import Calibrate
from mlxforge.steps.evaluate import Evaluate
from mlxforge.steps.inspect import Inspect
from mlxforge.steps.learned import Learned
from mlxforge.steps.pairs import FindPairs
from mlxforge.steps.process import step_environment
from mlxforge.steps.quantize import Quantize

__all__ = [
    "calibrating",
    "evaluating",
    "inspecting",
    "learning",
    "pairing",
    "quantizing",
    "scoring_source",
]


def inspecting(source: Path) -> Task:
    return _task(Inspect(), {"source": source})


def quantizing(source: Path, layers: Path, section: str, **learned: Path) -> Task:
    """``section`` is the recipe's ``quantize``, such as ``{bits: 4}``; ``learned``: further
    inputs."""
    step = Quantize.of(_wanted(source, section))
    return _task(step, {"source": source, "layers": layers, **learned})


def calibrating(source: Path, layers: Path, text: Path | None, samples: int, length: int) -> Task:
    """Without a text over tokens that are drawn, fewer of them."""
    if text is None:
        return _task(Calibrate.drawn(), {"source": source, "layers": layers})
    step = Calibrate(samples, length, seed=0)
    return _task(step, {"source": source, "layers": layers, "text": text})


def pairing(source: Path) -> Task:
    """What awq asks of a model's module tree."""
    return _task(FindPairs(), {"source": source})


def learning(
    kind: type[Learned], source: Path, layers: Path, section: str, **learned: Path
) -> Task:
    """The step of a method that learns; for the rest as ``quantizing``."""
    step = kind.of(_wanted(source, section))
    return _task(step, {"source": source, "layers": layers, **learned})


def scoring_source(source: Path, text: Path, samples: int, length: int) -> Task:
    """The baseline step; writes ``tokens.npy``."""
    return _task(
        Baseline(samples, length), {"source": source, "text": text}, _perplexity("baseline.json")
    )


def evaluating(model: Path, source: Path, baseline: Path) -> Task:
    """The evaluate step, for perplexity alone."""
    return _task(
        Evaluate(("perplexity",), (), 0),
        {"model": model, "source": source, "baseline": baseline},
        _perplexity("result.json", "figures"),
    )


def _task(
    step: Step, inputs: Mapping[str, Path], value: Callable[[Path], float] | None = None
) -> Task:
    def command(folder: Path) -> Command:
        """As mlxforge.steps.process starts it."""
        out = folder / "data"
        out.mkdir()
        given = {name: str(path) for name, path in inputs.items()}
        if step.checkpoints:
            (folder / "checkpoints").mkdir()
            given["checkpoints"] = str(folder / "checkpoints")
        parameters = step.parameters()
        job = {"kind": step.kind, "parameters": parameters, "inputs": given, "out": str(out)}
        words = ("-P", "-m", "mlxforge.steps.worker")
        return Command(words, line=json.dumps(job), environment=step_environment(step))

    return Task(command, value)


def _perplexity(name: str, *keys: str) -> Callable[[Path], float]:
    def read(folder: Path) -> float:
        document = json.loads((folder / "data" / name).read_bytes())
        for key in keys:
            document = document[key]
        return float(document["perplexity"]["value"])

    return read


def _wanted(source: Path, section: str) -> Wanted:
    """What a recipe with this section wants."""
    with tempfile.TemporaryDirectory() as root:
        recipes = Path(root) / "recipes"
        recipes.mkdir()
        text = f"source: {{path: {json.dumps(str(source))}}}\nquantize: {section}\n"
        (recipes / "measured.yaml").write_text(text)
        return load_book(recipes, Path(root)).get("measured").quantize
