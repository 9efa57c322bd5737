"""`doit upload`: what goes to the Hub, what does not, and what is said when it goes wrong."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mlxforge.lock import read_lock
from mlxforge.lock.reading import parse_lock
from tests.conftest import DOIT, Workspace
from tests.faults.builds import marked, started_by, wait_for
from tests.hub.server import TOKEN, Hub
from tests.hub.server.misbehaviour import Kind
from tests.hub.test_hub_source import REPO, bytes_of, digest_of, empty_cache

TARGET = "acme/tiny-4bit"
CARD = b"---\nlicense: apache-2.0\nlanguage: en\n---\n# Tiny\n"


def recipe(upload: str = "", bits: int = 4, repo: str = TARGET) -> str:
    source = f"source: {{repo: {REPO}}}\nquantize: {{bits: {bits}}}\n"
    return f"{source}upload: {{repo: {repo}{upload}}}\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Path]) -> Path:
    """A project and a cache, with the model built from a Hub that is gone."""
    root = tmp_path_factory.mktemp("built")
    files = {path.name: path.read_bytes() for path in tiny().iterdir()}
    workspace = Workspace(root / "project")
    workspace.recipe("tiny", recipe())
    with Hub(root / "hub") as hub:
        hub.commit(REPO, files | {"README.md": CARD, "LICENSE": b"Apache License"})
        done = workspace.doit(
            "build", "tiny", HF_ENDPOINT=hub.endpoint, HF_HUB_OFFLINE="0",
            HF_HUB_DISABLE_XET="1", HF_HOME=str(root / "hf-home"),
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def project(hub: Hub, built: Path, tmp_path: Path) -> Workspace:
    """The built project, with a Hub that has its source and nothing else."""
    for name in ("project", "hf-home"):
        shutil.copytree(built / name, tmp_path / name, symlinks=True)
    (snapshot,) = (tmp_path / "hf-home" / "hub").glob("models--acme--tiny/snapshots/*")
    hub.commit(REPO, {path.name: path.read_bytes() for path in snapshot.iterdir()})
    workspace = object.__new__(Workspace)
    workspace.root = tmp_path / "project"
    return workspace


def upload(project: Workspace, *words: str, **environment: str) -> str:
    done = project.doit("upload", "tiny", *words, **({"HF_TOKEN": TOKEN} | environment))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(project: Workspace, **environment: str) -> str:
    told = project.refused("upload", "tiny", **({"HF_TOKEN": TOKEN} | environment))
    lines = told.split("upload tiny FAILED\n")[-1].strip().splitlines()
    assert 1 <= len(lines) <= 2, told
    return "\n".join(lines)


def written(hub: Hub) -> list[str]:
    """Requests that could change something."""
    return [line for line in hub.requests if not line.startswith(("GET ", "HEAD "))]


def matches(hub: Hub, project: Workspace, revision: str = "main") -> bool:
    """Whether the Hub has the built model, whole."""
    there = hub.files(TARGET, revision)
    return {name: there.get(name) for name in bytes_of(project)} == bytes_of(project)


@pytest.mark.parametrize("xet", [False, True], ids=["classic LFS", "xet-era pipeline"])
def test_a_model_its_card_its_recipe_and_its_lock_are_published_and_tagged(
    hub: Hub, project: Workspace, xet: bool
) -> None:
    hub.regular = xet
    told = upload(project, HF_HUB_DISABLE_XET="0" if xet else "1")
    (artifact,) = project.artifacts("quantize")
    manifest = json.loads((artifact / "manifest.json").read_text())
    there = hub.files(TARGET)
    assert {n: hashlib.sha256(there[n]).hexdigest() for n in manifest["files"]} == {
        n: fact["sha256"] for n, fact in manifest["files"].items()
    }
    assert there.keys() - manifest["files"].keys() == {
        "README.md", "tiny.yaml", "tiny.lock", ".gitattributes",
    }  # fmt: skip
    assert there["LICENSE"] == b"Apache License"
    lock = read_lock(project.root / "recipes" / "tiny.lock", project.root)
    assert lock and parse_lock(there["tiny.lock"], "tiny.lock") == lock
    front = yaml.safe_load(there["README.md"].decode().split("---")[1])
    assert front["base_model"] == REPO and front["license"] == "apache-2.0"
    assert hub.repositories[TARGET].private
    (commit, title), *_ = hub.commits(TARGET)
    digest = manifest["digest"]
    assert title == f"Model {digest[:12]} from tiny.yaml and tiny.lock"
    assert hub.tags(TARGET) == {f"mlxforge-{digest[:12]}": commit}
    assert f"published   {hub.endpoint}/{TARGET}" in told
    assert f"commit      {commit} on main, tag mlxforge-{digest[:12]}" in told


@pytest.mark.parametrize("xet", [False, True], ids=["classic LFS", "xet-era pipeline"])
def test_what_is_there_is_not_sent_again(hub: Hub, project: Workspace, xet: bool) -> None:
    hub.regular = xet
    environment = {"HF_HUB_DISABLE_XET": "0" if xet else "1"}
    upload(project, **environment)
    hub.requests.clear()
    hub.received.clear()
    assert "sent        nothing: all of it was there" in upload(project, **environment)
    assert not [line for line in written(hub) if "/tag/" not in line]
    assert len(hub.commits(TARGET)) == 2  # the Hub's own first one, and ours

    hub.received.clear()
    project.recipe("tiny", recipe() + "evaluate: {prompts: [hello], max_tokens: 1}\n")
    told = upload(project, **environment)
    assert "sent        3 files, " in told, told  # the card, the recipe and its lock
    assert matches(hub, project)
    weights = (project.cache / "models/tiny/model.safetensors").stat().st_size
    assert sum(hub.received.values()) < weights


def test_another_model_takes_the_place_of_the_first_one_and_of_its_shards(
    hub: Hub, project: Workspace
) -> None:
    upload(project)
    others = {"model-00002-of-00002.safetensors": b"old" * 100, "notes.md": b"mine"}
    hub.commit(TARGET, hub.files(TARGET) | others)
    project.recipe("tiny", recipe(bits=8))
    told = upload(project)
    assert "removed     model-00002-of-00002.safetensors" in told
    there = hub.files(TARGET)
    assert matches(hub, project) and there["notes.md"] == b"mine"
    assert "model-00002-of-00002.safetensors" not in there
    assert len(hub.tags(TARGET)) == 2


def test_what_a_loader_would_take_for_the_model_goes_and_nothing_else(
    hub: Hub, project: Workspace
) -> None:
    stale = {"chat_template.jinja": b"old", "tokenizer.model": b"old", "model-2.safetensors": b"o"}
    theirs = {"lora/adapter.safetensors": b"a", "adapters.safetensors": b"b", "notes.json": b"{}"}
    project.recipe("tiny", recipe(", private: false"))
    hub.commit(TARGET, stale | theirs)
    told = upload(project)
    assert "removed     chat_template.jinja, model-2.safetensors, tokenizer.model" in told
    there = hub.files(TARGET)
    assert theirs.items() <= there.items() and not stale.keys() & there.keys()
    assert matches(hub, project)


def test_the_source_itself_is_not_published_to(hub: Hub, project: Workspace) -> None:
    project.recipe("tiny", recipe(repo=REPO))
    told = project.refused("upload", "tiny", HF_TOKEN=TOKEN)
    assert "recipes/tiny.yaml:3:" in told and "upload.repo is the source itself" in told
    assert written(hub) == []


def test_two_recipes_are_not_published_to_one_place(hub: Hub, project: Workspace) -> None:
    project.recipe("other", recipe(bits=8))
    for name in ("tiny", "other"):
        told = project.refused("upload", name, HF_TOKEN=TOKEN)
        assert f"would both be published to {TARGET}" in told and f"recipes/{name}.yaml:3:" in told
    project.recipe("other", recipe(", branch: eight", bits=8))
    upload(project)


def test_a_damaged_store_is_not_published(hub: Hub, project: Workspace) -> None:
    weights = project.cache / "models/tiny/model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    told = refused(project)
    assert "model.safetensors is not what was built: the store is damaged" in told
    assert "doit verify" in told and set(hub.files(TARGET)) == {".gitattributes"}


def test_a_recipe_called_like_a_file_of_its_model_is_not_published(
    hub: Hub, project: Workspace, model: dict[str, bytes]
) -> None:
    hub.commit("acme/odd", model | {"tokenizer.yaml": b"a: 1"})
    project.recipe("tokenizer", recipe().replace(REPO, "acme/odd").replace(TARGET, "acme/odd-4"))
    told = project.refused("upload", "tokenizer", HF_TOKEN=TOKEN)
    assert "the model has a file tokenizer.yaml" in told
    assert project.doit("verify", "tokenizer").returncode == 0


def test_a_tag_follows_the_newest_commit_of_its_model(hub: Hub, project: Workspace) -> None:
    upload(project)
    project.recipe("tiny", recipe() + "evaluate: {prompts: [hello], max_tokens: 1}\n")
    upload(project)
    (commit, _), *_ = hub.commits(TARGET)
    assert list(hub.tags(TARGET).values()) == [commit]


def test_two_who_publish_at_once_do_not_mix_their_files(hub: Hub, project: Workspace) -> None:
    upload(project)
    project.recipe("tiny", recipe(bits=8))
    project.build("tiny")
    done = threading.Event()

    def interfere() -> None:
        """Somebody commits between our look at the branch and our commit."""
        while not done.wait(0.001):
            if any(line.startswith("PUT ") for line in list(hub.requests)):
                hub.commit(TARGET, hub.files(TARGET) | {"config.json": b"{}"})
                return

    hub.requests.clear()
    thread = threading.Thread(target=interfere)
    thread.start()
    upload(project)
    done.set()
    thread.join()
    assert len(hub.commits(TARGET)) == 4 and matches(hub, project)


def test_a_branch_and_a_public_repository(hub: Hub, project: Workspace) -> None:
    project.recipe("tiny", recipe(", private: false, branch: candidates"))
    upload(project)
    assert not hub.repositories[TARGET].private
    assert matches(hub, project, "candidates")
    assert set(hub.files(TARGET)) == {".gitattributes"}


def test_one_pull_request_is_opened_and_found_again(hub: Hub, project: Workspace) -> None:
    project.recipe("tiny", recipe(", pull_request: true"))
    told = upload(project)
    (request,) = hub.pull_requests(TARGET)
    assert f"published   {hub.endpoint}/{TARGET}/discussions/{request.number}" in told
    assert request.status == "open" and matches(hub, project, request.ref)
    assert set(hub.files(TARGET)) == {".gitattributes"} and hub.tags(TARGET) == {}
    assert "sent        nothing" in upload(project)
    assert len(hub.pull_requests(TARGET)) == 1

    request.status = "merged"
    hub.repositories[TARGET].names["main"] = hub.repositories[TARGET].names[request.ref]
    assert ", tag mlxforge-" in upload(project)
    assert len(hub.pull_requests(TARGET)) == 1


def test_a_pull_request_of_somebody_else_is_not_ours(hub: Hub, project: Workspace) -> None:
    project.recipe("tiny", recipe(", pull_request: true"))
    upload(project)
    (first,) = hub.pull_requests(TARGET)
    first.author = "mallory"
    upload(project)
    assert len(hub.pull_requests(TARGET)) == 2


def test_who_may_only_propose_proposes(hub: Hub, project: Workspace) -> None:
    hub.commit(TARGET, {"README.md": b"theirs"})
    hub.repositories[TARGET].readonly = True
    project.recipe("tiny", recipe(", pull_request: true, private: false"))
    told = upload(project)
    (request,) = hub.pull_requests(TARGET)
    assert matches(hub, project, request.ref)
    assert ("  draft  " in told) == (request.status == "draft")
    hub.repositories[TARGET].names["main"] = hub.repositories[TARGET].names[request.ref]
    assert "sent        nothing" in upload(project) and hub.tags(TARGET) == {}


def test_a_private_model_never_goes_to_a_public_repository(hub: Hub, project: Workspace) -> None:
    hub.commit(TARGET, {"README.md": b"public"})
    told = refused(project)
    assert f"{TARGET} is public, and the recipe says `private: true`" in told
    assert hub.files(TARGET) == {"README.md": b"public"}


def test_a_dry_run_shows_files_bytes_and_the_card_and_sends_nothing(
    hub: Hub, project: Workspace
) -> None:
    project.recipe("other", recipe(repo="acme/other"))
    assert "other has not been built" in project.refused("upload", "--dry-run", "other")
    told = upload(project, "--dry-run", HF_TOKEN="")
    assert f"would go to {TARGET} (private), main" in told
    size = (project.cache / "models/tiny/model.safetensors").stat().st_size
    assert re.search(rf"model\.safetensors +{size / 1000:.1f} kB  send", told)
    assert "library_name: mlx" in told
    assert written(hub) == [] and TARGET not in hub.repositories
    upload(project)
    offline = upload(project, "--dry-run", HF_HUB_OFFLINE="1")
    assert "the Hub was not reached: what is there is not known" in offline
    there = upload(project, "--dry-run")
    assert "would send  0 of " in there and "  is there" in there


def test_on_build_publishes_once_and_then_asks_nothing(hub: Hub, project: Workspace) -> None:
    project.recipe("tiny", recipe(", on_build: true"))
    done = project.doit("build", "tiny", HF_TOKEN=TOKEN)
    assert done.returncode == 0 and "published   " in done.stdout, done.stdout + done.stderr
    assert matches(hub, project)
    hub.requests.clear()
    assert "published" not in project.build("tiny")
    assert hub.requests == []


def test_on_build_publishes_again_after_a_failure(hub: Hub, project: Workspace) -> None:
    first = recipe(", on_build: true")
    project.recipe("tiny", first)
    assert project.doit("build", "tiny", HF_TOKEN=TOKEN).returncode == 0
    project.recipe("tiny", recipe(", on_build: true", bits=8))
    hub.misbehave(f"POST /api/models/{TARGET}/commit", "altering", path="model.safetensors")
    assert project.doit("build", "tiny", HF_TOKEN=TOKEN).returncode == 1
    project.recipe("tiny", first)
    done = project.doit("build", "tiny", HF_TOKEN=TOKEN)
    assert done.returncode == 0 and "published   " in done.stdout and matches(hub, project)


def test_on_build_without_a_token_fails_before_the_work(hub: Hub, project: Workspace) -> None:
    shutil.rmtree(project.cache)
    project.recipe("tiny", recipe(", on_build: true"))
    assert "publishing needs a token of the Hub" in project.refused("build", "tiny")
    assert project.artifacts("download") == []


def test_a_failed_upload_on_build_fails_the_build_and_keeps_the_model(
    hub: Hub, project: Workspace
) -> None:
    project.recipe("tiny", recipe(", on_build: true"))
    hub.misbehave("POST /api/repos/create", "status", None, status=403)
    done = project.doit("build", "tiny", HF_TOKEN=TOKEN)
    assert done.returncode == 1 and "upload tiny FAILED" in done.stderr
    assert len(project.artifacts("quantize")) == 1


def test_who_may_not_write_is_told_what_to_do(hub: Hub, project: Workspace) -> None:
    shutil.rmtree(project.cache)
    told = project.refused("upload", "tiny", HF_TOKEN="")
    assert "publishing needs a token of the Hub" in told and "hf auth login" in told
    assert project.artifacts("download") == []  # before hours of work, not after them
    project.build("tiny")
    for token in ("hf_wrong", TOKEN):
        if token == TOKEN:
            project.recipe("tiny", recipe(repo="somebody/tiny"))
        told = refused(project, HF_TOKEN=token)
        assert "does not let you write to" in told and "hf auth login" in told


def test_a_recipe_without_an_upload_is_told(hub: Hub, project: Workspace) -> None:
    project.recipe("tiny", f"source: {{repo: {REPO}}}\n")
    told = project.refused("upload", "tiny", HF_TOKEN=TOKEN)
    assert "tiny has no `upload`" in told and "upload: {repo: owner/name}" in told
    project.recipe("tiny", recipe(", pull_request: true, branch: dev"))
    told = project.refused("upload", "tiny", HF_TOKEN=TOKEN)
    assert "recipes/tiny.yaml:3:" in told and "a pull request goes to main, not to 'dev'" in told


def test_what_the_hub_says_is_passed_on(hub: Hub, project: Workspace) -> None:
    path = f"POST /api/models/{TARGET}/commit"
    hub.misbehave(path, "status", status=400, message="license is not valid")
    told = refused(project)
    assert told == f"the Hub answered {TARGET} with status 400: license is not valid"
    hub.misbehave(path, "status", status=403, message="storage limit reached")
    assert "status 403: storage limit reached" in refused(project)


@pytest.mark.parametrize("branch", ["refs/pr/1", "a..b", "-x", "0" * 40])
def test_a_branch_that_is_none_is_refused(hub: Hub, project: Workspace, branch: str) -> None:
    project.recipe("tiny", recipe(f", branch: '{branch}'"))
    assert "must be the name of a branch" in project.refused("upload", "tiny", HF_TOKEN=TOKEN)


def test_an_odd_patience_is_told(hub: Hub, project: Workspace) -> None:
    told = refused(project, MLXFORGE_HUB_TIMEOUT="2m")
    assert told.startswith("MLXFORGE_HUB_TIMEOUT is '2m', not a number of seconds")


def test_a_silent_hub_does_not_hold_up_a_lock(hub: Hub, project: Workspace) -> None:
    trouble = hub.misbehave(f"GET /api/models/{REPO}", "silent", None)
    told = project.refused("lock", "--check", "tiny", MLXFORGE_HUB_TIMEOUT="0.5")
    trouble.release()
    assert "cannot be reached" in told


@pytest.mark.parametrize("request_", ["POST /api/models/acme/tiny-4bit/commit", "PUT /"])
@pytest.mark.parametrize("kind", ["status", "cut", "lost"])
def test_what_passes_is_waited_for(hub: Hub, project: Workspace, request_: str, kind: Kind) -> None:
    trouble = hub.misbehave(request_, kind, retry_after=0)
    upload(project)
    assert trouble.met == 1 and matches(hub, project)
    assert len(hub.tags(TARGET)) == 1


def test_too_many_requests_are_waited_for_as_long_as_the_hub_says(
    hub: Hub, project: Workspace
) -> None:
    trouble = hub.misbehave(f"/api/models/{TARGET}", "status", 2, status=429, retry_after=1)
    upload(project)
    assert trouble.met == 2 and matches(hub, project)


def test_a_commit_whose_answer_never_comes_is_found_done(hub: Hub, project: Workspace) -> None:
    trouble = hub.misbehave(f"POST /api/models/{TARGET}/commit", "silent")
    told = upload(project, MLXFORGE_HUB_TIMEOUT="0.3")
    trouble.release()
    assert "sent        nothing" not in told and matches(hub, project)
    assert len(hub.commits(TARGET)) == 2


def test_a_hub_that_keeps_other_bytes_is_found_out_and_nothing_is_tagged(
    hub: Hub, project: Workspace
) -> None:
    hub.misbehave(f"POST /api/models/{TARGET}/commit", "altering", path="model.safetensors")
    told = refused(project)
    commit, _ = hub.commits(TARGET)[0]
    assert f"{TARGET} at {commit[:12]} does not have the files that were sent" in told
    assert "model.safetensors" in told and hub.tags(TARGET) == {}
    upload(project)
    assert matches(hub, project) and len(hub.tags(TARGET)) == 1


def test_a_branch_that_moves_right_after_our_commit_does_no_harm(
    hub: Hub, project: Workspace
) -> None:
    trouble = hub.misbehave(f"POST /api/models/{TARGET}/commit", "moving")
    upload(project)
    assert trouble.met == 1 and hub.tags(TARGET)
    (tagged,) = hub.tags(TARGET).values()
    assert matches(hub, project, tagged)


@pytest.mark.parametrize("line", [f"GET /api/models/{TARGET}", f"POST /api/models/{TARGET}/commit"])
def test_a_hub_that_falls_silent_is_given_up_in_one_line(
    hub: Hub, project: Workspace, line: str
) -> None:
    kind: Kind = "silent" if line.startswith("GET") else "stalled"
    trouble = hub.misbehave(line, kind, None)
    told = refused(project, MLXFORGE_HUB_TIMEOUT="0.2")
    assert "cannot be reached" in told and "upload again to go on" in told
    hub.ordered.clear()
    trouble.release()
    upload(project)
    assert matches(hub, project)


def test_whoever_has_recipe_and_lock_of_a_published_model_builds_the_same(
    hub: Hub, project: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(project)
    empty_cache(monkeypatch, tmp_path / "another-cache")
    stranger = Workspace(tmp_path / "stranger")
    for name in ("tiny.yaml", "tiny.lock"):
        (stranger.root / "recipes" / name).write_bytes(hub.files(TARGET)[name])
    stranger.build("tiny")
    assert digest_of(stranger) == digest_of(project)
    assert "tiny.lock holds" in stranger.doit("lock", "tiny").stdout


def test_no_folder_of_this_disk_is_published(
    hub: Hub, workspace: Workspace, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    text = tmp_path / "private" / "heldout.txt"
    text.parent.mkdir()
    text.write_text("A duck quacks. " * 400)
    workspace.recipe(
        "tiny",
        f"source: {{path: {tiny()}}}\nevaluate: {{text: {{path: {text}}}, samples: 1, "
        f"sequence_length: 32}}\nupload: {{repo: {TARGET}}}\n",
    )
    assert workspace.doit("lock", "tiny").returncode == 0
    upload(workspace)
    assert b'"./heldout.txt": {size: ' in hub.files(TARGET)["tiny.lock"]
    for name, content in hub.files(TARGET).items():
        assert str(tmp_path).encode() not in content, name
        assert str(tiny().parent).encode() not in content, name


def test_two_texts_of_one_name_are_published_as_two(
    hub: Hub, workspace: Workspace, tiny: Callable[..., Path]
) -> None:
    for name, words in (("a", "one two three "), ("b", "four five six ")):
        (workspace.root / "recipes" / name).mkdir()
        (workspace.root / "recipes" / name / "text.txt").write_text(words * 400)
    workspace.recipe(
        "tiny",
        f"source: {{path: {tiny()}}}\nquantize: {{scales: search}}\n"
        f"calibrate: {{text: {{path: a/text.txt}}, samples: 2, sequence_length: 32}}\n"
        f"evaluate: {{text: {{path: b/text.txt}}, samples: 1, sequence_length: 32}}\n"
        f"upload: {{repo: {TARGET}}}\n",
    )
    assert workspace.doit("lock", "tiny").returncode == 0
    upload(workspace)
    there = hub.files(TARGET)
    for name in ("calibrate-text.txt", "evaluate-text.txt"):
        assert f"path: {name}" in there["tiny.yaml"].decode()
        assert f'"./{name}": {{size: ' in there["tiny.lock"].decode()


@pytest.mark.parametrize("given", ["by the environment", "by a login"])
def test_the_token_is_written_nowhere_and_no_command_line_shows_it(
    hub: Hub, project: Workspace, tmp_path: Path, given: str
) -> None:
    login = tmp_path / "hf-home" / "token"
    environment = {"HF_TOKEN": TOKEN} if given == "by the environment" else {}
    if not environment:
        login.write_text(TOKEN)
    hub.bytes_per_second = 100_000
    mark = uuid.uuid4().hex
    running = subprocess.Popen(
        [str(DOIT), "upload", "tiny"], cwd=project.root, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=os.environ | environment | {"MLXFORGE_TEST_MARK": mark},
    )  # fmt: skip
    seen: set[bytes] = set()
    while running.poll() is None:
        for pid in marked(mark) if sys.platform == "linux" else []:
            try:
                seen.add(Path(f"/proc/{pid}/cmdline").read_bytes())
            except OSError:
                continue
    out, told = running.communicate()
    assert running.returncode == 0 and len(seen) >= 2
    assert not [line for line in (*seen, out, told) if TOKEN.encode() in line]
    failed = project.doit("upload", "tiny", HF_TOKEN="hf_wrongButSecretAllTheSame")
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path != login]
    assert {path.suffix for path in files} >= {".lock", ".log", ".json", ".safetensors"}
    for secret in (TOKEN, "hf_wrongButSecretAllTheSame"):
        assert [path for path in files if secret.encode() in path.read_bytes()] == []
        assert secret not in failed.stdout + failed.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_steps_that_do_not_talk_to_the_hub_have_no_token(
    hub: Hub, project: Workspace, tmp_path: Path
) -> None:
    shutil.rmtree(project.cache)
    mark = uuid.uuid4().hex
    running = subprocess.Popen(
        [str(DOIT), "build", "tiny"], cwd=project.root, stderr=subprocess.DEVNULL,
        env=os.environ | {"HF_TOKEN": TOKEN, "MLXFORGE_TEST_MARK": mark},
    )  # fmt: skip
    wait_for(lambda: list((project.cache / "logs").glob("quantize-*")), "the quantize step")
    (step,) = wait_for(lambda: started_by(running, mark), "its process")
    assert TOKEN.encode() not in Path(f"/proc/{step}/environ").read_bytes()
    assert running.wait() == 0


def test_a_store_that_was_removed_leaves_a_published_model_as_it_is(
    hub: Hub, project: Workspace
) -> None:
    upload(project)
    shutil.rmtree(project.cache)
    assert "sent        nothing" in upload(project)
