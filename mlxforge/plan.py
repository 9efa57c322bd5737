"""Recipe and lock in, a graph of steps with keys out. Nothing runs and nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from mlxforge.demands import check_same, check_supported, images_of
from mlxforge.errors import Position
from mlxforge.local import Local
from mlxforge.lock import Lock, LockedText, text_label, texts_by_section, widths_of
from mlxforge.models.source.loader import Loader
from mlxforge.nodes import Node, tool_version
from mlxforge.recipe.model import Quantize as Wanted
from mlxforge.recipe.model import Recipe
from mlxforge.recipe.model import Text as WantedText
from mlxforge.sources import Locals, NotLocked, Origin, not_locked, origin_of
from mlxforge.stages import measuring, searches, weights
from mlxforge.steps.answers import Answers
from mlxforge.steps.base import Step
from mlxforge.steps.baseline import Baseline
from mlxforge.steps.calibrate import Calibrate
from mlxforge.steps.download import Download
from mlxforge.steps.evaluate import Evaluate
from mlxforge.steps.inspect import Inspect
from mlxforge.steps.overlap import Overlap
from mlxforge.steps.quantize import Quantize
from mlxforge.steps.source import Wants
from mlxforge.steps.text import Text

__all__ = [
    "Locals",
    "Node",
    "NotLocked",
    "Plan",
    "Planner",
    "tool_version",
    "tools_of",
]

SECTIONS = dict.fromkeys(("calibrate", "heads", "gptq", "awq", "dwq", "sensitivity"), "calibrate")
SECTIONS["baseline"] = "evaluate"
"""Whose values a step that runs a text through a model has."""

TOOLS = {*Inspect.tools, *Quantize.tools, *Baseline.tools, *Evaluate.tools}


def tools_of(recipe: Recipe, loader: Loader = "mlx_lm") -> list[str]:
    """Distributions whose versions can change what is built."""
    from_hub = any(text.dataset for text in texts_by_section(recipe).values())
    vision = Inspect(loader=loader).needed_tools()
    return sorted({*TOOLS, *vision, *Text.tools} if from_hub else {*TOOLS, *vision})


@dataclass(frozen=True)
class Plan:
    """``wanted`` is the recipe's section, with the widths that its lock has for it. ``texts``:
    those that the recipe names, by its section, ``calibrate`` or ``evaluate``. ``sensitivity``:
    where widths are still to be chosen, by what it measures; the steps are then those up to it,
    and ``quantize`` and what follows cannot be run yet. ``later`` is then what the plan will be
    like, for estimates: its steps are of no widths, and never run."""

    recipe: Recipe
    wanted: Wanted
    inspect: Node
    quantize: Node
    baseline: Node | None
    evaluate: Node | None
    texts: Mapping[str, Node | Local]
    overlap: Node | None
    sensitivity: Node | None = None
    later: Plan | None = None

    @property
    def final(self) -> Node:
        return self.sensitivity or self.evaluate or self.quantize

    @property
    def ends(self) -> tuple[Node, ...]:
        """The steps that are asked for; all others are there for one of these."""
        makes = (self.quantize, self.evaluate) if self.sensitivity is None else (self.sensitivity,)
        ends = (self.overlap, *makes)
        return tuple(node for node in ends if node is not None)

    @cached_property
    def source(self) -> Node | Local:
        """What the model is made of."""
        return dict(self.quantize.inputs)["source"]

    def nodes(self) -> tuple[Node, ...]:
        """Every step, each after those that it needs."""
        return self._nodes

    @cached_property
    def _nodes(self) -> tuple[Node, ...]:
        if self.overlap is None:
            return tuple(self.final.below())
        found: dict[str, Node] = {}
        for end in (self.inspect, *self.ends):
            found |= {node.key: node for node in end.below()}
        return tuple(found.values())

    @cached_property
    def names(self) -> Mapping[str, str]:
        """What each step is to this recipe, by its key: its kind, and where it makes a text,
        which: ``download evaluate.text``."""
        names = {node.key: node.kind for node in self.nodes()}
        for node in self.nodes():
            if node.kind == "quantize" and node.key != self.quantize.key:
                names[node.key] = "quantize before dwq"
        for section, text in self.texts.items():
            for node in text.below() if isinstance(text, Node) else ():
                names[node.key] = f"{node.kind} {section}.text"
        return names

    def position_of(self, node: Node, key: str | None = None) -> Position | None:
        """Where the recipe names the text that this step fetches or makes; or the value of ``key``
        in a section that this step is for, the method's own or that of its text, or else the text;
        of ``method`` what asks for this step."""
        if key and (section := SECTIONS.get(node.kind)):
            positions, wanted = self.recipe.positions, texts_by_section(self.recipe).get(section)
            asked = self._asking(node.kind) if key == "method" else ()
            for path in (*asked, ("quantize", node.kind, key), (section, key)):
                if at := positions.get(path):
                    return at
            return wanted.at if wanted else None
        for section, text in self.texts.items():
            below = text.below() if isinstance(text, Node) else ()
            if any(node.key == other.key for other in below):
                return texts_by_section(self.recipe)[section].at
        return None

    def _asking(self, kind: str) -> Iterator[tuple[str, ...]]:
        """Where the recipe asks for steps of this kind, if it is written there."""
        quantize = self.recipe.quantize
        words = {
            ("refine",): quantize.refine,
            ("prepare",): quantize.prepare,
            ("dynamic", "method"): quantize.filling,
        }
        yield from (("quantize", *path) for path, word in words.items() if word == kind)
        yield from (("quantize", "method"), ("quantize", "scales"), ("quantize",))


class Planner:
    """Makes plans. Recipes that share a step share its node, so that its key is computed once."""

    def __init__(self) -> None:
        self._nodes: dict[Hashable, Node] = {}

    def plan(self, recipe: Recipe, lock: Lock | None, local: Locals) -> Plan:
        """The steps of ``recipe``.

        Raises ForgeError for what no step can do, NotLocked for what is on the Hub and not in
        the lock.
        """
        check_supported(recipe)
        locked = _locked_texts(recipe, lock)
        origin = origin_of(recipe, lock, local)
        source, wants = self._kept(origin.files), origin.wants
        inspect = self._node(Inspect(**wants), ("source", self._kept(origin.heads)))
        texts = {
            section: self._text(text, locked.get(section), local)
            for section, text in texts_by_section(recipe).items()
        }
        calibrate = self._calibrate(recipe, source, inspect, texts, wants)
        wished = _with_widths(recipe, lock)
        inputs_of = (source, inspect, calibrate, origin)
        quantize = self._quantize(weights, wished, *inputs_of)
        sensitivity = self._quantize(measuring, wished, *inputs_of)
        assert quantize is not None
        scored = self._scored(recipe, quantize, source, texts, wants)
        overlap = self._overlap(recipe, texts)
        plan = Plan(recipe, wished, inspect, quantize, *scored, texts, overlap, sensitivity)
        if sensitivity is None:
            return plan
        unchosen = replace(wished, widths=())
        quantize = self._quantize(weights, unchosen, *inputs_of)
        assert quantize is not None
        baseline, evaluate = self._scored(recipe, quantize, source, texts, wants)
        later = replace(
            plan, wanted=unchosen, quantize=quantize, baseline=baseline, evaluate=evaluate,
            sensitivity=None,
        )  # fmt: skip
        return replace(plan, later=later)

    def _scored(
        self,
        recipe: Recipe,
        quantize: Node,
        source: Node | Local,
        texts: Mapping[str, Node | Local],
        wants: Wants,
    ) -> tuple[Node | None, Node | None]:
        """What a text makes of the source, and what the model is measured by."""
        wanted, baseline = recipe.evaluate, None
        if wanted is None:
            return None, None
        inputs: tuple[tuple[str, Node | Local], ...] = (("model", quantize),)
        if text := texts.get("evaluate"):
            scored = Baseline(wanted.samples, wanted.sequence_length, **wants)
            baseline = self._node(scored, ("source", source), ("text", text))
            inputs += (("source", source), ("baseline", baseline))
        if images := images_of(recipe, wants["loader"]):
            shown = Answers(images, wanted.max_tokens, **wants)
            inputs += (("answers", self._node(shown, ("source", source))),)
        metrics = wanted.metrics if baseline else ()
        step = Evaluate(tuple(metrics), wanted.prompts, wanted.max_tokens, **wants)
        return baseline, self._node(step, *inputs)

    def _kept(self, made: Node | Local) -> Node | Local:
        return self._nodes.setdefault(made.key, made) if isinstance(made, Node) else made

    def _node(self, step: Step, *inputs: tuple[str, Node | Local]) -> Node:
        made_of = (step, *((name, _identity(value)) for name, value in inputs))
        if made_of not in self._nodes:
            self._nodes[made_of] = Node(step, inputs)
        return self._nodes[made_of]

    def _calibrate(
        self,
        recipe: Recipe,
        source: Node | Local,
        inspect: Node,
        texts: Mapping[str, Node | Local],
        wants: Wants,
    ) -> Node | None:
        """What methods learn from the source, over a text or drawn tokens; None where nothing is
        to be learned."""
        wanted, text = recipe.calibrate, texts.get("calibrate")
        if searches(recipe.quantize) and text is None:
            drawn = Calibrate.drawn(**wants)
            return self._node(drawn, ("layers", inspect), ("source", source))
        if wanted is None or text is None:
            return None
        step = Calibrate(wanted.samples, wanted.sequence_length, wanted.seed, **wants)
        return self._node(step, ("layers", inspect), ("source", source), ("text", text))

    def _quantize(
        self,
        make: Callable[..., Node | None],
        wanted: Wanted,
        source: Node | Local,
        inspect: Node,
        calibrate: Node | None,
        origin: Origin,
    ) -> Node | None:
        # by the recipe's section: the steps' own rules are dicts, and cannot be looked up by
        learned = calibrate.key if calibrate else None
        made_of = (make, wanted, _identity(source), learned, *origin.wants.values())
        if made_of not in self._nodes:
            # the layers first: what is wrong with them is told before anything is downloaded
            inputs = (("layers", inspect), ("source", source))
            made = make(self._kept_node, wanted, inputs, calibrate, origin.wants)
            if made is None:
                return None
            self._nodes[made_of] = made
        return self._nodes[made_of]

    def _kept_node(self, step: Step, inputs: tuple[tuple[str, Node | Local], ...]) -> Node:
        made = Node(step, inputs)
        return self._nodes.setdefault(made.key, made)

    def _text(self, text: WantedText, locked: LockedText | None, local: Locals) -> Node | Local:
        if text.path is not None:
            return local.file(text.path, text.at)
        assert text.dataset is not None and locked is not None
        download = Node(Download(text.dataset, locked.commit, locked.files, "dataset"), ())
        download = self._nodes.setdefault(download.key, download)
        step = Text(text.column, tuple(sorted(locked.files)))
        return self._node(step, ("dataset", download))

    def _overlap(self, recipe: Recipe, texts: Mapping[str, Node | Local]) -> Node | None:
        if recipe.evaluate is None or len(texts) < 2:
            return None
        if texts["calibrate"].key == texts["evaluate"].key:
            check_same(recipe)
        step = Overlap(recipe.evaluate.samples * recipe.evaluate.sequence_length)
        inputs = (("calibration", texts["calibrate"]), ("evaluation", texts["evaluate"]))
        return self._node(step, *inputs)


def _with_widths(recipe: Recipe, lock: Lock | None) -> Wanted:
    """The recipe's section, with the widths that were chosen for it."""
    chosen = widths_of(recipe, lock)
    if chosen is None:
        return recipe.quantize
    return replace(recipe.quantize, widths=tuple(sorted(chosen.layers.items())))


def _identity(value: Node | Local) -> Hashable:
    """Equal for what is read from the same place with the same content."""
    return value.key if isinstance(value, Node) else (value.path, value.key)


def _locked_texts(recipe: Recipe, lock: Lock | None) -> dict[str, LockedText]:
    """What the lock has of the recipe's data sets, by section."""
    found = {}
    for section, text in texts_by_section(recipe).items():
        if text.dataset is not None:
            locked = lock.texts.get(text_label(recipe, section)) if lock else None
            if not isinstance(locked, LockedText):
                raise not_locked(recipe, f"the data set {text.dataset}", text.at)
            found[section] = locked
    return found
