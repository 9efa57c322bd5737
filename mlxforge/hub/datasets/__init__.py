"""Data sets on the Hub: which parquet files are a split, found without downloading any."""

from mlxforge.hub.datasets.resolve import FoundText, look, resolve_text

__all__ = ["FoundText", "look", "resolve_text"]
