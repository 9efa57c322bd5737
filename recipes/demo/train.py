"""Trains the demo model on corpus.py and writes it as a Hugging Face folder.

    python recipes/demo/train.py [--out DIR] [--steps N] [--seed S]

A few minutes on two cores when an OpenBLAS can be found (see `load_openblas`), several times
that without. One machine and one seed give the same bytes every time.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path


def load_openblas() -> str | None:
    """Puts an OpenBLAS in front of the reference BLAS of MLX's CPU wheel: 20 times faster.

    Only works before mlx.core is loaded. Returns the library's name, None where there is none.
    """
    wheel = Path(sysconfig.get_path("purelib")).glob("opencv_python*.libs/libopenblas*.so*")
    for name in [*map(str, sorted(wheel)), "libopenblas.so.0"]:
        try:
            ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        return Path(name).name
    return None


BLAS = load_openblas()

# ruff: noqa: E402
import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from corpus import ASSISTANT, END, USER, training
from mlx.utils import tree_flatten
from mlx_lm.models.llama import Model, ModelArgs
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SHAPE = ModelArgs(
    model_type="llama",
    hidden_size=128,
    num_hidden_layers=3,
    intermediate_size=256,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=64,
    rms_norm_eps=1e-5,
    max_position_embeddings=512,
    vocab_size=512,
)
STEPS, WARMUP, PEAK_RATE = 2400, 40, 5e-3
# Short rows make cheap attention; the last steps teach the positions that only long rows have.
SHORT, LONG, LONG_SHARE, TOKENS_PER_STEP = 128, 512, 0.2, 2048
TOKENIZER_DOCUMENTS = 10_000
# Channels differ in size from the start, as they come to differ in large models; without that,
# minutes of training leave weights that rounding hardly hurts.
NORM_SPREAD = 0.5  # standard deviation of the norms' first log gains
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}" + USER + "{{ message['content'] }}"
    "{% elif message['role'] == 'assistant' %}" + ASSISTANT + "{{ message['content'] }}"
    "" + END + "{{ '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}" + ASSISTANT + "{% endif %}"
)


def train_tokenizer(seed: int) -> Tokenizer:
    """A byte-level BPE tokenizer whose ids 0, 1 and 2 are END, USER and ASSISTANT."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SHAPE.vocab_size,
        special_tokens=[END, USER, ASSISTANT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = (text for _, text in zip(range(TOKENIZER_DOCUMENTS), training(seed), strict=False))
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def rows(tokenizer: Tokenizer, seed: int, steps: int) -> Iterator[mx.array]:
    """One int32 array [rows, length + 1] a step, cut from the stream of training documents."""
    documents = training(seed)
    tokens: list[int] = []
    for step in range(steps):
        length = SHORT if step < steps * (1 - LONG_SHARE) else LONG
        needed = TOKENS_PER_STEP // length * (length + 1)
        while len(tokens) < needed:
            tokens += tokenizer.encode(next(documents)).ids
        yield mx.array(tokens[:needed]).reshape(-1, length + 1)
        del tokens[:needed]


def loss_of(model: Model, batch: mx.array) -> mx.array:
    """Mean cross-entropy in nats a token, for rows [rows, length + 1]."""
    return nn.losses.cross_entropy(model(batch[:, :-1]), batch[:, 1:], reduction="mean")


def train(tokenizer: Tokenizer, steps: int, seed: int) -> tuple[Model, float]:
    """Trains in float32. Returns the model and its mean loss over the last steps, in nats."""
    mx.random.seed(seed)
    model = Model(SHAPE)
    for module in model.modules():
        if isinstance(module, nn.RMSNorm):
            module.weight = mx.exp(NORM_SPREAD * mx.random.normal(module.weight.shape))
    warmup = min(WARMUP, steps // 2)
    rise = optim.linear_schedule(PEAK_RATE / 100, PEAK_RATE, max(1, warmup))
    fall = optim.cosine_decay(PEAK_RATE, steps - warmup)
    adam = optim.Adam(optim.join_schedules([rise, fall], [warmup]), betas=[0.9, 0.95])
    gradient = nn.value_and_grad(model, loss_of)
    losses: list[float] = []
    start = time.perf_counter()
    for step, batch in enumerate(rows(tokenizer, seed, steps), 1):
        loss, grads = gradient(model, batch)
        grads, _ = optim.clip_grad_norm(grads, 1.0)
        adam.update(model, grads)
        mx.eval(model.parameters(), adam.state, loss)
        losses.append(loss.item())
        if step % 20 == 0 or step == steps:
            recent = sum(losses[-20:]) / len(losses[-20:])
            print(
                f"step {step}/{steps} loss {recent:.4f} {time.perf_counter() - start:.0f} s",
                flush=True,
            )
    tail = losses[-max(1, steps // 20) :]
    return model, sum(tail) / len(tail)


def write_safetensors(path: Path, weights: dict[str, mx.array]) -> None:
    """Writes ``weights`` as bfloat16, sorted by name: mx.save_safetensors orders by hash."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = bytearray()
    for name, weight in sorted(weights.items()):
        raw = bytes(memoryview(weight.astype(mx.bfloat16).view(mx.uint16)))
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": "BF16", "shape": list(weight.shape), "data_offsets": offsets}
        data += raw
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(len(head).to_bytes(8, "little") + head + data)


def write_model(folder: Path, weights: dict[str, mx.array], tokenizer: Tokenizer) -> None:
    """Writes weights, tokenizer and configs; README.md and LICENSE there are left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    end = tokenizer.token_to_id(END)
    configs = {
        "config.json": asdict(SHAPE)
        | {
            "architectures": ["LlamaForCausalLM"],
            "attention_dropout": 0.0,
            "bos_token_id": None,
            "eos_token_id": end,
            "hidden_act": "silu",
            "initializer_range": 0.02,
            "pad_token_id": end,
            "torch_dtype": "bfloat16",
            "use_cache": True,
        },
        "generation_config.json": {"eos_token_id": end, "pad_token_id": end, "do_sample": False},
        "tokenizer_config.json": {
            "add_prefix_space": False,
            "chat_template": CHAT_TEMPLATE,
            "clean_up_tokenization_spaces": False,
            "eos_token": END,
            "model_max_length": SHAPE.max_position_embeddings,
            "pad_token": END,
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    }
    for name, config in configs.items():
        (folder / name).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    tokenizer.save(str(folder / "tokenizer.json"))
    write_safetensors(folder / "model.safetensors", weights)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the demo model.")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("model"))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(f"BLAS: {BLAS or 'as in the MLX wheel, slow'}", flush=True)
    tokenizer = train_tokenizer(args.seed)
    model, loss = train(tokenizer, args.steps, args.seed)
    weights = dict(tree_flatten(model.parameters()))
    write_model(args.out, weights, tokenizer)
    print(f"final loss {loss:.4f} nats a token, written to {args.out}")


if __name__ == "__main__":
    main()
