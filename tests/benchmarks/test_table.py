"""From samples to ratios, a table, a document and its place in another one."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import figures
from benchmarks.figures import at_most, within
from benchmarks.pairs import Pairs, Run
from benchmarks.results import Machine, Results, RowResult, load_results, this_machine
from benchmarks.table import markdown, replace_in, terminal
from mlxforge.errors import ForgeError

OURS = (Run(1.0, 100_000_000, 26.0), Run(2.0, 90_000_000, 26.0), Run(9.0, 80_000_000, 26.0))
THEIRS = (Run(4.0, 10**9, 26.1), Run(5.0, 10**9, 26.1), Run(6.0, 10**9, 26.1))
PAIRS = Pairs(OURS, THEIRS)
MACHINE = Machine("a CPU", 2, 8 << 30, "Linux", {"python": "3.11.0", "mlx": "0.32.4"})
ROW = RowResult(
    "fast",
    "ours, against `theirs`",
    (
        figures.wall(PAIRS, at_most(0.35)),
        figures.memory(PAIRS, at_most(0.15)),
        figures.value("perplexity", PAIRS, within(0.005)),
    ),
    (PAIRS,),
    ("equal tensors",),
    ("where the time goes",),
)
BROKEN = RowResult("broken", "this, against that", error="the outputs differ: a.weight\n  hint")
RESULTS = Results(MACHINE, (ROW, BROKEN))


def test_the_ratio_is_the_median_of_the_pairs_ratios() -> None:
    wall = ROW.figures[0]
    assert wall.ratios == [0.25, 0.4, 1.5] and wall.ratio == 0.4 and not wall.met
    assert ROW.figures[1].ratio == pytest.approx(0.09) and ROW.figures[1].met


def test_a_target_bounds_from_above_or_on_both_sides() -> None:
    assert at_most(0.5).met(0.5) and not at_most(0.5).met(0.51)
    assert within(0.005).met(0.996) and not within(0.005).met(0.994)
    assert not within(0.005).met(1.006)


def test_memory_can_be_compared_with_a_number_of_bytes() -> None:
    found = figures.memory(Pairs(OURS), at_most(0.5), against=2e8)
    assert found.ratios == [0.5, 0.45, 0.4]


def test_markdown_has_every_figure_with_its_spread_and_target() -> None:
    lines = markdown(RESULTS).splitlines()
    wall = "| fast | wall | 2.00 s | 5.00 s | 0.40 | 0.25 … 1.50 | ≤ 0.35 | missed |"
    memory = "|  | memory | 90 MB | 1,000 MB | 0.09 | 0.08 … 0.10 | ≤ 0.15 | met |"
    assert lines[2:4] == [wall, memory]
    assert lines[4].startswith("|  | perplexity | 26.000 | 26.100 | 0.9962 | ")
    assert lines[5] == "| broken | the outputs differ: a.weight |  |  |  |  |  | error |"
    assert "- **fast**: ours, against `theirs`; equal tensors." in lines
    assert "Measured on a CPU, 2 cores, 8 GiB" in lines[-1] and "mlx 0.32.4" in lines[-1]


def test_the_terminals_table_says_the_same() -> None:
    console = Console(width=140, file=io.StringIO(), record=True)
    console.print(terminal(RESULTS))
    shown = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert shown[1] == "fast wall 2.00 s 5.00 s 0.40 0.25 … 1.50 ≤ 0.35 missed"


def test_the_table_replaces_what_stands_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- benchmarks -->\nold\n<!-- /benchmarks -->\nafter\n")
    for text in ("new\n", "newer\n"):
        replace_in(page, text)
        marked = f"<!-- benchmarks -->\n{text}<!-- /benchmarks -->"
        assert page.read_text() == f"before\n{marked}\nafter\n"


@pytest.mark.parametrize("content", ["nothing", "<!-- /benchmarks --> <!-- benchmarks -->"])
def test_a_page_without_the_marks_is_left_alone(tmp_path: Path, content: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(content)
    with pytest.raises(ForgeError, match="has no place for the table"):
        replace_in(page, "new\n")
    assert page.read_text() == content


def test_results_come_back_from_their_document(tmp_path: Path) -> None:
    RESULTS.save(tmp_path / "results.json")
    assert load_results(tmp_path / "results.json") == RESULTS


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"machine": {}, "rows": []}'])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(ForgeError, match="holds no results"):
        load_results(tmp_path / "results.json")


def test_a_row_measured_again_takes_its_old_place() -> None:
    again = RowResult("fast", "again")
    found = RESULTS.including(again, ["slow", "fast", "broken"])
    assert [row.name for row in found.rows] == ["fast", "broken"] and found.rows[0] == again


def test_the_machine_is_known_and_the_date_is_not() -> None:
    machine = this_machine()
    assert machine.cores > 0 and machine.memory > 1 << 30 and machine.cpu
    assert {"python", "mlx", "mlx-lm", "mlxforge"} <= machine.versions.keys()
    assert machine == this_machine()
