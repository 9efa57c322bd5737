"""What a recipe wants of its source besides what every build reads: ``files``, ``remote_code``.

Files are asked for by globs, and are data: whatever a glob covers, it takes neither code nor
pickles nor weights, and nothing that a build writes itself. Code is asked for file by file, by its
exact name, so that whoever reads the recipe sees all that may run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from mlxforge.errors import ForgeError, Position, did_you_mean
from mlxforge.recipe.draft import Draft
from mlxforge.recipe.words import quoted

__all__ = ["NOTHING", "Further", "check_there", "further_of", "is_code", "is_pickled"]

CODE = (".py", ".pyc", ".pyd", ".so", ".dylib", ".dll", ".sh")
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
WEIGHTS = (".safetensors", ".gguf", ".h5", ".msgpack", ".onnx", ".npz", ".tflite")
OURS = ("config.json", "*.index.json", "hf_quant_config.json", "mlxforge.json", "readme.md", ".*")
"""What a model folder has of its own, and what belongs to a repository and not to its model."""


@dataclass(frozen=True)
class Further:
    """``files`` are globs, ``remote_code`` exact names; all of the source's top folder."""

    files: tuple[str, ...] = ()
    remote_code: tuple[str, ...] = ()

    def takes(self, name: str) -> bool:
        """Whether the recipe wants the source's file of this name."""
        return name in self.remote_code or any(_covers(glob, name) for glob in self.files)

    def __bool__(self) -> bool:
        return bool(self.files or self.remote_code)

    def __str__(self) -> str:
        said = {"files": self.files, "remote_code": self.remote_code}
        return "; ".join(f"{key}: {', '.join(names)}" for key, names in said.items() if names)


NOTHING = Further()


def is_code(name: str) -> bool:
    return name.lower().endswith(CODE)


def is_pickled(name: str) -> bool:
    return name.lower().endswith(PICKLED)


def _covers(glob: str, name: str) -> bool:
    apart = name.lower().endswith((*CODE, *PICKLED, *WEIGHTS))
    ours = any(fnmatchcase(name.lower(), own) for own in OURS)
    return not apart and not ours and fnmatchcase(name, glob)


def further_of(draft: Draft) -> Further:
    """The two keys of a recipe's ``source``; ForgeError for a glob that could only match what is
    never taken."""
    values = draft.document["source"]
    for number, glob in enumerate(values["files"]):
        if refusal := _refusal(glob):
            what, hint = refusal
            message = f"source.files[{number}] is {quoted(glob)}: {what}"
            raise ForgeError(message, hint, draft.at("source", "files", number))
    return Further(tuple(values["files"]), tuple(values["remote_code"]))


def _refusal(glob: str) -> tuple[str, str] | None:
    if is_code(glob):
        return "code is not taken by a pattern", "name it in source.remote_code: [NAME.py]"
    if is_pickled(glob):
        return "pickles are not taken, unpickling runs code", "convert it to safetensors or JSON"
    if glob.lower().endswith(WEIGHTS):
        return "further weights are not taken", "a build reads model*.safetensors"
    return None


def check_there(
    further: Further,
    names: Collection[str],
    positions: Mapping[tuple[str | int, ...], Position],
    source: str,
) -> None:
    """Raises ForgeError for a glob that takes none of the source's files ``names``, and for code
    that is not among them."""
    for number, glob in enumerate(further.files):
        if not any(_covers(glob, name) for name in names):
            raise ForgeError(
                f"source.files[{number}] {quoted(glob)} takes no file of {source}",
                "code, pickles, weights, config.json and the card are never taken",
                positions.get(("source", "files", number)),
            )
    for number, name in enumerate(further.remote_code):
        if name not in names:
            raise ForgeError(
                f"source.remote_code[{number}] {quoted(name)} is not in {source}",
                did_you_mean(name, sorted(filter(is_code, names)))
                or "the exact name of a file in its top folder",
                positions.get(("source", "remote_code", number)),
            )
