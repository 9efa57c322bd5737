"""What a build's steps would take: time by this machine's measured rates, and memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from mlxforge.calibrate.needs import learning_bytes
from mlxforge.models.device import backend
from mlxforge.models.layers.size import ModelSize
from mlxforge.models.layers.table import LayerTable
from mlxforge.models.memory import available_bytes
from mlxforge.plan import Node, Plan
from mlxforge.project import Project
from mlxforge.report.measured import LEARNERS, Rates, learning_tokens, measured_rates, quantize_rate
from mlxforge.report.space import missing_bytes
from mlxforge.steps.baseline import Baseline
from mlxforge.steps.calibrate import Calibrate
from mlxforge.steps.download import Download
from mlxforge.steps.evaluate import Evaluate
from mlxforge.steps.quantize import Quantize
from mlxforge.units import readable_bytes, readable_time

__all__ = ["memory_line", "peak_bytes", "seconds_of", "time_line"]

PROCESS_BYTES = 96 << 20  # Python, MLX, and the client of the Hub
QUANTIZING_BYTES = 8 << 20  # of each thread: what it reads, computes and has ready
SCORING_BYTES = 512 << 20  # besides weights that stay: a wave's activations and logits
QUIET = ("headers", "inspect", "pairs", "text", "overlap")
"""Steps that end in seconds."""


def time_line(project: Project, plan: Plan, needed: Collection[str], size: ModelSize) -> str:
    """``download 3 min, quantize 12 s, baseline not measured here yet``."""
    rates = measured_rates(project.store)
    told = []
    for of, node in _steps(plan):
        if (node.key in needed or of is not plan) and node.kind not in QUIET:
            seconds = seconds_of(of, node, rates, size.parameters)
            about = "not measured here yet"
            if seconds is not None:
                about = f"about {readable_time(seconds)}"
            told.append(f"{of.names[node.key]} {about}")
    return ", ".join(told) or "nothing has to run"


def _steps(plan: Plan) -> Iterator[tuple[Plan, Node]]:
    """Those of the plan, and those that follow once widths are chosen."""
    for node in plan.nodes():
        yield plan, node
    known = {node.key for node in plan.nodes()}
    if plan.later is not None:
        for node in plan.later.nodes():
            if node.key not in known:
                yield plan.later, node


def seconds_of(plan: Plan, node: Node, rates: Rates, parameters: int) -> float | None:
    """How long the step will take at these rates; None where a rate is not known."""
    work = dict(_work(plan, node, parameters))
    if not work or not work.keys() <= rates.keys():
        return None
    return sum(amount / rates[name] for name, amount in work.items())


def memory_line(project: Project, plan: Plan, table: LayerTable, size: ModelSize) -> str:
    """The most that a process of the build has: of finished steps what was measured. Steps that
    read texts and headers are told of when they are finished."""
    told = {}
    for of, node in _steps(plan):
        if (peak := peak_bytes(project, node, table, size)) is not None:
            told[of.names[node.key]] = peak
    steps = ", ".join(f"{name} {readable_bytes(peak)}" for name, peak in told.items())
    return f"{readable_bytes(max(told.values()))} at most ({steps})"


def peak_bytes(project: Project, node: Node, table: LayerTable, size: ModelSize) -> int | None:
    """The memory of the step's process: what it was, or else what it will not be more than; None
    where nothing bounds it."""
    artifact = project.find(node)
    if artifact and (peak := artifact.manifest.peak_bytes) is not None:
        return peak
    if node.kind == "quantize":
        from mlxforge.models.writing.parallel import cores

        return PROCESS_BYTES + QUANTIZING_BYTES * max(2, cores())
    if node.kind in ("calibrate", "heads", "baseline", "answers", "evaluate", *LEARNERS):
        prompted = isinstance(node.step, Evaluate) and bool(node.step.prompts)
        talks = prompted or "answers" in (node.kind, *dict(node.inputs))
        learned = 0
        if node.kind in ("calibrate", "heads", *LEARNERS):
            read = _calibration(node)
            learned = learning_bytes(node.kind, table, read.samples, read.sequence_length)
        return PROCESS_BYTES + SCORING_BYTES + _kept_bytes(size, talks) + learned
    return PROCESS_BYTES if isinstance(node.step, Download) else None


def _kept_bytes(size: ModelSize, talks: bool) -> int:
    """Weights that stay in memory: all of them on a GPU, on a CPU as float32 those of a small
    model, and where the model answers prompts as many as there is room for."""
    if backend() != "cpu":
        return size.bytes
    from mlxforge.models.scoring.loading import KEPT_BYTES, MOST_KEPT_BYTES

    decoded = 4 * size.parameters
    if talks:
        return min(decoded, MOST_KEPT_BYTES, max(KEPT_BYTES, available_bytes() // 2))
    return decoded if decoded <= KEPT_BYTES else 0


def _work(plan: Plan, node: Node, parameters: int) -> Iterator[tuple[str, float]]:
    """Amounts by the name of their rate."""
    step, scored = node.step, plan.recipe.evaluate
    if isinstance(step, Download):
        yield "download", missing_bytes(step)
    elif isinstance(step, Quantize) and node.kind == "quantize":
        yield quantize_rate(step.parameters()), parameters
    elif isinstance(step, Calibrate):
        yield "calibrate tokens", step.samples * step.sequence_length * parameters
    elif node.kind == "heads":
        yield "heads", parameters
    elif node.kind in LEARNERS:
        windows = _calibration(node).samples, _calibration(node).sequence_length
        tokens = learning_tokens(node.kind, step.parameters(), *windows)
        yield f"{node.kind} tokens", tokens * parameters
    elif isinstance(step, Baseline):
        yield "baseline tokens", _tokens(step) * parameters
    elif isinstance(step, Evaluate) and scored:
        if isinstance(step_of := plan.baseline and plan.baseline.step, Baseline):
            yield "evaluate tokens", _tokens(step_of) * parameters
        if step.prompts:
            yield "evaluate samples", len(step.prompts) * step.max_tokens * parameters


def _calibration(node: Node) -> Calibrate:
    """What the step learns from, or is."""
    calibrate = node if node.kind == "calibrate" else dict(node.inputs)["calibration"]
    assert isinstance(calibrate, Node) and isinstance(calibrate.step, Calibrate)
    return calibrate.step


def _tokens(step: Baseline) -> int:
    return step.samples * (step.sequence_length - 1)
