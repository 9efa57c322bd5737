"""Small random checkpoints of vision models: whole folders, with the key names, the fields and the
processor files of the releases, in two shards.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.checkpoints.vision.gemma3 import gemma3
from tests.checkpoints.vision.idefics3 import idefics3
from tests.checkpoints.vision.llava import llava
from tests.checkpoints.vision.paligemma import paligemma
from tests.checkpoints.vision.phi3_v import phi3_v
from tests.checkpoints.vision.pixtral import pixtral
from tests.checkpoints.vision.qwen2_5_vl import qwen2_5_vl
from tests.checkpoints.vision.qwen2_vl import qwen2_vl
from tests.checkpoints.vision.qwen3_vl import qwen3_vl
from tests.checkpoints.vision.smolvlm import smolvlm

__all__ = ["VISION"]

VISION: dict[str, Callable[[Path], Path]] = {
    "phi3_v": phi3_v, "qwen2_vl": qwen2_vl, "qwen2_5_vl": qwen2_5_vl, "qwen3_vl": qwen3_vl, 
    "llava": llava, "idefics3": idefics3, "smolvlm": smolvlm, "gemma3": gemma3, 
    "pixtral": pixtral, "paligemma": paligemma,
}  # fmt: skip
