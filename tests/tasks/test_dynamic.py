"""`method: dynamic` by the real command: bits where they do the most, chosen once and locked."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import DEMO, DOIT, Workspace

EVALUATE = f"""\
evaluate:
  text: {{path: {DEMO / "heldout.txt"}}}
  samples: 6
  sequence_length: 128
"""
UNIFORM = 3.522  # bits per weight of the demo model in 3 bits
LEAST = 0.017  # what one more bit for its smallest layer adds


def recipe(method: str, lessons: Path, score: str = "") -> str:
    learn = f"  text: {{path: {lessons}}}\n  overlap: flag\n  samples: 40\n  sequence_length: 64\n"
    source = f"source: {{path: {DEMO / 'model'}}}\n"
    return f"{source}quantize:\n  scales: search\n  {method}\ncalibrate:\n{learn}{score}"


def dynamic(target: float, more: str = "") -> str:
    return f"method: dynamic\n  dynamic: {{target_bits_per_weight: {target}{more}}}"


def lessons_in(folder: Path) -> Path:
    """Another part of the demo's language than what is scored."""
    lines = (DEMO / "heldout.txt").read_text().splitlines()
    path = folder / "lessons.txt"
    path.write_text("\n".join(lines[len(lines) // 2 :]))
    return path


def build(workspace: Workspace, *names: str) -> subprocess.CompletedProcess[str]:
    done = workspace.doit("build", *names)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def model_of(workspace: Workspace, name: str) -> Path:
    return (workspace.cache / "models" / name).resolve()


def told_of(workspace: Workspace, name: str) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads(
        (model_of(workspace, name) / "mlxforge.json").read_bytes()
    )
    return found


def widths_of(workspace: Workspace, name: str) -> dict[str, int]:
    lock = (workspace.root / "recipes" / f"{name}.lock").read_text()
    return {path: int(bits) for bits, path in re.findall(r"^    ([234568]) (\S+)$", lock, re.M)}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A project in which ``uniform`` and ``chosen``, of the same size, were built and scored."""
    folder = tmp_path_factory.mktemp("dynamic")
    workspace, lessons = Workspace(folder / "project"), lessons_in(folder)
    workspace.recipe("uniform", recipe("bits: 3", lessons, EVALUATE))
    workspace.recipe("chosen", recipe(dynamic(UNIFORM), lessons, EVALUATE))
    plan = workspace.doit("plan", "chosen").stdout
    done = build(workspace, "uniform", "chosen")
    return SimpleNamespace(workspace=workspace, lessons=lessons, plan=plan, done=done)


def test_chosen_widths_meet_the_target_and_are_nearer_than_equal_ones(
    built: SimpleNamespace,
) -> None:
    workspace = built.workspace
    uniform, chosen = (told_of(workspace, name) for name in ("uniform", "chosen"))
    assert uniform["bits_per_weight"] == UNIFORM
    assert UNIFORM - LEAST < chosen["bits_per_weight"] <= UNIFORM
    bits = {path: entry["bits"] for path, entry in chosen["layers"].items()}
    assert bits == widths_of(workspace, "chosen") and len(set(bits.values())) > 1
    assert {entry["decided_by"] for entry in chosen["layers"].values()} == {"dynamic"}
    line = rf"locked chosen: widths for {len(bits)} layers, 3\.5\d bits per weight"
    line += r"(, 0\.0[12] below the target)?\n"
    assert re.search(line, built.done.stderr)
    same, nearer = map(float, re.findall(r"KL +(\S+) nats mean", built.done.stdout))
    assert nearer < same


def test_a_plan_tells_what_is_measured_first_and_then_where_widths_come_from(
    built: SimpleNamespace,
) -> None:
    assert re.search(r"^  sensitivity +\w+ +would run", built.plan, re.M)
    assert "with widths that are not chosen yet: heads, quantize, baseline, evaluate" in built.plan
    after = built.workspace.doit("plan", "--layers", "chosen").stdout
    assert "sensitivity" not in after
    assert after.count("dynamic (chosen.lock)") == len(widths_of(built.workspace, "chosen"))
    assert "chosen.lock holds" in built.workspace.doit("lock", "--check", "chosen").stdout


def test_a_locked_build_measures_nothing_and_repeats_the_bytes(
    built: SimpleNamespace, workspace: Workspace
) -> None:
    recipes = built.workspace.root / "recipes"
    shutil.copy(recipes / "chosen.lock", workspace.root / "recipes" / "chosen.lock")
    text = (recipes / "chosen.yaml").read_text()
    workspace.recipe("chosen", text.replace(EVALUATE, ""))  # how it is scored is another matter
    build(workspace, "chosen")
    assert workspace.artifacts("sensitivity") == []
    name = "model.safetensors"
    one, two = (model_of(place, "chosen") / name for place in (built.workspace, workspace))
    assert one.read_bytes() == two.read_bytes()


def test_other_targets_and_methods_share_what_was_measured(built: SimpleNamespace) -> None:
    workspace = built.workspace
    solved = dynamic(4.2, ", min_bits: 3, method: gptq")
    workspace.recipe("solved", recipe(solved, built.lessons))
    assert "locked solved: widths for" in build(workspace, "solved").stderr
    assert len(workspace.artifacts("sensitivity")) == len(workspace.artifacts("gptq")) == 1
    widths = widths_of(workspace, "solved")
    assert min(widths.values()) == 3
    workspace.recipe("solved", recipe(solved.replace("4.2", "5.2"), built.lessons))
    again = workspace.doit("plan", "solved").stdout
    assert re.search(r"^  sensitivity +\w+ +in the store", again, re.M)
    assert "then, with widths that are not chosen yet: gptq, quantize" in again
    assert re.search(r"^  time: gptq about \S+ m?s, quantize about \S+ m?s$", again, re.M)
    assert re.search(r"^  memory: .*, gptq \S+ [GM]B, quantize \S+ [GM]B\)$", again, re.M)
    said = workspace.doit("lock", "--upgrade", "solved").stdout
    assert "the next build measures and chooses anew" in said
    assert widths_of(workspace, "solved") == {}


def test_measuring_that_was_killed_goes_on_and_ends_with_the_same_bytes(
    built: SimpleNamespace, workspace: Workspace
) -> None:
    workspace.recipe("chosen", recipe(dynamic(UNIFORM), built.lessons))
    process = subprocess.Popen(
        [str(DOIT), "build", "chosen"], cwd=workspace.root, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None and not list(workspace.cache.glob("checkpoints/*/*.json")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(workspace.cache.glob("checkpoints/*/*.json"))
    assert workspace.artifacts("sensitivity") == []
    build(workspace, "chosen")
    assert not list(workspace.cache.glob("checkpoints/*"))
    name = "data/sensitivities.json"
    one, two = (p.artifacts("sensitivity")[0] / name for p in (built.workspace, workspace))
    assert one.read_bytes() == two.read_bytes()
    assert widths_of(workspace, "chosen") == widths_of(built.workspace, "chosen")


def test_a_target_that_is_not_met_for_want_of_choices_is_told(
    workspace: Workspace, tmp_path: Path
) -> None:
    """The embeddings alone are free: 8 bits are the most, and less than the target's."""
    rules = "[{layers: attention, bits: 4}, {layers: mlp, bits: 4}]"
    given = f"{dynamic(5.0)}\n  overrides: {rules}"
    workspace.recipe("chosen", recipe(given, lessons_in(tmp_path)))
    planned = workspace.doit("plan", "chosen").stdout
    assert "result: at most" in planned
    told = build(workspace, "chosen").stderr
    line = r"locked chosen: widths for 1 layer, 4\.\d\d bits per weight, 0\.\d\d below the target\n"
    assert re.search(line, told)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (2.1, "and 2 bits everywhere make 2.5"),
        (9.5, "and 8 bits everywhere make no more than 8.5"),
    ],
)
def test_a_target_that_cannot_be_met_says_what_can_before_anything_is_measured(
    workspace: Workspace, tmp_path: Path, target: float, says: str
) -> None:
    workspace.recipe("chosen", recipe(dynamic(target), lessons_in(tmp_path)))
    said = workspace.refused("build", "chosen")
    assert "recipes/chosen.yaml:5:" in said
    assert f"target_bits_per_weight is {target:g}, {says}" in said
    assert workspace.artifacts("calibrate") == []
