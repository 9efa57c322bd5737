"""What stands beside a model's weights: config.json and side files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mlxforge.models.source import vision
from mlxforge.models.source.files import side_files
from mlxforge.models.source.loader import loader_of

__all__ = ["copy_side_files", "plain_config", "save_config"]


def plain_config(config: dict[str, Any], model: Any, path: Path) -> None:
    """Write the config of an unquantized model as the loader's own convert writes it."""
    written = {key: value for key, value in config.items() if not key.startswith("quantization")}
    if isinstance(text := written.get("text_config"), dict):
        written["text_config"] = {k: v for k, v in text.items() if k != "quantization_config"}
    if loader_of(config) == "mlx_vlm":
        vision.write_config(written, path)
        return
    from mlx_lm.utils import save_config as upstream

    upstream(written, path, keep_vision_config="vision_tower" in getattr(model, "model", {}))


def save_config(plain: Path, quantization: dict[str, Any] | None, out: Path) -> None:
    """Add ``quantization``, None for an unquantized model, to what ``plain_config`` wrote."""
    config = json.loads(plain.read_bytes())
    if quantization is not None:
        config |= {"quantization": quantization, "quantization_config": quantization}
    (out / "config.json").write_text(json.dumps(dict(sorted(config.items())), indent=4))


def copy_side_files(source: Path, out: Path, further: Collection[str] = ()) -> None:
    """Tokenizer, templates, generation config, licence and the files named in ``further``, byte
    for byte."""
    for path in side_files(source, further):
        shutil.copyfile(path, out / path.name)
