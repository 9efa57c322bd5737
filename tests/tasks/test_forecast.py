"""What `doit plan` says that a build will take, and what it took."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from tests.conftest import DEMO, Workspace

SCORED = """\
evaluate:
  text: {path: %s}
  samples: 24
  sequence_length: 256
  prompts: ["What does a duck do?", "Spell parrot."]
  max_tokens: 8
""" % (DEMO / "heldout.txt")


def recipe(source: Path, bits: int) -> str:
    return f"source: {{path: {source}}}\nquantize: {{bits: {bits}}}\n{SCORED}"


def lines(workspace: Workspace, name: str) -> dict[str, str]:
    """What a plan says below the table of layers, by label."""
    told = workspace.doit("plan", name)
    assert told.returncode == 0, told.stderr
    return dict(re.findall(r"^  ([a-z]+): (.*)$", told.stdout, re.MULTILINE))


def size_in(words: str) -> float:
    """The bytes that such words as ``1.5 MB`` stand for."""
    number, unit = words.split()[:2]
    return float(number) * {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]


def test_what_a_build_takes_is_within_what_was_said_before(
    workspace: Workspace, tiny: Callable[..., Path]
) -> None:
    source = tiny()
    workspace.recipe("four", recipe(source, 4))
    workspace.recipe("eight", recipe(source, 8))
    before = lines(workspace, "four")
    assert before["time"] == ", ".join(
        f"{kind} not measured here yet" for kind in ("quantize", "baseline", "evaluate")
    )
    assert "(inspect" in before["memory"], "what a finished step took is known"
    most, room = size_in(before["memory"]), size_in(before["disk"])

    workspace.build("four")
    manifests = [
        json.loads((folder / "manifest.json").read_text())
        for kind in ("quantize", "baseline", "evaluate")
        for folder in workspace.artifacts(kind)
    ]
    assert all(0 < manifest["peak_bytes"] <= most for manifest in manifests)
    states = workspace.artifacts("baseline")[0] / "data" / "states.npy"
    model = json.loads((workspace.cache / "models" / "four" / "mlxforge.json").read_text())
    written = model["bytes"] + states.stat().st_size
    assert abs(room - written) <= 51_000  # headers, and 3.3 MB are told with two digits

    peaks = max(
        json.loads((folder / "manifest.json").read_text())["peak_bytes"]
        for folder in workspace.artifacts()
    )
    after = lines(workspace, "four")
    assert after["memory"].startswith(f"{peaks / 1e6:.1f} MB at most (inspect ")
    assert after["time"] == "nothing has to run" and after["disk"] == "nothing more is needed"
    assert after["result"] == before["result"] and after["context"] == before["context"]

    # the other recipe shares the source's score, and its steps are of a measured kind
    told = lines(workspace, "eight")["time"].split(", ")
    assert [words.split(" about ")[0] for words in told] == ["quantize", "evaluate"]
    assert all(words.endswith((" s", " min")) for words in told)


def test_what_learns_takes_no_more_memory_than_was_said(
    workspace: Workspace, tiny: Callable[..., Path]
) -> None:
    section = (
        "quantize: {method: gptq, prepare: awq, refine: dwq, awq: {grid: 2}, dwq: {iterations: 2}}"
    )
    text = f"text: {{path: {Path(__file__)}}}"  # any text
    workspace.recipe(
        "learned",
        f"source: {{path: {tiny()}}}\n{section}\n"
        f"calibrate: {{{text}, samples: 8, sequence_length: 128}}\n{SCORED}",
    )
    told = re.findall(
        r"([a-z]+)[^,(]*? ([\d.]+ [kMG]?B)[,)]", lines(workspace, "learned")["memory"]
    )
    most = {kind: size_in(words) for kind, words in told}
    assert most["calibrate"] > most["baseline"]
    workspace.build("learned")
    for kind in ("calibrate", "awq", "gptq", "dwq"):
        (artifact,) = workspace.artifacts(kind)
        peak = json.loads((artifact / "manifest.json").read_text())["peak_bytes"]
        assert 0 < peak <= most[kind], kind


def test_rates_of_one_model_tell_of_another_by_its_size(
    workspace: Workspace, tiny: Callable[..., Path]
) -> None:
    small, large = tiny(hidden=256, layers=3), tiny(hidden=512, intermediate=2048, layers=4)
    workspace.recipe("small", f"source: {{path: {small}}}\n")
    workspace.recipe("again", f"source: {{path: {small}}}\nquantize: {{bits: 8}}\n")
    workspace.recipe("large", f"source: {{path: {large}}}\n")
    workspace.recipe(
        "micro", f"source: {{path: {large}}}\nquantize: {{mode: mxfp4, bits: 4, group_size: 32}}\n"
    )
    workspace.build("small")
    (artifact,) = workspace.artifacts("quantize")
    size = json.loads((artifact / "manifest.json").read_text())["files"]["model.safetensors"][
        "size"
    ]
    say(workspace, "quantize", work={"bytes": {"done": size, "seconds": 20.0}})
    again, more = lines(workspace, "again"), lines(workspace, "large")
    assert again["time"] == "quantize about 20 s"
    minutes = round(20 * parameters(more) / parameters(again) / 60)
    assert more["time"] == f"quantize about {minutes} min"
    assert lines(workspace, "micro")["time"] == "quantize not measured here yet"


def test_what_a_head_takes_is_told_of_another_width(
    workspace: Workspace, tiny: Callable[..., Path]
) -> None:
    source = tiny()
    for bits in (4, 3):
        section = f"quantize: {{bits: {bits}, scales: search}}"
        workspace.recipe(f"searched-{bits}", f"source: {{path: {source}}}\n{section}\n")
    assert "heads not measured here yet" in lines(workspace, "searched-4")["time"]
    workspace.build("searched-4")
    say(workspace, "heads", seconds=70.0)
    told = lines(workspace, "searched-3")["time"].split(", ")
    assert told[0] == "heads about 70 s" and told[1].startswith("quantize about ")


def test_training_takes_its_time_by_iteration(
    workspace: Workspace, tiny: Callable[..., Path]
) -> None:
    given = f"source: {{path: {tiny()}}}\ncalibrate: {{text: {{path: {DEMO / 'heldout.txt'}}}, "
    given += "samples: 8, sequence_length: 32}\n"
    for iterations in (2, 40):
        section = f"{{method: dwq, bits: 3, dwq: {{iterations: {iterations}, batch_size: 2}}}}"
        workspace.recipe(f"for-{iterations}", f"{given}quantize: {section}\n")
    workspace.build("for-2")
    say(workspace, "dwq", seconds=60.0)
    minutes = round((3 * 40 * 2 + 2 * 8) / (3 * 2 * 2 + 2 * 8))
    assert f"dwq about {minutes} min" in lines(workspace, "for-40")["time"]


def say(workspace: Workspace, kind: str, **facts: object) -> None:
    """In the manifest of the one artifact of this kind."""
    (artifact,) = workspace.artifacts(kind)
    path = artifact / "manifest.json"
    manifest = json.loads(path.read_text())
    path.chmod(0o644)
    path.write_text(json.dumps(manifest | facts))


def parameters(told: dict[str, str]) -> int:
    words = told["result"].split(" bits per weight, ")[1]
    return int(words.split(" parameters")[0].replace(",", ""))
