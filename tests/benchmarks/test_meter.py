"""The cost of a command is that of its whole process tree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.meter import Command, measure
from benchmarks.pairs import Task, alternate
from benchmarks.profiling import profiled
from mlxforge.errors import ForgeError

MIB = 1 << 20
# children that hold memory at the same time as their parent, long enough to be seen
TREE = """\
import subprocess, sys, time
depth = int(sys.argv[1])
held = b"x" * (64 << 20)
child = subprocess.Popen([sys.executable, __file__, str(depth - 1)]) if depth else None
time.sleep(0.6)
if child:
    child.wait()
"""


def script(folder: Path, text: str) -> str:
    path = folder / "script.py"
    path.write_text(text)
    return str(path)


def test_memory_is_summed_over_children_and_their_children(tmp_path: Path) -> None:
    program = script(tmp_path, TREE)
    alone = measure(Command((program, "0")), tmp_path / "log").memory
    three = measure(Command((program, "2")), tmp_path / "log").memory
    assert 64 * MIB < alone < 128 * MIB
    assert 3 * 64 * MIB < three < 3 * 128 * MIB


def test_time_is_that_of_the_process_from_start_to_end(tmp_path: Path) -> None:
    program = script(tmp_path, "import time; time.sleep(0.3)")
    assert measure(Command((program,)), tmp_path / "log").seconds >= 0.3


def test_standard_input_gets_one_line_and_stays_open(tmp_path: Path) -> None:
    text = "import select, sys; print(sys.stdin.readline())\n"
    text += "print('open' if not select.select([sys.stdin], [], [], 0.2)[0] else 'closed')\n"
    command = Command((script(tmp_path, text),), line="a job")
    measure(command, tmp_path / "log")
    assert (tmp_path / "log").read_text().split() == ["a", "job", "open"]


def test_a_command_that_fails_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    command = Command((script(tmp_path, "print('before'); raise SystemExit('out of luck')"),))
    with pytest.raises(ForgeError) as failed:
        measure(command, tmp_path / "log")
    assert failed.value.message.startswith("status 1: python ")
    assert "out of luck" in str(failed.value.hint)


def test_pairs_alternate_and_leave_nothing(tmp_path: Path) -> None:
    program = script(
        tmp_path,
        "import pathlib, sys\n"
        "pathlib.Path(sys.argv[2], 'output').write_text('3.5')\n"
        "pathlib.Path(sys.argv[3]).open('a').write(sys.argv[1])\n",
    )
    order = tmp_path / "order"

    def task(side: str) -> Task:
        return Task(
            lambda folder: Command((program, side, str(folder), str(order))),
            lambda folder: float((folder / "output").read_text()),
        )

    pairs = alternate(task("o"), task("t"), 3, tmp_path / "scratch")
    assert order.read_text() == "ot" + "to" + "ot"
    assert [run.value for run in pairs.ours] == [3.5] * 3 == [run.value for run in pairs.theirs]
    assert not list((tmp_path / "scratch").iterdir())


def test_a_profile_names_the_functions_that_take_the_time(tmp_path: Path) -> None:
    text = "def busy():\n    return sum(number * number for number in range(300_000))\n"
    text += "import threading\n"
    text += "threads = [threading.Thread(target=busy) for _ in range(2)]\n"
    text += "[thread.start() for thread in threads], [thread.join() for thread in threads]\n"
    command = Command((script(tmp_path, text),))
    measure(profiled(command, tmp_path / "report"), tmp_path / "log")
    lines = (tmp_path / "report").read_text().splitlines()
    assert "tottime" in lines[0] and len(lines) == 11
    assert any("genexpr" in line for line in lines[1:4])


def test_a_step_can_be_profiled(tmp_path: Path) -> None:
    from benchmarks.ours import inspecting
    from tests.conftest import DEMO

    command = inspecting(DEMO / "model").command(tmp_path)
    assert json.loads(str(command.line))["kind"] == "inspect"
    measure(profiled(command, tmp_path / "report"), tmp_path / "log")
    assert "tottime" in (tmp_path / "report").read_text()
    assert (tmp_path / "data" / "layers.json").is_file()
