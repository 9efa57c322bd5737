"""A model run one block at a time over many waves of tokens, whatever its architecture.

The model's own code runs, from the embeddings on, for every block of every wave: the blocks before
it give back what they gave the first time, and after it the run is ended. So masks, positions
and whatever else the model hands to its blocks are its own, and only one block's weights are
needed at a time. Whether a model can be run so, is tried: where the outputs are not the same as
those of one run through all of it, all its blocks together are one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from mlxforge.models.exchanged import called_as
from mlxforge.models.scoring.split import find_body

__all__ = ["PROBE", "Blocks", "find_blocks"]

PROBE = 16  # tokens on which blocks are tried


class _Reached(Exception):
    """A block has given its output, and what comes after it need not run."""


class Blocks:
    """The blocks of ``model``, in order; ``whole`` says that they can only be run together, as
    one. ``paths`` are where they lie, by name."""

    def __init__(self, model: nn.Module, probe: mx.array) -> None:
        self._model = model
        found = find_blocks(model)
        self.whole = not (found and _apart(model, [block for _, block in found], probe))
        self._blocks = [] if self.whole else [block for _, block in found]
        self.paths = [""] if self.whole else [path for path, _ in found]

    def __len__(self) -> int:
        return len(self.paths)

    def module(self, index: int) -> nn.Module | None:
        """Block ``index``, of those that can be run apart."""
        return self._blocks[index] if index < len(self._blocks) else None

    def run(self, index: int, tokens: mx.array, before: Any) -> Any:
        """What block ``index`` makes of ``tokens``, where the block before it gave ``before``;
        behind the last block the logits, where it gave that."""
        with self.opened(index) as run:
            return run(tokens, before)

    @contextmanager
    def opened(self, index: int) -> Iterator[Callable[[mx.array, Any], Any]]:
        """``run`` for many waves, by several threads if need be."""
        if self.whole:
            yield lambda tokens, _: self._model(tokens)
        else:
            with _opened(self._model, self._blocks, index) as run:
                yield run


def find_blocks(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The longest list of modules in the body of ``model``, with their paths in it."""
    body = find_body(model)
    holder = model if body is None else body
    lists = [(name, value) for name, value in holder.items() if _modules(value)]
    if not lists:
        return []
    name, blocks = max(lists, key=lambda entry: len(entry[1]))
    prefix = next(path for path, module in model.named_modules() if module is holder)
    start = f"{prefix}.{name}" if prefix else name
    return [(f"{start}.{number}", block) for number, block in enumerate(blocks)]


def _modules(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, nn.Module) for entry in value)


@contextmanager
def _opened(
    model: nn.Module, blocks: Sequence[nn.Module], index: int
) -> Iterator[Callable[[mx.array, Any], Any]]:
    own = threading.local()

    def given(*_: Any, **__: Any) -> Any:
        return own.before

    def last(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        own.found = type(self).__mro__[1].__call__(self, *args, **kwargs)
        raise _Reached

    def run(tokens: mx.array, before: Any) -> Any:
        own.before = before
        try:
            after = model(tokens)
        except _Reached:
            return vars(own).pop("found")
        finally:
            del own.before
        if index < len(blocks):
            raise RuntimeError("the block was not run")
        return after

    with ExitStack() as stack:
        for block in blocks[:index]:
            stack.enter_context(called_as(block, given))
        if index < len(blocks):
            stack.enter_context(called_as(blocks[index], last))
        yield run


def _apart(model: nn.Module, blocks: Sequence[nn.Module], probe: mx.array) -> bool:
    """Whether the blocks, run one by one on ``probe``, give what they give in one run."""
    plain: list[Any] = []

    def noted(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        plain.append(type(self).__mro__[1].__call__(self, *args, **kwargs))
        return plain[-1]

    try:
        with ExitStack() as stack:
            for block in blocks[:-1]:
                stack.enter_context(called_as(block, noted))
            stack.enter_context(called_as(blocks[-1], _ending(noted)))
            with suppress(_Reached):
                model(probe)
        before = None
        for index in range(len(blocks)):
            with _opened(model, blocks, index) as run:
                before = run(probe, before)
            if not _same(before, plain[index]):
                return False
    except (OSError, MemoryError):
        raise
    except Exception:  # an architecture that does not work this way, in whatever way
        return False
    return len(plain) == len(blocks)


def _ending(noted: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        noted(self, *args, **kwargs)
        raise _Reached

    return call


def _same(one: Any, other: Any) -> bool:
    mine, theirs = tree_flatten(one), tree_flatten(other)
    arrays = zip(mine, theirs, strict=True) if len(mine) == len(theirs) else None
    return arrays is not None and all(
        bool(mx.array_equal(a, b, equal_nan=True))  # a source may overflow
        for (_, a), (_, b) in arrays
        if isinstance(a, mx.array)
    )
