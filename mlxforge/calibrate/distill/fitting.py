"""What training a whole model at once takes of the memory, told before it begins."""

from __future__ import annotations

from mlxforge.calibrate.distill.divergence import LOGIT_BYTES
from mlxforge.calibrate.distill.flows import flowing
from mlxforge.calibrate.distill.pair import Pair
from mlxforge.errors import ForgeError
from mlxforge.units import readable_bytes

__all__ = ["check_fits", "needed_bytes"]

PER_WEIGHT = 1  # its code
PER_GROUP = 4 * (2 * 5 + 4 + 6)  # two parameters with gradient, moments and best; grid; anchor
DECODED = 3  # float32 copies of the largest stage: its weights, their gradient, one in the making
WITHIN = 24  # arrays like the states that a block goes back through
LOGITS = 4  # arrays like one piece of them
BETWEEN = 2  # arrays like the inputs and outputs of each layer


def check_fits(pair: Pair, free: int) -> None:
    """ForgeError where training all of ``pair`` at once takes more than the ``free`` bytes."""
    needed = needed_bytes(pair)
    if needed <= free:
        return
    sizes = f"takes about {readable_bytes(needed)} of memory, and {readable_bytes(free)} are free"
    if pair.whole:
        raise ForgeError(
            f"dwq of a model whose blocks cannot be run one by one {sizes}",
            "use method: gptq without refine, or a smaller sequence_length",
            key="method",
        )
    raise ForgeError(
        f"dwq with scope: model {sizes}",
        "use scope: blocks, which takes one block at a time, or a smaller batch_size",
        key="scope",
    )


def needed_bytes(pair: Pair) -> int:
    sizes, groups, widths = [], 0, 0
    for stage in pair.stages:
        matrices = [pair.modules[path]._matrix for path in stage.paths]
        sizes.append(sum(matrix.rows * matrix.columns for matrix in matrices))
        groups += sum(matrix.scales.rows * matrix.scales.columns for matrix in matrices)
        widths += sum(matrix.shape[-2] + matrix.columns for matrix in matrices)
    tokens = pair.batches.tokens
    one = pair.source.run(0, tokens[0][:1, :1], None)
    token = sum(value.nbytes for value in flowing(one))
    weights = PER_WEIGHT * sum(sizes) + PER_GROUP * groups
    batch = max(part.size for part in tokens)
    lane = DECODED * 4 * max(sizes, default=0)
    if pair.whole:  # what goes in and out of each layer, until the gradient has come back
        part = max(found.size for at in range(len(tokens)) for _, found, _ in pair.parts(at))
        lane += part * (LOGITS * token + BETWEEN * 4 * widths)
        return int(weights + pair.lanes.count * lane)
    states = token * (sum(part.size for part in tokens) + batch * (len(pair.stages) + WITHIN))
    return int(weights + states + pair.lanes.count * (lane + LOGITS * LOGIT_BYTES))
