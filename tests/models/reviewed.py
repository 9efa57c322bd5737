"""The model types that do not resolve, each looked at, with the reason."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["BARE_ROUTERS", "IN_PART", "MIXERS_ONLY", "REFUSED"]

Type = tuple[str, str]
"""A library and a model type of it."""


def _both(names: str, reason: str) -> dict[Type, str]:
    return {(library, name): reason for library in ("mlx_lm", "mlx_vlm") for name in names.split()}


def _seeing(names: str, reason: str) -> dict[Type, str]:
    return {("mlx_vlm", name): reason for name in names.split()}


REFUSED: Mapping[Type, str] = {
    **_both("bitnet", "holds uint8 numbers, packed in a way that mlx_lm does not unpack"),
    # made of the list of what its own release has packed
    **_both("prism_hadamard_qwen35", "no model of a default configuration"),
    ("mlx_lm", "olmo"): "needs a package that is not installed",
    # mlx_vlm 0.7.10 calls a property there; mlx_lm makes these models
    ("mlx_vlm", "glm_moe_dsa"): "its own code fails",
    **_seeing("diffusion_gemma llada2_moe", "writes by diffusion, not word by word"),
    **_seeing("clef d1 d1_omni decider2 laya", "answers with a decision"),
    **_seeing(
        "colidefics3 colqwen2_5 embedding_gemma2 lfm2_colbert llama_bidirec "
        "llama_nemotron_vl_embedding qwen3_vl_embedding",
        "makes embeddings",
    ),
    # text encoders, detectors, and makers of pictures; of mistral4 mlx_vlm has only a part
    **_seeing(
        "bert bonsai dinov2 ernie_image flux2 flux3 gemma3_embedding gliner2_5 ideogram4 "
        "lfm2_embedding lfm2_encoder llada_image mage_flow ming_image minimax_h3 "
        "ministral3_embedding mistral4 modernbert moge3 moss_image nemotron_voicechat "
        "openai_privacy_filter pp_doclayout_v3 qwen3_embedding qwen_image rfdetr rt_detr_v2 "
        "sam3 sam3_1 sam3d_body sam3d_objects sapiens2 siglip video_depth_anything xlm_roberta "
        "yolo11 z_image",
        "writes no text",
    ),
}

IN_PART: Mapping[Type, str] = {
    **_both("gemma4 gemma4_text", "the inputs that each layer has of its own"),
    **_both("gemma3n", "the inputs that each layer has of its own, and the mixing of its streams"),
    **_seeing("qwen4_exp", "the mixing of its streams"),
    **_seeing("deepseek_v41", "the memory that is looked up by words"),
    **_seeing("falcon_perception", "what reads and makes coordinates and masks"),
    **_seeing("molmo_point", "what makes points"),
}
"""What it is that has no role: neither attention nor MLP, and so `other`."""

MIXERS_ONLY = {"mamba", "mamba2"}
"""Their blocks have no MLP."""

BARE_ROUTERS = {"inkling"}
"""The router is a parameter that its name does not tell, and nothing that is ever quantized."""
