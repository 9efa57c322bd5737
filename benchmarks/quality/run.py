"""Building and scoring one variant after the other; each result is kept as soon as it is there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.inputs.scratch import Scratch
from benchmarks.inputs.smollm2 import SMOLLM2
from benchmarks.meter import Command, measure
from benchmarks.quality.inputs import TEXTS, Rescaled
from benchmarks.quality.variants import Variant
from mlxforge.errors import ForgeError
from mlxforge.models.source.files import read_tensors
from mlxforge.project import Project
from mlxforge.stages import MAKERS
from mlxforge.store.keys import digest
from mlxforge.store.manifest import Manifest

__all__ = ["Figures", "Rooms"]

ROOT = Path(__file__).parents[2]
CALIBRATE = "{text: {path: ../calibration.txt}, samples: 32, sequence_length: 512}"
LEARNED = ("calibrate", "sensitivity", *MAKERS)


@dataclass(frozen=True)
class Figures:
    """``kl``, ``kl_p99`` in nats over ``kinds`` of text; ``seconds`` and ``peak_bytes`` of what
    makes the model of the source, what other variants share with it included. ``answers``:
    the share of the tokens of the source's own answers that are the likeliest to the model too."""

    perplexity: float
    kl: float
    kl_p99: float
    top1: float
    kinds: dict[str, float]
    bits_per_weight: float
    bytes: int
    seconds: float
    peak_bytes: int
    answers: float | None = None


class Rooms:
    """A project, states to compare with, and results for each source, in ``scratch``."""

    def __init__(self, scratch: Scratch, tell: Callable[[str], None]) -> None:
        self._scratch = scratch
        self._tell = tell
        self._root = scratch.root / "quality"
        self._log = self._root / "last.log"

    def figures(self, variant: Variant) -> Figures | None:
        """What was measured before."""
        path = self._result(variant)
        return Figures(**json.loads(path.read_bytes())) if path.is_file() else None

    def forget(self, variant: Variant) -> None:
        self._result(variant).unlink(missing_ok=True)

    def source_perplexity(self, source: str) -> float:
        document = json.loads((self._compared(source) / "source.json").read_bytes())
        return float(document["perplexity"])

    def measure(self, variant: Variant) -> Figures:
        """Make the model, score it, and keep the figures."""
        make = self._ours if variant.side == "ours" else self._theirs
        model, seconds, peak = make(variant)
        scored = self._scored(variant, model)
        tensors = read_tensors(model).values()
        stored = sum(info.end - info.start for _, info in tensors)
        found = Figures(
            **scored, bits_per_weight=8 * stored / self._parameters(variant.source),
            bytes=stored, seconds=seconds, peak_bytes=peak,
        )  # fmt: skip
        return self._keep(variant, replace(found, answers=self._answers(variant, model)))

    def answer(self, variant: Variant) -> Figures | None:
        """What was measured before, with ``answers`` as well, where the model is there still."""
        found = self.figures(variant)
        model = self._theirs_at(variant)
        if variant.side == "ours":
            model = Project(self._project(variant.source)).model_link(variant.name)
        if found is None or found.answers is not None or not model.is_dir():
            return found
        return self._keep(variant, replace(found, answers=self._answers(variant, model.resolve())))

    def _keep(self, variant: Variant, found: Figures) -> Figures:
        path = self._result(variant)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(found), indent=1))
        return found

    def _result(self, variant: Variant) -> Path:
        known = digest({"wish": variant.wish, "side": variant.side})[:8]
        return self._root / "results" / f"{variant.name}-{known}.json"

    def _source(self, name: str) -> Path:
        return self._scratch.folder(SMOLLM2 if name == "plain" else Rescaled(), self._tell)

    def _parameters(self, source: str) -> int:
        tensors = read_tensors(self._source(source)).values()
        return sum((info.end - info.start) // 2 for _, info in tensors)  # bfloat16

    def _ours(self, variant: Variant) -> tuple[Path, float, int]:
        project = self._project(variant.source)
        learn = f"calibrate: {CALIBRATE}\n" if variant.learns else ""
        text = f"source: {{path: ../source}}\nquantize: {variant.wish}\n{learn}"
        (project / "recipes" / f"{variant.name}.yaml").write_text(text)
        (project / "recipes" / f"{variant.name}.lock").unlink(missing_ok=True)  # choose widths anew
        opened = Project(project)
        measuring = opened.plan(*opened.select([variant.name])).sensitivity
        command = [str(Path(sys.executable).parent / "doit"), "build", variant.name]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True)
        if done.returncode:
            raise ForgeError(f"{variant.name} was not built", done.stderr or done.stdout)
        built = opened.built(variant.name)
        assert built is not None
        steps = {(name.split()[0], key) for name, key in built.keys.items()}
        if measuring is not None:  # the widths are locked by now: it is no step of the build
            steps.add((measuring.kind, measuring.key))
        manifests = []
        for kind, key in sorted(steps):
            if kind in LEARNED:
                artifact = opened.store.find(kind, key)
                if artifact is None:
                    raise ForgeError(
                        f"what {kind} made for {variant.name} is gone, and with it what it took",
                        f"remove its model from {opened.store.root} and measure again",
                    )
                manifests.append(artifact.manifest)
        peak = max(manifest.peak_bytes or 0 for manifest in manifests)
        seconds = sum(manifest.seconds for manifest in manifests)
        return opened.model_link(variant.name).resolve(), seconds, peak

    def _theirs(self, variant: Variant) -> tuple[Path, float, int]:
        tokens = self._windows(variant.source)
        out = self._theirs_at(variant)
        shutil.rmtree(out, ignore_errors=True)
        words = (variant.wish, str(variant.bits), str(self._source(variant.source)), str(tokens))
        program = "benchmarks.programs.upstream_quant"
        cost = measure(Command(("-m", program, *words, str(out)), ROOT), self._log)
        return out, cost.seconds, cost.memory

    def _windows(self, source: str) -> Path:
        """The tokens that ours were calibrated on."""
        for made in self._project(source).glob("cache/artifacts/calibrate/*"):
            if "text" in Manifest.load(made / "manifest.json").recipe["inputs"]:
                return made / "data" / "tokens.npy"
        raise ForgeError("nothing of ours has read the text yet", "measure gptq-4bit first")

    def _theirs_at(self, variant: Variant) -> Path:
        return self._root / "theirs" / variant.name

    def _project(self, source: str) -> Path:
        project = self._root / source
        if not (project / "dodo.py").is_file():
            (project / "recipes").mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / "dodo.py", project)
            (project / "source").symlink_to(self._source(source))
            texts = self._scratch.folder(TEXTS, self._tell)
            (project / "calibration.txt").symlink_to(texts / "calibration.txt")
        return project

    def _compared(self, source: str) -> Path:
        out = self._root / f"{source}-states"
        if not (out / "source.json").is_file():
            out.mkdir(parents=True, exist_ok=True)
            texts = self._scratch.folder(TEXTS, self._tell)
            self._run("source", self._source(source), texts, out)
        return out

    def _scored(self, variant: Variant, model: Path) -> dict[str, Any]:
        result = self._root / "score.json"
        out = self._compared(variant.source)
        self._run("model", model, self._source(variant.source), out, result)
        found: dict[str, Any] = json.loads(result.read_bytes())
        return found

    def _answers(self, variant: Variant, model: Path) -> float:
        out = self._compared(variant.source)
        given, result = out / "answers.npy", self._root / "answers.json"
        if not given.is_file():
            source, tokens = self._source(variant.source), out / "tokens.npy"
            self._run("answer", source, tokens, given)
        self._run("follow", model, given, result)
        return float(json.loads(result.read_bytes())["answers"])

    def _run(self, *words: str | Path) -> None:
        measure(Command(("-m", "benchmarks.programs.scored", *map(str, words)), ROOT), self._log)
