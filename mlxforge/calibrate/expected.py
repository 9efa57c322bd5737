"""How large what comes into a layer is expected to be, without any text: as its norm makes it.

What a norm gives out has a mean square of w^2 in each channel, w being its weight, if its inputs
are alike in all of them. So the columns of the projections that read a norm matter as its weights
say; nothing is known of those that read something else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import mlx.core as mx
import numpy as np

from mlxforge.calibrate.statistics import as_both_uses
from mlxforge.models.layers.inspection import Inspection
from mlxforge.models.layers.pairs import FROM_ONE, OTHER, ROWS, Pairs
from mlxforge.models.streaming.tensors import rows_of
from mlxforge.quantize.importance import Importance
from mlxforge.recipe.methods import FEWEST_TOKENS

__all__ = ["expected_importances"]


def expected_importances(
    pairs: Pairs, source: Path, inspection: Inspection
) -> Mapping[str, Importance]:
    """By path, of the layers that read a norm and nothing else, and of embeddings that read one as
    the head."""
    kinds = Counter(pair.kind for pair in pairs.pairs if pair.kind != ROWS)
    found = {}
    with rows_of(source, inspection.parameters()) as rows:

        def squares(norm: str, kind: str) -> np.ndarray:
            weight = rows[f"{norm}.weight"].read_all().astype(mx.float32)
            given: np.ndarray = np.square(np.array(weight) + (kind == FROM_ONE))
            return given

        for pair in pairs.pairs:
            if pair.kind != ROWS:
                given = squares(pair.scaler, pair.kind)
                for reader in pair.readers:
                    channels = pair.channels(reader)
                    if not (channels == OTHER).any():
                        found[reader] = _importance(given[channels])
        for norm, head in pairs.heads.items() if kinds else ():
            given = squares(norm, kinds.most_common(1)[0][0])
            found[head] = _importance(as_both_uses(given))
    return found


def _importance(columns: np.ndarray) -> Importance:
    return Importance(columns.astype(np.float32), np.array(FEWEST_TOKENS))
