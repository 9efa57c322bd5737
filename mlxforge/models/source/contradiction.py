"""Why config.json and the tensors make no model, in a line or two."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlxforge.errors import ForgeError
from mlxforge.models.source.comparison import Comparison, Files, compare
from mlxforge.models.source.remedy import Change, changes_of_count, changes_that_fit
from mlxforge.models.streaming.tensors import placeholders

__all__ = ["contradiction"]

NAMED = 3  # tensors
OFFERED = 3  # fields


def contradiction(folder: Path, config: Mapping[str, Any]) -> ForgeError | None:
    """What is wrong with a source on which its loader failed; None where only the loader's own
    words tell it. No weight is read."""
    kind = config["model_type"]
    files = placeholders(folder)
    try:
        found = compare(folder, files)
    except TypeError as failure:
        return _lacking_field(folder, kind, failure)
    except KeyError as failure:
        return _lacking_tensor(folder, config, files, failure)
    except Exception:
        return None
    if not found.differences:
        return None
    changes = changes_that_fit(folder, config, files, found)
    if found.missing or found.extra:
        return ForgeError(f"{folder} {_lacks_and_has(found, kind)}", _hint(changes, found))
    name, *others = found.unequal
    more = f", and so on for {len(others):,} more" if others else ""
    return ForgeError(
        f"{folder}: {name} is {_shape(found.held[name])} in the files, and config.json makes it "
        f"{_shape(found.expected[name])}{more}",
        _offer(changes) or "compare the sizes in config.json with the tensors' shapes",
    )


def _lacks_and_has(found: Comparison, kind: str) -> str:
    said = []
    if found.missing:
        said.append(f"lacks {_named(found.missing)}")
    if found.extra:
        said.append(f"has {_named(found.extra)}, for which a {kind} model has no place")
    return ", and ".join(said)


def _hint(changes: Sequence[Change], found: Comparison) -> str:
    if offer := _offer(changes):
        return offer
    for name in found.missing:
        for other in found.extra:
            if other.endswith(f".{name}") or name.endswith(f".{other}"):
                return f"{other} may be {name} under another name: is model_type the right one?"
    if not found.extra:
        return "get all files of the source again; is model_type the right one?"
    if found.missing:
        return "are model_type and config.json those of these files?"
    return "save the files without what is left over, or correct config.json"


def _offer(changes: Sequence[Change]) -> str | None:
    if not changes:
        return None
    offered = " or ".join(map(str, changes[:OFFERED]))
    return f"config.json would fit with {offered}"


def _lacking_field(folder: Path, kind: str, error: TypeError) -> ForgeError | None:
    told = str(error)
    if "missing" not in told or not (names := re.findall(r"'(\w+)'", told)):
        return None
    return ForgeError(
        f"{folder}: config.json has no {', no '.join(names[:NAMED])}, which a {kind} model needs",
        "get config.json again; is its model_type the right one?",
    )


def _lacking_tensor(
    folder: Path, config: Mapping[str, Any], files: Files, error: KeyError
) -> ForgeError | None:
    name = str(error.args[0]) if error.args else ""
    if "." not in name or any(name in tensors for tensors in files.values()):
        return None
    return ForgeError(
        f"{folder} lacks the tensor {name}, which config.json demands of a "
        f"{config['model_type']} model",
        _offer(changes_of_count(folder, config, files, name))
        or "get all files of the source again",
    )


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    tensors = "tensor" if len(names) == 1 else "tensors"
    return f"{len(names):,} {tensors} ({', '.join(names[:NAMED])}{more})"


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"
