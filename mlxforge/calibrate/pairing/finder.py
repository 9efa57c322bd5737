"""Which layers of a model can hand a scale to which others: found by trying, block by block.

Nothing is known of the architecture. Every norm and every projection is a candidate; what reads it
is told by two runs of its block over random numbers, in which its channels are multiplied by the
digits of their own number (see mlxforge.calibrate.pairing.trial), and all pairs of a block are
proven together in a third, with other factors. Blocks of the same shape as one before are only
proven.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlxforge.calibrate.blocks import Blocks, find_blocks
from mlxforge.calibrate.pairing.readers import Bench, channels_of, is_proven, readers_of, rows_alone
from mlxforge.calibrate.pairing.standins import Watch, experts_of, is_projection, stand_in
from mlxforge.calibrate.pairing.trial import Changed
from mlxforge.models.layers.pairs import FROM_ONE, ROWS, WEIGHT, Pair, Pairs, ranges_of
from mlxforge.models.scoring.language import as_text_model
from mlxforge.models.source.load import load_source

__all__ = ["find_pairs", "pairs_of"]

TOKENS = 32
NUMBERS = 64  # different tokens


def pairs_of(source: Path) -> Pairs:
    """Of the model in ``source``, a folder of weights or of heads. No weight is read.

    None of a model whose code does not run on random numbers; the log tells why.
    """
    model = load_source(source).model
    try:
        return find_pairs(model)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # an architecture that does not work this way, in whatever way
        traceback.print_exc()
        return Pairs((), {"all of the model": f"it does not run on random numbers: {error}"})


def find_pairs(model: nn.Module) -> Pairs:
    """``model`` has no weights that are worth keeping: stand-ins take their place.

    Of what is in no pair, only the norms are told, and why.
    """
    return _Finder(model).find()


@dataclass(frozen=True)
class _Place:
    """A part of the model that is run by itself, and the paths of the blocks in it, each with the
    candidates below it."""

    bench: Bench
    units: Mapping[str, list[str]]


class _Finder:
    def __init__(self, model: nn.Module) -> None:
        self._watch = [Watch()]
        stand_in(model, lambda: self._watch[0])
        self._text = as_text_model(model)
        self._modules = dict(model.named_modules())
        self._language = {id(module) for _, module in self._text.named_modules()}
        self._paths = {id(module): path for path, module in reversed(self._modules.items())}
        self._known: dict[Hashable, tuple[list[Pair], dict[str, str]]] = {}

    def find(self) -> Pairs:
        pairs: list[Pair] = []
        without: dict[str, str] = {}
        for place in self._places():
            found: list[Pair] = []
            for prefix, candidates in place.units.items():
                mine, reasons = self._search(place.bench, prefix, candidates)
                found += mine
                without |= reasons
            kept = _proven(place.bench, found)
            left = {pair.scaler for pair in found} - {pair.scaler for pair in kept}
            without |= dict.fromkeys(sorted(left), "the model's outputs change")
            pairs += kept
        return Pairs(tuple(pairs), without)

    def _places(self) -> Iterator[_Place]:
        many = mx.random.randint(0, NUMBERS, (1, TOKENS), key=mx.random.key(5))
        texts = (many, many[:, :1])
        found = {self._paths[id(block)]: block for _, block in find_blocks(self._text)}
        blocks = Blocks(self._text, many)
        rest = [path for path in self._candidates("") if not _inside(path, found)]
        units = {path: self._candidates(path) for path in found}
        if blocks.whole:
            run = self._bench(lambda text: blocks.run(0, texts[text], None))
            yield _Place(run, units | {"": rest})
            return
        states: list[Any] = [None, None]
        for index, path in enumerate([*found, ""]):
            bench = self._bench(
                lambda text, index=index, states=states: (
                    blocks.run(index, texts[text], states[text])
                )
            )  # fmt: skip
            yield _Place(bench, {path: units.get(path, rest)})
            states = [bench.plain(text)[1] for text in range(len(texts))]

    def _bench(self, run: Any) -> Bench:
        return Bench(run, self._watch, self._modules)

    def _candidates(self, prefix: str) -> list[str]:
        """Norms and projections of the language side at or below ``prefix``, norms first."""
        inside = [
            path
            for path, module in self._modules.items()
            if id(module) in self._language and (not prefix or path.startswith(f"{prefix}."))
        ]
        norms = [path for path in inside if _is_norm(self._modules[path])]
        return norms + [path for path in inside if is_projection(self._modules[path])]

    def _search(
        self, bench: Bench, prefix: str, candidates: list[str]
    ) -> tuple[list[Pair], dict[str, str]]:
        """The pairs of a block, not yet proven, and the norms that are in none."""
        start = f"{prefix}." if prefix else ""
        shape = tuple(self._shape(path, start) for path in candidates)
        if shape in self._known:
            pairs, without = self._known[shape]
            here = [_renamed(pair, lambda path: start + path) for pair in pairs]
            if is_proven(bench, here):
                return here, {start + path: reason for path, reason in without.items()}
        pairs, without = self._tried(bench, candidates)
        self._known[shape] = (
            [_renamed(pair, lambda path: path.removeprefix(start)) for pair in pairs],
            {path.removeprefix(start): reason for path, reason in without.items()},
        )
        return pairs, without

    def _shape(self, path: str, start: str) -> Hashable:
        module = self._modules[path]
        return path.removeprefix(start), type(module).__name__, module["weight"].shape

    def _tried(self, bench: Bench, candidates: list[str]) -> tuple[list[Pair], dict[str, str]]:
        used = {path for path, _ in bench.plain()[0].inputs}
        pairs: list[Pair] = []
        without: dict[str, str] = {}
        taken: set[str] = set()
        for path in candidates:
            if is_projection(self._modules[path]) and path not in used:
                continue
            readers, kind, reason = self._readers(bench, path)
            if readers and not taken & readers.keys():
                taken |= readers.keys()
                pairs.append(self._pair(path, kind, readers))
            elif kind != ROWS and reason:
                without[path] = reason
        return pairs, without

    def _readers(self, bench: Bench, path: str) -> tuple[dict[str, np.ndarray], str, str]:
        """The readers of a candidate, none where it cannot be scaled, then also the reason."""
        reason = ""
        for kind, rows in self._ways(bench, path):
            try:
                return readers_of(bench, path, kind, rows), kind, ""
            except Changed as why:
                reason = reason or str(why)
        return {}, kind, reason

    def _ways(self, bench: Bench, path: str) -> Iterator[tuple[str, np.ndarray]]:
        """How the candidate may be scaled: of projections, several of which may be one, all rows,
        a half, a third, or those that attention hands on."""
        module = self._modules[path]
        rows = np.arange(channels_of(module))
        if not is_projection(module):
            yield from ((WEIGHT, rows), (FROM_ONE, rows))
            return
        yield ROWS, rows
        for parts in (2, 3):
            if len(rows) % parts == 0:
                yield from ((ROWS, part) for part in np.split(rows, parts)[::-1])
        alone = rows_alone(bench, path)
        if 0 < len(alone) < len(rows):
            yield ROWS, alone

    def _pair(self, path: str, kind: str, readers: Mapping[str, np.ndarray]) -> Pair:
        counts = {experts_of(self._modules[name]) for name in (path, *readers)}
        found = {name: ranges_of(channels) for name, channels in readers.items()}
        return Pair(path, kind, counts.pop() if len(counts) == 1 else 0, found)


def _proven(bench: Bench, pairs: list[Pair]) -> list[Pair]:
    """``pairs`` if all hold together, else those that hold alone; where experts cannot have
    scales of their own, with one for all."""
    if is_proven(bench, pairs):
        return pairs
    either = ([pair, replace(pair, experts=0)] if pair.experts else [pair] for pair in pairs)
    found = (next((one for one in ways if is_proven(bench, [one])), None) for ways in either)
    return [pair for pair in found if pair is not None]


def _renamed(pair: Pair, name: Callable[[str], str]) -> Pair:
    readers = {name(path): ranges for path, ranges in pair.readers.items()}
    return replace(pair, scaler=name(pair.scaler), readers=readers)


def _is_norm(module: nn.Module) -> bool:
    weight = module.get("weight")
    return isinstance(weight, mx.array) and weight.ndim == 1 and not module.children()


def _inside(path: str, blocks: Mapping[str, Any]) -> bool:
    return any(path.startswith(f"{block}.") for block in blocks)
