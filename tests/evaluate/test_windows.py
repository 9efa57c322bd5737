"""Only as much of a text is tokenized as the windows need, with the tokens of all of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from mlxforge.evaluate import windows as module
from mlxforge.evaluate.windows import token_windows
from mlxforge.models.source.load import load_tokenizer
from tests.conftest import DEMO

HELDOUT = (DEMO / "heldout.txt").read_text(encoding="utf-8")


class Encoder:
    """A tokenizer of the library below transformers, and how much text it was given."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.characters = 0

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        self.characters += len(text)
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
        return ids


def trained(model: Any, trainer: Any, before: Any = None, normalizer: Any = None) -> Encoder:
    tokenizer = Tokenizer(model)
    if before is not None:
        tokenizer.pre_tokenizer = before
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    lines = HELDOUT[:40_000].splitlines(keepends=True)
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    return Encoder(tokenizer)


def byte_level() -> Encoder:
    """As GPT-2 and most of its heirs."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    before = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return trained(models.BPE(), trainer, before)


def whole_text_bpe() -> Encoder:
    """As Llama 2: merges may go over spaces, since all of the text is one word."""
    trainer = trainers.BpeTrainer(vocab_size=600, show_progress=False, max_token_length=12)
    metaspace = normalizers.Replace(" ", "\u2581")
    return trained(models.BPE(unk_token=None), trainer, None, metaspace)


def unigram() -> Encoder:
    """As T5 and XLM-R: the likeliest division of everything between two spaces."""
    trainer = trainers.UnigramTrainer(
        vocab_size=600, show_progress=False, unk_token="?", special_tokens=["?"]
    )
    return trained(models.Unigram(), trainer, pre_tokenizers.Metaspace(), normalizers.NFKC())


def whole_text_unigram() -> Encoder:
    """The likeliest division of the whole text at once."""
    trainer = trainers.UnigramTrainer(
        vocab_size=400, show_progress=False, unk_token="?", special_tokens=["?"]
    )
    return trained(models.Unigram(), trainer)


def word_pieces() -> Encoder:
    """As BERT."""
    trainer = trainers.WordPieceTrainer(
        vocab_size=600, show_progress=False, special_tokens=["[UNK]"]
    )
    before = pre_tokenizers.BertPreTokenizer()
    return trained(models.WordPiece(unk_token="[UNK]"), trainer, before, normalizers.NFD())


def odd_text(seed: int, count: int) -> str:
    """Words, and what cuts words badly: runs of one letter, of spaces, accents, emoji, lines."""
    chooser = random.Random(seed)
    words = HELDOUT.split()
    odd = [
        "  ",
        "\n\n",
        "\r\n",
        "\t",
        "a" * 40,
        "  \n ",
        "e\u0301",
        "👩‍👩‍👧",
        "1234567",
        "é",
        "ﬁ",
        "中文",
    ]
    return "".join(
        chooser.choice(odd) if chooser.random() < 0.3 else f" {chooser.choice(words)}"
        for _ in range(count)
    )


@pytest.mark.parametrize(
    "make", [byte_level, whole_text_bpe, unigram, whole_text_unigram, word_pieces]
)
def test_the_windows_are_those_of_the_whole_text(
    make: Callable[[], Encoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MARGIN", 32)
    monkeypatch.setattr(module, "BYTES_PER_TOKEN", 1)  # to begin with far too little
    encoder = make()
    for seed in range(6):
        text = odd_text(seed, 6000)
        (tmp_path / "text").write_bytes(text.encode())
        read = (tmp_path / "text").read_text(encoding="utf-8")
        whole = encoder.encode(read, add_special_tokens=False)
        for samples, length in ((1, 2), (1, 9), (3, 16), (7, 64)):
            found = token_windows(tmp_path / "text", encoder, samples, length)
            expected = np.asarray(whole[: samples * length]).reshape(samples, length)
            assert found.dtype == np.int32 and np.array_equal(found, expected)


def test_a_real_tokenizer_gives_the_windows_of_the_whole_text(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(DEMO / "model")
    (tmp_path / "text").write_text(HELDOUT * 3, encoding="utf-8")
    whole = np.asarray(tokenizer.encode(HELDOUT * 3, add_special_tokens=False))
    for samples, length in ((1, 2), (16, 128), (64, 512)):
        found = token_windows(tmp_path / "text", tokenizer, samples, length)
        assert np.array_equal(found.reshape(-1), whole[: samples * length])


def test_a_long_text_is_read_as_far_as_it_is_needed(tmp_path: Path) -> None:
    (tmp_path / "text").write_text(HELDOUT * 20, encoding="utf-8")
    encoder = byte_level()
    token_windows(tmp_path / "text", encoder, 4, 64)
    assert encoder.characters < 40_000 < len(HELDOUT)


def test_a_cut_in_the_middle_of_a_character_or_a_line_end_is_no_cut(tmp_path: Path) -> None:
    text = "é😀\r\n中\r" * 9000
    (tmp_path / "text").write_bytes(text.encode())
    encoder = byte_level()
    whole = encoder.encode(text.replace("\r\n", "\n").replace("\r", "\n"), False)
    found = token_windows(tmp_path / "text", encoder, 3, 100)
    assert found.reshape(-1).tolist() == whole[:300]
