"""Who we are on the Hub."""

from __future__ import annotations

from huggingface_hub import get_token

from mlxforge.errors import ForgeError

__all__ = ["check_token"]


def check_token() -> None:
    """Raises ForgeError where there is no token to write with; what it may do, the Hub says."""
    if not get_token():
        raise ForgeError(
            "publishing needs a token of the Hub", "run `hf auth login`, or set HF_TOKEN"
        )
