"""The steps that make a model's weights, one after the other, for each method.

    rtn         quantize, after heads where scales are searched
    gptq        gptq -> quantize, after awq's steps with prepare: awq
    awq         heads and pairs -> awq -> quantize
    dwq         quantize -> dwq -> quantize
    dynamic     sensitivity, and once the widths are chosen, those of the method that fills them
    refine: dwq after any of them: … quantize -> dwq -> quantize

A method's own step chooses packed weights; ``quantize`` makes a model of them and of the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from mlxforge.local import Local
from mlxforge.nodes import Node
from mlxforge.recipe.model import Quantize as Wanted
from mlxforge.steps.awq import Awq
from mlxforge.steps.base import Step
from mlxforge.steps.dwq import Dwq
from mlxforge.steps.gptq import Gptq
from mlxforge.steps.heads import Heads
from mlxforge.steps.pairs import FindPairs
from mlxforge.steps.quantize import Quantize
from mlxforge.steps.sensitivity import Sensitivity
from mlxforge.steps.source import Wants

__all__ = ["CHOOSERS", "MAKERS", "maker_kinds", "measuring", "searches", "weights"]

CHOOSERS: Mapping[str, type[Quantize]] = {"gptq": Gptq, "awq": Awq}
"""Methods whose step chooses the packed weights, by name."""

MAKERS = ("sensitivity", *CHOOSERS, "heads", "quantize", "dwq")
"""Kinds of the steps here."""


def searches(wanted: Wanted) -> bool:
    """Whether scales are searched for codes that are nearest: then what comes into layers is
    needed, by whatever tokens."""
    return wanted.scales == "search" and wanted.filling in ("rtn", "dwq")


def maker_kinds(wanted: Wanted) -> tuple[str, ...]:
    """The kinds of the steps that :func:`weights` makes, in their order."""
    kinds = ["sensitivity"] if wanted.method == "dynamic" else []
    if searches(wanted) or wanted.moves_scales:
        kinds.append("heads")
    if wanted.prepare == "awq":
        kinds.append("awq")
    if wanted.filling in CHOOSERS:
        kinds.append(wanted.filling)
    kinds.append("quantize")
    if "dwq" in (wanted.method, wanted.refine):
        kinds += ["dwq", "quantize"]
    return tuple(kinds)


Inputs = tuple[tuple[str, Node | Local], ...]
MakeNode = Callable[[Step, Inputs], Node]


def weights(
    node: MakeNode,
    wanted: Wanted,
    inputs: Inputs,
    calibrate: Node | None,
    wants: Wants,
) -> Node:
    """The last of the steps. ``node`` makes one, ``inputs`` are those that all of them have, and
    ``wants`` what they say of the source."""
    method = "rtn" if wanted.method == "dwq" else wanted.method
    if wanted.widths is not None:
        method = wanted.filling
    refined = "dwq" in (wanted.method, wanted.refine)
    plain = replace(wanted, method=method, refine="none")
    learned: Inputs = () if calibrate is None else (("calibration", calibrate),)
    before: Inputs = ()
    if method in CHOOSERS:
        plain = replace(plain, scales="minmax")  # which they do not look at: one key for all
        chosen = _chosen(node, method, plain, inputs, learned, wants)
        before = (("chosen", chosen),)
        made = node(Quantize.of(plain, **wants), (*inputs, *before))
    else:
        searched: Inputs = ()
        if searches(plain):
            heads = node(Heads.of(plain, **wants), (*inputs, *learned))
            searched = (*learned, ("chosen", heads))
        made = node(Quantize.of(plain, **wants), (*inputs, *searched))
    if not refined:
        return made
    tuned = node(Dwq.of(wanted, **wants), (*inputs, *learned, *before, ("start", made)))
    return node(Quantize.of(replace(plain, refine="dwq"), **wants), (*inputs, ("chosen", tuned)))


def _chosen(
    node: MakeNode, method: str, wanted: Wanted, inputs: Inputs, learned: Inputs, wants: Wants
) -> Node:
    """What one of CHOOSERS chooses, on what has been done before it."""
    before: Inputs = ()
    if method == "awq":
        heads = node(Heads.of(wanted, **wants), (*inputs, *learned))
        before = (*_pairs(node, inputs, wants), ("heads", heads))
    elif wanted.prepare == "awq":
        before = (("prepared", _chosen(node, "awq", wanted, inputs, learned, wants)),)
    return node(CHOOSERS[method].of(wanted, **wants), (*inputs, *before, *learned))


def _pairs(node: MakeNode, inputs: Inputs, wants: Wants) -> Inputs:
    """Found on what the layers were inspected on, which need not be all of the source."""
    inspect = dict(inputs)["layers"]
    assert isinstance(inspect, Node)
    return (("pairs", node(FindPairs(**wants), (("source", dict(inspect.inputs)["source"]),))),)


def measuring(
    node: MakeNode,
    wanted: Wanted,
    inputs: Inputs,
    calibrate: Node | None,
    wants: Wants,
) -> Node | None:
    """The step by which widths are chosen, where that is still to be done. Arguments as above."""
    if wanted.dynamic is None or wanted.widths is not None or calibrate is None:
        return None
    return node(Sensitivity.of(wanted, **wants), (*inputs, ("calibration", calibrate)))
