"""What a user gets for a source that cannot be used: one or two lines, and nothing is built."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DEMO, Workspace


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(config))


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def lie(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes((2**40).to_bytes(8, "little") + path.read_bytes()[8:])


def pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def lose_shard(folder: Path) -> None:
    index = {"weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def count_shards(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00003.safetensors")


def edit_weights(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    import mlx.core as mx

    weights = dict(mx.load(str(folder / "model.safetensors")))
    change(weights)
    mx.save_safetensors(str(folder / "model.safetensors"), weights)


def put_nan(weights: dict[str, Any]) -> None:
    weights["model.layers.1.self_attn.o_proj.weight"][5, 7:9] = float("nan")


def store_as_bytes(folder: Path) -> None:
    """float8 weights without scales, which no loader of llama decodes."""
    import mlx.core as mx

    name = "model.layers.0.mlp.up_proj.weight"
    edit_weights(folder, lambda weights: weights.update({name: mx.to_fp8(weights[name])}))


def reorder_groups(folder: Path) -> None:
    """A GPTQ checkpoint whose columns belong to groups in an order of their own."""
    import mlx.core as mx

    name = "model.layers.0.mlp.up_proj.g_idx"
    edit_weights(folder, lambda weights: weights.update({name: mx.zeros(128, dtype=mx.int32)}))
    how = {"quant_method": "gptq", "bits": 4, "group_size": 64}
    edit_config(folder, quantization_config=how)


TRANSFORMERS = f"transformers {version('transformers')}"
CASES: list[tuple[Callable[[Path], Any], str]] = [
    (shutil.rmtree, "the source folder {folder} does not exist"),
    (empty, "the source folder {folder} is empty"),
    (lambda folder: (folder / "model.safetensors").unlink(), "{folder} has no model*.safetensors"),
    (
        lambda folder: (folder / "model.safetensors").rename(folder / "weights.safetensors"),
        "{folder} has no model*.safetensors; it has weights.safetensors",
    ),
    (pickle_only, "{folder} has pickled weights only (pytorch_model.bin); unpickling runs code"),
    (cut, "is not a whole safetensors file: it is cut off"),
    (lie, "its header claims 1099511627776 bytes"),
    (lose_shard, "{folder} lacks the shard model-00002-of-00002.safetensors"),
    (
        count_shards,
        "{folder} lacks 2 of its shards, such as model-00002-of-00003.safetensors\n"
        "  get the files, all shards are needed",
    ),
    (
        lambda folder: edit_weights(folder, lambda weights: weights.pop("model.norm.weight")),
        "{folder} lacks 1 tensor (model.norm.weight)\n  get all files of the source again",
    ),
    (
        lambda folder: edit_weights(
            folder, lambda weights: weights.update(odd=weights["model.norm.weight"])
        ),
        "{folder} has 1 tensor (odd), for which a llama model has no place\n"
        "  save the files without what is left over, or correct config.json",
    ),
    (lambda folder: (folder / "config.json").unlink(), "{folder} has no config.json"),
    (lambda folder: (folder / "config.json").write_text("{"), "config.json is not JSON"),
    (lambda folder: (folder / "config.json").write_text("[]"), "names no model_type"),
    (
        lambda folder: edit_config(folder, model_type="lama"),
        f"mlx_lm knows no model type 'lama', nor does {TRANSFORMERS}\n  did you mean 'llama'?",
    ),
    (
        lambda folder: edit_config(folder, model_type="clvp", transformers_version="9.1.0"),
        f"mlx_lm knows no model type 'clvp', {TRANSFORMERS} does\n"
        f"  a newer mlx-lm may know it, {version('mlx-lm')} is installed; "
        "config.json was written by transformers 9.1.0",
    ),
    (lambda folder: edit_config(folder, model_type="../llama"), "no model type '../llama'"),
    (
        lambda folder: edit_config(folder, model_type="switch_layers"),
        "mlx_lm knows no model type 'switch_layers'",
    ),
    (
        lambda folder: edit_config(folder, model_type="mine", auto_map={"AutoModel": "m.M"}),
        "mlx_lm knows no model type 'mine' and would need its own code",
    ),
    (
        lambda folder: edit_config(folder, model_file="run_me.py"),
        "{folder} needs its own code ('run_me.py'), which is not run",
    ),
    (
        lambda folder: edit_config(folder, quantization_config={"quant_method": "awq"}),
        "config.json and weights do not make a llama model",
    ),
    (
        lambda folder: edit_config(
            folder, quantization_config={"quant_method": "compressed-tensors", "format": "int-8"}
        ),
        "do not make a llama model: unsupported compressed-tensors format 'int-8'",
    ),
    (
        lambda folder: shutil.copy(folder / "model.safetensors", folder / "model-2.safetensors"),
        "is in {folder}/model-2.safetensors and in model.safetensors",
    ),
    (
        lambda folder: edit_config(folder, model_type="olmo"),
        "mlx_lm's model type 'olmo' needs a package that is not installed",
    ),
    (
        reorder_groups,
        "Found model.layers.0.mlp.up_proj.g_idx in weights",
    ),
    (
        store_as_bytes,
        "model.layers.0.mlp.up_proj.weight holds uint8 numbers, packed in a way that mlx_lm does "
        "not unpack",
    ),
    (
        lambda folder: edit_config(folder, hidden_size=192),
        "{folder}: model.embed_tokens.weight is [512, 128] in the files, and config.json makes it "
        "[512, 192], and so on for 19 more\n"
        "  config.json would fit with hidden_size 128 instead of 192",
    ),
]  # fmt: skip


@pytest.mark.parametrize("harm,says", CASES, ids=[says[:40] for _, says in CASES])
def test_a_source_that_cannot_be_used_is_refused_in_a_line_or_two(
    workspace: Workspace,
    tiny: Callable[..., Path],
    tmp_path: Path,
    harm: Callable[[Path], Any],
    says: str,
) -> None:
    source = shutil.copytree(tiny(), tmp_path / "source")
    harm(source)
    workspace.recipe("tiny", f"source: {{path: {source}}}")
    told = workspace.refused("build", "tiny")
    problem = told[told.index("error: ") :]
    assert says.format(folder=source) in problem
    assert len(problem.strip().splitlines()) <= 2
    assert workspace.artifacts() == []
    assert not (workspace.cache / "models" / "tiny").exists()


@pytest.mark.parametrize("method", ["rtn", "none"])
def test_nan_in_a_weight_is_refused_before_a_model_is_finished(
    workspace: Workspace, tiny: Callable[..., Path], tmp_path: Path, method: str
) -> None:
    source = shutil.copytree(tiny(), tmp_path / "source")
    edit_weights(source, put_nan)
    recipe = f"source: {{path: {source}}}\nquantize: {{method: {method}"
    workspace.recipe("tiny", f"{recipe}}}\n")
    told = workspace.refused("build", "tiny")
    assert (
        "2 NaN among the 16,384 numbers of tensor 'model.layers.1.self_attn.o_proj.weight'\n"
        "  get the files again, or use another revision; "
        "`quantize: {allow_nonfinite: true}` goes on with them"
    ) in told
    assert workspace.artifacts("quantize") == []
    assert list(workspace.cache.glob("staging/*")) == []

    workspace.recipe("tiny", f"{recipe}, allow_nonfinite: true}}\n")
    workspace.build("tiny")


def test_a_missing_source_is_reported_where_it_is_written(workspace: Workspace) -> None:
    workspace.recipe("tiny", "source:\n  path: ../nowhere\n")
    told = workspace.refused("build", "tiny")
    assert told.startswith("error: recipes/tiny.yaml:2:9: the source folder ")


def test_code_in_a_source_is_neither_run_nor_copied(
    workspace: Workspace, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    source = shutil.copytree(tiny(), tmp_path / "source")
    trap = tmp_path / "trap"
    (source / "modeling_trap.py").write_text(f"open({str(trap)!r}, 'w')")
    edit_config(source, auto_map={"AutoModelForCausalLM": "modeling_trap.Trap"})
    workspace.recipe("tiny", f"source: {{path: {source}}}")
    workspace.build("tiny")
    assert not trap.exists()
    assert list(workspace.cache.rglob("*.py")) == []


def test_a_tokenizer_that_wants_its_own_code_is_refused_without_a_question(
    workspace: Workspace, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    source = shutil.copytree(tiny(), tmp_path / "source")
    trap = tmp_path / "trap"
    (source / "mine.py").write_text(f"open({str(trap)!r}, 'w')")
    config = json.loads((source / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["mine.Mine", None]}}
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    workspace.recipe("tiny", f"source: {{path: {source}}}\nevaluate: {{prompts: [hello]}}\n")
    done = workspace.doit("build", "tiny")  # a question would never be answered
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr
    assert not trap.exists()


def test_a_module_in_the_project_folder_does_not_stand_in_for_an_installed_one(
    workspace: Workspace, tiny: Callable[..., Path]
) -> None:
    (workspace.root / "numpy.py").write_text("raise SystemExit(1)")
    workspace.recipe("tiny", f"source: {{path: {tiny()}}}")
    workspace.build("tiny")


def test_windows_longer_than_the_models_positions_are_refused(
    workspace: Workspace, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    source = shutil.copytree(tiny(), tmp_path / "source")
    edit_config(source, max_position_embeddings=32)
    workspace.recipe(
        "tiny", f"source: {{path: {source}}}\nevaluate: {{text: {{path: {DEMO / 'heldout.txt'}}}}}"
    )
    for command in ("plan", "build"):
        told = workspace.refused(command, "tiny")
        assert "recipes/tiny.yaml:2:18: evaluate: sequence_length 512 is more than" in told
        assert "the model's 32 positions\n  use evaluate: {sequence_length: 32} or less" in told


def test_a_path_that_the_system_refuses_is_reported_and_others_go_on(
    workspace: Workspace, tiny: Callable[..., Path]
) -> None:
    workspace.recipe("long", f"source: {{path: {'x' * 300}}}")
    workspace.recipe("tiny", f"source: {{path: {tiny()}}}")
    assert "recipes/long.yaml:1:16: " in workspace.refused("build", "long")
    assert "tiny" in workspace.doit("list").stdout
    workspace.build("tiny")
