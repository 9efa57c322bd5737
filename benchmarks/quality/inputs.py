"""The trained model, a rescaled twin of it, and texts of several kinds."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.inputs.smollm2 import SMOLLM2
from tests.real.smollm2 import fetch

__all__ = ["KINDS", "TEXTS", "Rescaled", "Texts"]

if TYPE_CHECKING:
    import mlx.core as mx

KINDS = ("code", "technical", "multilingual", "tiny")
"""Kinds of text that nobody calibrates on; ``tiny`` are stories for children."""

ROTARY_HALF = 32


@dataclass(frozen=True)
class Texts:
    """``calibration.txt``, half articles and half web pages, and a file for each of KINDS."""

    name: str = "quality-texts"
    size: int = 1_700_000
    wheel: str = "exllamav2==0.3.2"
    inside: str = "exllamav2/conversion/standard_cal_data"
    half: int = 330_000  # characters

    def make(self, folder: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch, fetch(self.wheel, Path(scratch)) as wheel:
            for kind in ("wiki", "c4", *KINDS):
                text = wheel.read(f"{self.inside}/{kind}.utf8").decode()
                (folder / f"{kind}.txt").write_text(text)
        halves = [(folder / f"{kind}.txt").read_text()[: self.half] for kind in ("wiki", "c4")]
        (folder / "calibration.txt").write_text("\n".join(halves))


@dataclass(frozen=True)
class Rescaled:
    """The same function as SMOLLM2 by other weights: what was on a 4-bit grid is on none.

    Norm weights against the projections that read them, rows of up against columns of down, v
    against o, and k against q within rotary pairs, each by log-normal factors of ``sigma``; then
    rounded to bfloat16.
    """

    name: str = "smollm2-135m-rescaled"
    size: int = 273_000_000
    sigma: float = 0.15
    seed: int = 0

    def make(self, folder: Path) -> None:
        import mlx.core as mx

        with tempfile.TemporaryDirectory() as scratch:
            SMOLLM2.make(Path(scratch))
            for path in Path(scratch).iterdir():
                if path.is_file() and path.suffix != ".safetensors":
                    shutil.copy(path, folder)
            config = json.loads((folder / "config.json").read_bytes())
            loaded = mx.load(str(Path(scratch) / "model.safetensors"))
            assert isinstance(loaded, dict)
            weights = {name: value.astype(mx.float32) for name, value in loaded.items()}
            _rescale(weights, config, np.random.default_rng(self.seed), self.sigma)
            stored = {name: value.astype(mx.bfloat16) for name, value in weights.items()}
            path = folder / "model.safetensors"
            mx.save_safetensors(str(path), stored, metadata={"format": "pt"})


def _rescale(
    weights: dict[str, mx.array], config: dict[str, Any], chance: np.random.Generator, sigma: float
) -> None:
    import mlx.core as mx

    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]

    def factors(count: int) -> mx.array:
        return mx.array(np.exp(sigma * chance.standard_normal(count)).astype(np.float32))

    def against(rows: str, columns: tuple[str, ...], by: mx.array, spread: mx.array) -> None:
        shape = (-1,) if weights[rows].ndim == 1 else (-1, 1)
        weights[rows] = weights[rows] * by.reshape(shape)
        for name in columns:
            weights[name] = weights[name] / spread

    for layer in range(config["num_hidden_layers"]):
        q, k, v, o = (f"model.layers.{layer}.self_attn.{n}_proj.weight" for n in "qkvo")
        gate, up, down = (
            f"model.layers.{layer}.mlp.{n}_proj.weight" for n in ("gate", "up", "down")
        )
        for norm, readers in (
            ("input_layernorm", (q, k, v)),
            ("post_attention_layernorm", (gate, up)),
        ):
            name = f"model.layers.{layer}.{norm}.weight"
            by = factors(len(weights[name]))
            against(name, readers, by, by)
        by = factors(len(weights[up]))
        against(up, (down,), by, by)
        size = len(weights[v]) // kv_heads
        by = factors(len(weights[v]))
        spread = mx.repeat(by.reshape(kv_heads, 1, size), heads // kv_heads, axis=1)
        against(v, (o,), by, spread.reshape(-1))
        half = factors(kv_heads * ROTARY_HALF).reshape(kv_heads, 1, ROTARY_HALF)
        by = mx.concatenate(
            [half, half], axis=1
        )  # the two numbers of a rotary pair are half a head apart
        weights[k] = weights[k] * by.reshape(-1, 1)
        spread = mx.repeat(by.reshape(kv_heads, 1, 2 * ROTARY_HALF), heads // kv_heads, axis=1)
        weights[q] = weights[q] / spread.reshape(-1, 1)


TEXTS = Texts()
