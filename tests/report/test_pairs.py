"""Pairs as people read them: a line for all blocks that are alike."""

from __future__ import annotations

from mlxforge.models.layers.pairs import ROWS, WEIGHT, Pair, Pairs
from mlxforge.report.pairs import pairs_lines


def block(number: int) -> list[Pair]:
    start = f"model.layers.{number}."
    read = {f"{start}self_attn.{name}_proj": ((0, 8),) for name in "qk"}
    return [
        Pair(f"{start}input_layernorm", WEIGHT, 0, read),
        Pair(f"{start}mlp.up_proj", ROWS, 0, {f"{start}mlp.down_proj": ((0, 16),)}),
    ]


def test_blocks_that_are_alike_share_a_line() -> None:
    why = "what comes into model.layers.0.self_attn.o_proj is not multiplied by it alone"
    without = {
        f"model.layers.{number}.self_attn.q_norm": why.replace(".0.", f".{number}.")
        for number in (0, 1)
    }
    assert pairs_lines(Pairs((*block(0), *block(1)), without)) == [
        "scales move   2 x  model.layers.*.input_layernorm -> self_attn.q_proj, self_attn.k_proj",
        "scales move   2 x  model.layers.*.mlp.up_proj -> mlp.down_proj",
        "no pair       2 x  model.layers.*.self_attn.q_norm: what comes into "
        "model.layers.*.self_attn.o_proj is not multiplied by it alone",
    ]


def test_a_model_without_pairs_is_told_so() -> None:
    lines = pairs_lines(Pairs((), {"model.norm": "more than layers reads it"}))
    assert lines[0] == "no two layers of this model can hand a scale on"
    assert lines[1] == "no pair       1 x  model.norm: more than layers reads it"
