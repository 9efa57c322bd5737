"""README's table of architectures: ``python -m tests.models.architectures_table`` prints it."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version

from tests.checkpoints import PLAIN
from tests.checkpoints.hybrid import HYBRID
from tests.checkpoints.vision import VISION
from tests.models.reviewed import IN_PART
from tests.models.walk import PACKAGES, Verdict, walk

__all__ = ["markdown", "versions"]

PACKED = ("gpt_oss",)
"""Tested as they are released, with packed experts."""

VARIATIONS = ("granitemoehybrid_dense",)
"""Checkpoints of a model type that is there already."""

TESTED = {"mlx_lm": {*PLAIN, *HYBRID, *PACKED} - {*VARIATIONS}, "mlx_vlm": {*VISION}}


def versions() -> str:
    """The versions that a table is of; others may have other types."""
    return " and ".join(f"{name} {version(name)}" for name in ("mlx-lm", "mlx-vlm"))


def markdown(verdicts: Iterable[Verdict]) -> str:
    """A row for each verdict of each library. A type that both know stands where its models are
    made: in mlx_vlm where its model there sees or hears, else in mlx_lm."""
    found = list(verdicts)
    seeing = {entry.name for entry in found if entry.senses}
    texts = {_plain(entry.name) for entry in found if entry.package == "mlx_lm"}
    rows: dict[tuple[str, str], list[str]] = {("tested", name): [*TESTED[name]] for name in TESTED}
    for entry in found:
        if entry.name not in TESTED[entry.package] and _makes(entry, seeing, texts):
            rows.setdefault((_word(entry), entry.package), []).append(_name(entry))
    lines = [
        f"| {word} | {package} | {len(names)}: {_listed(names)} |"
        for (word, package), names in sorted(rows.items(), key=_place)
    ]
    head = ["| | made by | model types |", "| --- | --- | --- |"]
    return "\n".join([*head, *lines, "", f"Of {versions()}.", ""])


def _listed(names: list[str]) -> str:
    return (", " if not any("(" in name for name in names) else "; ").join(
        sorted(names, key=str.lower)
    )


def _makes(entry: Verdict, seeing: set[str], texts: set[str]) -> bool:
    if entry.package == "mlx_lm":
        return entry.name not in seeing
    return entry.senses or _plain(entry.name) not in texts


def _plain(name: str) -> str:
    """Both libraries' names of a type: Klear is klear, nemotron-nas is nemotron_nas."""
    return name.lower().replace("-", "_")


def _word(entry: Verdict) -> str:
    if entry.refused is not None:
        return f"refused: {entry.refused}"
    return "resolve" if entry.resolves else "resolve in part"


def _name(entry: Verdict) -> str:
    unresolved = IN_PART.get((entry.package, entry.name), ", ".join(entry.other))
    return f"{entry.name} (not {unresolved})" if entry.other else entry.name


def _place(row: tuple[tuple[str, str], list[str]]) -> tuple[int, str, str]:
    (word, package), _ = row
    order = ("tested", "resolve", "resolve in part")
    return order.index(word) if word in order else len(order), word, package


if __name__ == "__main__":
    print(markdown(entry for package in PACKAGES for entry in walk(package)), end="")
