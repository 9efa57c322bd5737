"""What is known of a repository from its headers alone, and that it is right."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest

from mlxforge.hub.headers import GUESS_BYTES
from mlxforge.models.source.headers import read_header
from tests.checkpoints import mixtral, write
from tests.checkpoints.vision.qwen2_vl import qwen2_vl
from tests.conftest import Workspace
from tests.hub.server import Hub
from tests.hub.server.misbehaviour import Kind
from tests.hub.test_hub_source import REPO, inspected, lock_of, recipe, source_of


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a model with experts in three shards, each larger than a first guess."""
    mx.random.seed(3)
    folder = write(mixtral(), tmp_path_factory.mktemp("mixtral") / "model", shards=3)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def weights(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name.endswith(".safetensors")}


def planned(workspace: Workspace) -> str:
    done = workspace.doit("plan", "tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def line(told: str, label: str) -> str:
    (found,) = [row for row in told.splitlines() if row.startswith(f"  {label}: ")]
    return found


def table(told: str) -> str:
    """The layers and the machines: all that a plan says of a model and not of the build."""
    layers, machines = told.index("\n  layer "), told.index("  machine ")
    return told[layers : told.index("  result: ")] + told[machines:]


def test_a_plan_reads_headers_and_no_weights_and_is_right(
    hub: Hub, workspace: Workspace, shards: dict[str, bytes]
) -> None:
    hub.commit(REPO, shards)
    workspace.recipe("tiny", recipe())
    inspected(workspace)
    told = planned(workspace)

    sent = dict.fromkeys(weights(shards), 0)
    for name, _, count in hub.sent:
        if name in sent:
            sent[name] += count
    for name, data in weights(shards).items():
        assert len(data) > GUESS_BYTES and sent[name] <= GUESS_BYTES
    assert "tokenizer.json" not in hub.downloads()
    assert workspace.artifacts("download") == [] and workspace.artifacts("quantize") == []
    assert tools_of(workspace, "inspect") == {"mlx", "mlx-lm"}

    workspace.build("tiny")
    model = workspace.cache / "models" / "tiny"
    made = json.loads((model / "mlxforge.json").read_text())
    built = sum(
        tensor.end - tensor.start
        for path in model.glob("*.safetensors")
        for tensor in read_header(path).values()
    )
    assert made["bytes"] == built
    assert line(told, "result").startswith(f"  result: {built:,} bytes of weights")
    assert f" {made['bits_per_weight']:.3f} bits per weight" in line(told, "result")

    most = float(re.findall(r"^  memory: ([0-9.]+) MB at most", told, re.MULTILINE)[0])
    for artifact in workspace.artifacts():
        manifest = json.loads((artifact / "manifest.json").read_text())
        assert 0 < manifest["peak_bytes"] <= most * 1e6, manifest["kind"]

    again = planned(workspace)
    assert table(again) == table(told) and line(again, "result") == line(told, "result")
    total = sum(len(data) for data in shards.values())
    small = sum(len(shards[name]) for name in ("config.json", "generation_config.json",
                "model.safetensors.index.json", "tokenizer_config.json"))  # fmt: skip
    assert line(told, "download").startswith(f"  download: {total:,} bytes (")
    assert line(told, "download").endswith(f", {small / 1000:.1f} kB in the cache")
    assert line(again, "download").endswith("in the cache; nothing has to be fetched")
    assert "  disk: nothing more is needed" in again and "  time: nothing has to run" in again


def test_heads_are_cut_after_the_header_and_give_the_layers_of_the_whole(
    hub: Hub, workspace: Workspace, shards: dict[str, bytes], tmp_path: Path
) -> None:
    hub.commit(REPO, shards)
    folder = tmp_path / "whole"
    folder.mkdir()
    for name, data in shards.items():
        (folder / name).write_bytes(data)
    workspace.recipe("tiny", recipe())
    workspace.recipe("local", f"source: {{path: {folder}}}")
    inspected(workspace)
    assert workspace.doit("plan", "local").returncode == 0

    (heads,) = workspace.artifacts("headers")
    for name, data in weights(shards).items():
        length = 8 + int.from_bytes(data[:8], "little")
        assert (heads / "data" / name).read_bytes() == data[:length]
    sizes = json.loads((heads / "data" / "mlxforge-heads.json").read_text())
    assert sizes == {name: len(data) for name, data in weights(shards).items()}
    assert (heads / "data" / "config.json").read_bytes() == shards["config.json"]

    first, second = workspace.artifacts("inspect")
    for name in ("layers.json", "parameters.tsv", "config.json"):
        assert (first / "data" / name).read_bytes() == (second / "data" / name).read_bytes()


def test_a_rule_that_cannot_be_followed_is_told_before_any_weight_is_fetched(
    hub: Hub, workspace: Workspace, shards: dict[str, bytes]
) -> None:
    hub.commit(REPO, shards)
    rule = "    - layers: '*.q_porj'\n      bits: 8\n"
    workspace.recipe("tiny", f"source: {{repo: {REPO}}}\nquantize:\n  overrides:\n{rule}")
    told = workspace.refused("build", "tiny")
    assert "recipes/tiny.yaml:4:7: override '*.q_porj' matches no layer" in told
    assert workspace.artifacts("download") == []
    assert sum(count for name, _, count in hub.sent if name in weights(shards)) <= 3 * GUESS_BYTES


def test_a_header_that_is_longer_than_the_guess_is_fetched_in_two_parts(
    hub: Hub, workspace: Workspace, model: dict[str, bytes]
) -> None:
    data = model["model.safetensors"]
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length] + b" " * (3 * GUESS_BYTES // 8 * 8)
    long = len(header).to_bytes(8, "little") + header + data[8 + length :]
    hub.commit(REPO, model | {"model.safetensors": long})
    workspace.recipe("tiny", recipe())
    inspected(workspace)
    sent = [(first, count) for name, first, count in hub.sent if name == "model.safetensors"]
    assert sent == [(0, GUESS_BYTES), (GUESS_BYTES, 8 + len(header) - GUESS_BYTES)]


def test_a_hub_that_knows_no_ranges_is_left_when_there_is_enough(
    hub: Hub, workspace: Workspace, tiny: Callable[..., Path]
) -> None:
    folder = tiny(hidden=512, intermediate=2048, layers=4)
    hub.commit(REPO, {path.name: path.read_bytes() for path in folder.iterdir()})
    hub.ranges = False
    hub.bytes_per_second = 20e6
    workspace.recipe("tiny", recipe())
    inspected(workspace)
    size = (folder / "model.safetensors").stat().st_size
    (sent,) = [count for name, _, count in hub.sent if name == "model.safetensors"]
    assert size > 20e6 and sent < size / 2  # what the connection's buffers took
    (heads,) = workspace.artifacts("headers")
    assert (heads / "data" / "model.safetensors").stat().st_size < GUESS_BYTES


@pytest.mark.parametrize(("kind", "times"), [("cut", 1), ("status", 2)])
def test_a_hub_in_trouble_is_asked_again(
    hub: Hub, workspace: Workspace, shards: dict[str, bytes], kind: Kind, times: int
) -> None:
    commit = hub.commit(REPO, shards)
    workspace.recipe("tiny", recipe())
    path = f"GET /{REPO}/resolve/{commit}/model-00002"
    trouble = hub.misbehave(path, kind, times, retry_after=0)
    inspected(workspace)
    assert trouble.met == times
    (heads,) = workspace.artifacts("headers")
    (data,) = [data for name, data in shards.items() if name.startswith("model-00002")]
    head = (heads / "data" / "model-00002-of-00003.safetensors").read_bytes()
    assert data.startswith(head) and len(head) == 8 + int.from_bytes(data[:8], "little")


def test_a_file_that_is_none_and_one_of_another_size_are_told(
    hub: Hub, workspace: Workspace, model: dict[str, bytes]
) -> None:
    hub.commit(REPO, model | {"model.safetensors": b"\xff" * 8 + bytes(100_000)})
    workspace.recipe("tiny", recipe())
    told = workspace.refused("build", "tiny")
    assert f"model.safetensors of {REPO} is not a safetensors file: its header claims" in told
    assert "the file has 100008" in told

    (workspace.root / "recipes" / "tiny.lock").unlink()
    hub.commit(REPO, model)
    assert workspace.doit("lock", "tiny").returncode == 0
    size = len(model["model.safetensors"])
    text = lock_of(workspace).read_text()
    lock_of(workspace).write_text(text.replace(f"{{size: {size}, sha", f"{{size: {size + 1}, sha"))
    told = workspace.refused("plan", "tiny")
    assert f"has {size} bytes on the Hub, the lock says {size + 1}" in told
    assert workspace.artifacts() == []


def test_a_header_that_was_not_the_files_own_is_noticed_and_what_came_of_it_is_removed(
    hub: Hub, workspace: Workspace, model: dict[str, bytes], tmp_path: Path
) -> None:
    """Such as one that was read from a damaged file in the cache."""
    hub.commit(REPO, model)
    workspace.recipe("tiny", recipe())
    inspected(workspace)
    for artifact in (*workspace.artifacts("headers"), *workspace.artifacts("inspect")):
        artifact.rename(workspace.root / artifact.name)
    source, data = source_of(workspace), model["model.safetensors"]
    cached = tmp_path / "hf-home" / "hub" / f"models--{REPO.replace('/', '--')}"
    blob = cached / "blobs" / str(source.files["model.safetensors"]["sha256"])
    blob.write_bytes(data.replace(b'{"format":"pt"}', b'{"format":"np"}'))
    assert blob.stat().st_size == len(data) and blob.read_bytes() != data
    (cached / "snapshots" / source.commit / "model.safetensors").symlink_to(blob)

    assert "another sha256 than the lock says" in workspace.refused("build", "tiny")
    told = workspace.refused("build", "tiny")
    assert "model.safetensors has another header than was read before it was downloaded" in told
    assert workspace.artifacts("headers") == workspace.artifacts("inspect") == []
    workspace.build("tiny")


def test_a_cache_that_has_the_weights_is_asked_instead_of_the_hub(
    hub: Hub, workspace: Workspace, shards: dict[str, bytes]
) -> None:
    hub.commit(REPO, shards)
    workspace.recipe("tiny", recipe())
    workspace.build("tiny")
    told = planned(workspace)
    for artifact in (*workspace.artifacts("headers"), *workspace.artifacts("inspect")):
        artifact.rename(workspace.root / artifact.name)
    hub.requests.clear()
    done = workspace.doit("plan", "tiny", HF_HUB_OFFLINE="1")
    assert table(done.stdout) == table(told) and hub.requests == []


def test_the_lock_says_who_loads_the_model_and_old_locks_mean_mlx_lm(
    hub: Hub, workspace: Workspace, model: dict[str, bytes]
) -> None:
    hub.commit(REPO, model)
    workspace.recipe("tiny", recipe())
    assert workspace.doit("lock", "tiny").returncode == 0
    text = lock_of(workspace).read_text()
    assert '\n  loader: "mlx_lm"\n' in text
    before = re.findall(r"^  \w+ +([0-9a-f]{12}) ", planned(workspace), re.MULTILINE)
    lock_of(workspace).write_text(text.replace('  loader: "mlx_lm"\n', ""))
    after = re.findall(r"^  \w+ +([0-9a-f]{12}) ", planned(workspace), re.MULTILINE)
    assert before == after and len(before) == 4
    assert workspace.doit("lock", "--check", "tiny").returncode == 0
    lock_of(workspace).write_text(text.replace('"mlx_lm"\n', '"torch"\n'))
    assert "loader is 'torch', not one of mlx_lm, mlx_vlm" in workspace.refused("plan", "tiny")


def test_a_vision_model_is_planned_by_its_own_loader_whose_version_is_in_its_keys(
    hub: Hub, workspace: Workspace, tmp_path: Path
) -> None:
    folder = qwen2_vl(tmp_path / "qwen2_vl")
    hub.commit(REPO, {path.name: path.read_bytes() for path in folder.iterdir()})
    workspace.recipe("tiny", recipe())
    inspected(workspace)
    lock = source_of(workspace)
    assert lock.loader == "mlx_vlm" and "preprocessor_config.json" in hub.downloads()
    assert tools_of(workspace, "inspect") == {"mlx", "mlx-lm", "mlx-vlm"}
    told = planned(workspace)
    assert re.search(r"^  vision_tower\.\S+ +vision .* stays as it is$", told, re.MULTILINE)
    assert re.search(r"^  Mac, 8 GB .* 32,768 tokens, all that", told, re.MULTILINE)


def tools_of(workspace: Workspace, kind: str) -> set[str]:
    """What is in the key of the one artifact of that kind."""
    (artifact,) = workspace.artifacts(kind)
    return set(json.loads((artifact / "manifest.json").read_text())["recipe"]["tools"])
