"""mlxforge: a build system for quantized MLX models."""

from __future__ import annotations

__version__ = "0.1.0"
