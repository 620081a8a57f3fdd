"""Tests killing the command or its worker while it fills a store: one line, nothing lost, no hanging."""

import contextlib
import os
import random
import signal
import subprocess
import time
import zlib
from pathlib import Path

import pytest

from tests.images.workers import on_linux
from tests.prepare.store_runs import LESION, hidden_files, lines_of, start, store_of
from tests.processes import children, ended, refused, wait_until
from tests.tiny import write_films

pytestmark = pytest.mark.slow


def test_prepare_killed_again_and_again_ends_with_the_same_arrays(tmp_path: Path) -> None:
    """SIGKILL at ten random moments; the store is whole each time, and the result is that of an undisturbed run."""
    folders = tmp_path / "killed", tmp_path / "whole"
    for folder in folders:
        folder.mkdir()
        write_films(folder, patients=70)
    draw, kills = random.Random(7), 0
    for number in range(10):
        process = start(folders[0], workers=1 + number % 2, start_new_session=True, stdout=subprocess.DEVNULL)
        before, deadline = lines_of(folders[0]), time.monotonic() + 60
        goal = before + draw.randrange(1, 20)
        while process.poll() is None and lines_of(folders[0]) < goal and time.monotonic() < deadline:
            time.sleep(0.0005)
        time.sleep(draw.random() * 0.01)
        kills += process.poll() is None
        process.kill()
        process.wait()
        store = store_of(folders[0])
        for entry in store._entries.values():
            assert store.read(entry).shape == LESION.stored_size
        with contextlib.suppress(
            ProcessLookupError
        ):  # a worker killed before its first film would wait for five minutes
            os.killpg(process.pid, signal.SIGKILL)
    assert kills >= 8
    for folder in folders:
        done = start(folder)
        printed, errors = done.communicate(timeout=120)
        assert done.returncode == 0, errors
        assert printed.endswith("prepared 140\n")
    killed, whole = (_content(store_of(folder).folder) for folder in folders)
    assert len(whole) == 140
    assert killed == whole
    assert hidden_files(folders[0] / "output") == []


def _content(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): zlib.crc32(path.read_bytes()) for path in folder.rglob("*.npy")}


def test_workers_of_a_killed_prepare_end_with_it(tmp_path: Path) -> None:
    """They hold its output open, so that whoever reads that (`| tee log`) would wait for them."""
    write_films(tmp_path, patients=150)
    process = start(tmp_path, workers=2)
    deadline = time.monotonic() + 60
    while lines_of(tmp_path) < 200 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    assert process.poll() is None
    process.kill()
    process.communicate(timeout=20)


def joblib_workers(process: int) -> list[int]:
    """Those that joblib has started, but for the one that tidies up after it."""
    found = []
    for child in children(process):
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{child}/cmdline").read_bytes()
            found += [child] if b"popen_loky" in line else []
    return found


@on_linux
def test_killed_worker_ends_the_command_in_one_line_and_costs_nothing(tmp_path: Path) -> None:
    """As the system kills one when the memory is full: while it starts, waits, works or answers."""
    write_films(tmp_path, patients=150)
    draw, kills = random.Random(3), 0
    for number in range(10):
        before = lines_of(tmp_path)
        process = start(tmp_path, workers=2, stderr=subprocess.PIPE)
        goal = before + (0 if number < 2 else draw.randrange(1, 25))
        assert wait_until(
            process, lambda goal=goal, pid=process.pid: lines_of(tmp_path) >= goal and bool(joblib_workers(pid))
        )
        time.sleep(draw.random() * 0.02)
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(draw.choice(joblib_workers(process.pid)), signal.SIGKILL)
            kills += 1
        done = ended(process)
        line = refused(
            done, "a worker process ended early (SIGKILL)", "data.prepare_workers=1", "run the command again"
        )
        assert done.stderr.count("\n") == 1
        assert len(line) < 300
        assert lines_of(tmp_path) >= goal
        store = store_of(tmp_path)
        assert len(store.usable(list(store._entries))) == len(store._entries)
    assert kills == 10
    printed, errors = start(tmp_path, workers=2).communicate(timeout=120)
    assert (printed.splitlines()[-1], errors) == ("prepared 300", "")
    assert _content(store_of(tmp_path).folder).keys() == {entry.file for entry in store_of(tmp_path)._entries.values()}


@on_linux
@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.2])
def test_keyboard_stops_the_command_in_one_line(tmp_path: Path, after_s: float) -> None:
    """A terminal sends Ctrl-C to the workers too, which have nothing to say about it, from their start on."""
    write_films(tmp_path, patients=150)
    process = start(tmp_path, workers=2, start_new_session=True)
    assert wait_until(process, lambda: bool(joblib_workers(process.pid)))
    time.sleep(after_s)
    os.killpg(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert errors.startswith("mammo: error: ")
    assert errors.count("\n") == 1
