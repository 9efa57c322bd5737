"""Every row, the long ones last. A new row is one function and one entry here."""

from __future__ import annotations

from functools import partial

from benchmarks.bench import Row
from benchmarks.figures import at_most, within
from benchmarks.inputs.models import LLAMA, LLAMA_10GB, QWEN3_MOE
from benchmarks.inputs.smollm2 import SMOLLM2, WIKI
from benchmarks.quality.inputs import TEXTS
from benchmarks.rows import learn, quantize, recipes, score
from benchmarks.rows.learn import learned
from benchmarks.rows.quantize import conversion

__all__ = ["ROWS"]

ROWS = (
    Row(
        "noop",
        "a build with nothing to do and `doit list`, against doit's own `list` of one empty task",
        partial(recipes.small_project, limit=at_most(3)),
    ),
    Row(
        "noop-1000",
        "`doit build '*'` of 1000 built recipes, against doit itself on 5000 finished tasks",
        partial(recipes.nothing_to_do, recipes=1000, tasks=5000, limit=at_most(1.5)),
    ),
    Row(
        "list-1000",
        "`doit list` of 1000 built recipes, against 10",
        partial(recipes.listing, many=1000, few=10, limit=at_most(6)),
    ),
    conversion("smollm2", SMOLLM2, "{bits: 4}", "-q", wall=0.9),
    conversion("quantize-4bit", LLAMA, "{bits: 4}", "-q", wall=0.45, memory=0.15),
    conversion("quantize-8bit", LLAMA, "{bits: 8}", "-q --q-bits 8", wall=0.6, memory=0.15),
    conversion("bfloat16", LLAMA, "{method: none}", "", wall=0.6, memory=0.15),
    conversion("moe", QWEN3_MOE, "{bits: 4}", "-q", memory=0.2),
    Row(
        "floor",
        f"{LLAMA.name} to 4 bits, against reading the source and writing as many bytes",
        partial(quantize.against_reading, source=LLAMA, section="{bits: 4}", wall=at_most(2.5)),
        inputs=(LLAMA,),
        room=LLAMA.size,
    ),
    Row(
        "flat",
        f"{LLAMA_10GB.name} to 4 bits, against ourselves on {LLAMA.name}",
        partial(
            quantize.flatness,
            large=LLAMA_10GB,
            small=LLAMA,
            section="{bits: 4}",
            memory=at_most(1.1),
        ),
        inputs=(LLAMA_10GB, LLAMA),
        room=LLAMA_10GB.size,
    ),
    Row(
        "score-smollm2-blas",
        "4-bit SmolLM2, against mlx_lm's `eval_ppl` with the same BLAS and float32 weights",
        partial(
            score.against_eval_ppl,
            samples=16,
            length=512,
            way="float32-blas",
            wall=at_most(1),
            perplexity=within(0.005),
        ),
        inputs=(SMOLLM2, WIKI),
        room=2 * SMOLLM2.size,
    ),
    Row(
        "score-memory",
        f"scoring {LLAMA.name} and its 4-bit build, against the bytes of the source's weights",
        partial(
            score.peak,
            source=LLAMA,
            section="{bits: 4}",
            samples=5,
            length=512,
            memory=at_most(0.35),
        ),
        inputs=(LLAMA, WIKI),
        room=LLAMA.size,
    ),
    Row(
        "score-smollm2",
        "4-bit SmolLM2, against mlx_lm's `eval_ppl` of the model as it loads",
        partial(
            score.against_eval_ppl,
            samples=1,  # theirs takes two seconds a token
            length=96,
            way="as-loaded",
            wall=at_most(0.05),
            perplexity=within(0.005),
        ),
        inputs=(SMOLLM2, WIKI),
        room=2 * SMOLLM2.size,
    ),
    Row(
        "search-smollm2",
        "4-bit SmolLM2 with searched scales and a text's statistics, against plain rounding",
        partial(learn.against_rounding, wall=at_most(4)),
        inputs=(SMOLLM2, TEXTS),
        room=4 * SMOLLM2.size,
    ),
    learned("gptq", "{method: gptq}", samples=32, wall=1, memory=0.5),
    # as many steps of one window as theirs makes, whose last four windows are held out
    learned("dwq", "{method: dwq, dwq: {iterations: 28, batch_size: 1}}", 32, 0.5, 0.5),
    learned("awq", "{method: awq}", samples=4, wall=0.5, memory=0.5),
    Row(
        "gptq-memory",
        f"the gptq step of {LLAMA.name}, against the bytes of the source's weights",
        partial(learn.peak, source=LLAMA, memory=at_most(0.35)),
        inputs=(LLAMA,),
        room=3 * LLAMA.size,
    ),
    conversion("mxfp4", LLAMA, "{mode: mxfp4}", "-q --q-mode mxfp4", wall=0.1, memory=0.15),
    conversion("nvfp4", LLAMA, "{mode: nvfp4}", "-q --q-mode nvfp4", wall=0.1, memory=0.15),
)
