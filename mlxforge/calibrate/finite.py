"""Inputs that are no numbers, refused by the name of the layer that is given them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mlxforge.errors import ForgeError

__all__ = ["OVERFLOWS", "check_inputs"]

OVERFLOWS = "the source overflows: is its dtype float16, or a weight broken?"


def check_inputs(path: str, sums: npt.NDArray[np.floating]) -> None:
    """Raise ForgeError where ``sums`` over what comes into the layer at ``path`` are not finite."""
    if not np.isfinite(sums.sum()):
        raise ForgeError(
            f"the inputs of {path} are not finite over the calibration tokens", OVERFLOWS
        )
