"""Large models with random weights: the shapes and names of real architectures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.inputs.weights import Tensor, total_bytes, write_model

__all__ = ["LLAMA", "LLAMA_10GB", "QWEN3_MOE", "Llama", "Qwen3Moe"]

VOCABULARY = 32_000


@dataclass(frozen=True)
class Llama:
    """A llama with untied embeddings, bfloat16."""

    name: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    shards: int
    vocabulary: int = VOCABULARY
    seed: int = 0

    @property
    def size(self) -> int:
        return total_bytes(self.tensors())

    def tensors(self) -> list[Tensor]:
        kv = self.hidden // self.heads * self.kv_heads
        return [
            *_ends(self.vocabulary, self.hidden),
            *(
                tensor
                for layer in range(self.layers)
                for tensor in (
                    *_attention(layer, self.hidden, self.hidden, kv),
                    *_mlp(f"model.layers.{layer}.mlp.", self.hidden, self.intermediate),
                )
            ),
        ]

    def config(self) -> dict[str, Any]:
        return {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama",
            "hidden_size": self.hidden, "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers, "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads, "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5, "rope_theta": 1e4, "vocab_size": self.vocabulary,
            "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        }  # fmt: skip

    def make(self, folder: Path) -> None:
        write_model(folder, self.config(), self.tensors(), self.shards, self.seed)


@dataclass(frozen=True)
class Qwen3Moe:
    """A qwen3_moe whose experts lie in tensors of their own, bfloat16."""

    name: str
    hidden: int
    expert: int  # an expert's intermediate size
    experts: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    shards: int
    vocabulary: int = VOCABULARY
    seed: int = 1

    @property
    def size(self) -> int:
        return total_bytes(self.tensors())

    def tensors(self) -> list[Tensor]:
        found = list(_ends(self.vocabulary, self.hidden))
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}."
            wide, narrow = self.heads * self.head, self.kv_heads * self.head
            found += _attention(layer, self.hidden, wide, narrow)
            found += [Tensor(f"{prefix}self_attn.{n}_norm.weight", (self.head,)) for n in "qk"]
            found.append(Tensor(f"{prefix}mlp.gate.weight", (self.experts, self.hidden)))
            for number in range(self.experts):
                found += _mlp(f"{prefix}mlp.experts.{number}.", self.hidden, self.expert)
        return found

    def config(self) -> dict[str, Any]:
        return {
            "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe",
            "hidden_size": self.hidden, "intermediate_size": 3 * self.hidden,
            "moe_intermediate_size": self.expert, "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads, "num_key_value_heads": self.kv_heads,
            "head_dim": self.head, "num_experts": self.experts, "num_experts_per_tok": 2,
            "decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": True,
            "rms_norm_eps": 1e-6, "rope_theta": 1e6, "max_position_embeddings": 4096,
            "vocab_size": self.vocabulary, "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
        }  # fmt: skip

    def make(self, folder: Path) -> None:
        write_model(folder, self.config(), self.tensors(), self.shards, self.seed)


def _ends(vocabulary: int, hidden: int) -> Iterator[Tensor]:
    yield Tensor("model.embed_tokens.weight", (vocabulary, hidden))
    yield Tensor("lm_head.weight", (vocabulary, hidden))
    yield Tensor("model.norm.weight", (hidden,))


def _attention(layer: int, hidden: int, wide: int, narrow: int) -> Iterator[Tensor]:
    prefix = f"model.layers.{layer}."
    yield Tensor(f"{prefix}self_attn.q_proj.weight", (wide, hidden))
    yield Tensor(f"{prefix}self_attn.k_proj.weight", (narrow, hidden))
    yield Tensor(f"{prefix}self_attn.v_proj.weight", (narrow, hidden))
    yield Tensor(f"{prefix}self_attn.o_proj.weight", (hidden, wide))
    yield Tensor(f"{prefix}input_layernorm.weight", (hidden,))
    yield Tensor(f"{prefix}post_attention_layernorm.weight", (hidden,))


def _mlp(prefix: str, hidden: int, intermediate: int) -> Iterator[Tensor]:
    yield Tensor(f"{prefix}gate_proj.weight", (intermediate, hidden))
    yield Tensor(f"{prefix}up_proj.weight", (intermediate, hidden))
    yield Tensor(f"{prefix}down_proj.weight", (hidden, intermediate))


LLAMA = Llama("llama-2.2GB", 2048, 5632, layers=22, heads=32, kv_heads=4, shards=5)
LLAMA_10GB = Llama("llama-10GB", 4096, 11_008, layers=24, heads=32, kv_heads=32, shards=5)
QWEN3_MOE = Qwen3Moe(
    "qwen3-moe-2.2GB", 2048, expert=768, experts=16, layers=10, heads=32, kv_heads=4, head=128,
    shards=5,
)  # fmt: skip
