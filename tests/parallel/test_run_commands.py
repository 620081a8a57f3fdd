"""Commands in processes of their own: how many at a time, their ends, and that they stop with their parent."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path

from mammo.parallel.commands import run_commands
from tests.processes import ROOT

# Notes its start, waits for a signal, and notes that it came.
PATIENT = """
import signal, sys, time
from pathlib import Path
from mammo.parallel.commands import stop_with_parent
def note(number, frame):
    Path(sys.argv[1]).write_text("stopped")
    sys.exit(3)
signal.signal(signal.SIGTERM, note)
stop_with_parent()
Path(sys.argv[1]).write_text("started")
while True:
    time.sleep(0.05)
"""
RUN_ONE = """
import sys
from pathlib import Path
from mammo.parallel.commands import run_commands
list(run_commands([(sys.argv[1:], Path(sys.argv[-1] + ".log"))], 1, environment={}))
"""


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def wait_for(path: Path, text: str) -> None:
    until = time.monotonic() + 60
    while not path.is_file() or path.read_text(encoding="utf-8") != text:
        assert time.monotonic() < until, f"{path} never had {text}"
        time.sleep(0.05)


def test_each_end_is_reported_and_outputs_go_to_their_files(tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ['GIVEN'], flush=True); sys.exit(int(sys.argv[1]))"
    commands = [(python(code, number), tmp_path / f"{number}.log") for number in range(3)]
    ends = list(run_commands(commands, 2, environment={"GIVEN": "here"}))
    assert {end.number: end.code for end in ends} == {0: 0, 1: 1, 2: 2}
    assert all(end.seconds > 0 for end in ends)
    assert [log.read_text(encoding="utf-8") for _, log in commands] == ["here\n"] * 3


def test_no_more_run_at_a_time_than_asked_for(tmp_path: Path) -> None:
    code = "import sys, time; print(time.time()); time.sleep(0.3); print(time.time())"
    commands = [(python(code), tmp_path / f"{number}.log") for number in range(3)]
    assert [end.number for end in run_commands(commands, 1, environment={})] == [0, 1, 2]
    spans = [[float(line) for line in log.read_text(encoding="utf-8").split()] for _, log in commands]
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_commands_that_run_are_stopped_with_the_iterator(tmp_path: Path) -> None:
    note = tmp_path / "note"
    wait = f"import time, pathlib\nwhile not pathlib.Path({str(note)!r}).exists():\n    time.sleep(0.05)"
    commands = [(python(PATIENT, note), tmp_path / "patient.log"), (python(wait), tmp_path / "quick.log")]
    with closing(run_commands(commands, 2, environment={"PYTHONPATH": str(ROOT)})) as ends:
        assert next(ends).number == 1
    assert note.read_text(encoding="utf-8") == "stopped"


def test_a_command_stops_when_its_parent_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "note"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(python(RUN_ONE, *python(PATIENT, note)), env=environment)
    wait_for(note, "started")
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(note, "stopped")
