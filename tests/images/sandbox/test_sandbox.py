"""The sandboxed decoder: it reads the same films as `read_film`, and handles every way in which a process can end."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mammo.errors import ImageError
from mammo.images.decode import read_film, read_pixels, read_series_uid, readers
from mammo.images.sandbox.decode import (
    end_processes,
    read_untrusted_film,
    read_untrusted_pixels,
    read_untrusted_series_uid,
)
from mammo.images.sandbox.process import Limits
from tests.images.dicom_files import film_dataset, ramp, saved
from tests.images.workers import has_open, is_alive, on_linux, peak_bytes, wait_until, workers_of

ROOT = Path(__file__).resolve().parents[3]
pytestmark = on_linux


@pytest.fixture(autouse=True)
def no_processes() -> Iterator[None]:
    """Start and end each test without decoding processes."""
    end_processes()
    yield
    end_processes()


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return saved(film_dataset(ramp(), SeriesInstanceUID="1.2.3.4"), tmp_path / "good 乳.dcm")


def slow_file(folder: Path) -> Path:
    """Write a PGM of numbers as text, which Pillow takes some seconds to read."""
    path = folder / "slow.pgm"
    path.write_bytes(b"P2\n6000 3000\n255\n" + b"7 " * 18_000_000)
    return path


def test_sandbox_reads_the_same_film_pixels_and_series(good: Path) -> None:
    here, sandbox = readers(untrusted=False), readers(untrusted=True)
    assert (here.film, here.pixels, here.series_uid) == (read_film, read_pixels, read_series_uid)
    assert np.array_equal(sandbox.film(good).pixels, here.film(good).pixels)
    assert sandbox.film(good).bits == 12
    assert np.array_equal(sandbox.pixels(good), ramp())
    assert sandbox.series_uid(good) == here.series_uid(good) == "1.2.3.4"


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_stored_values_keep_their_type(tmp_path: Path, dtype: type[np.generic]) -> None:
    bits = 8 * np.dtype(dtype).itemsize
    values = ramp(top=(1 << bits) - 1).astype(dtype)
    read = read_untrusted_pixels(saved(film_dataset(values, bits=bits), tmp_path / "a.dcm"))
    assert read.dtype == dtype
    assert np.array_equal(read, values)


def test_one_process_serves_many_files(good: Path) -> None:
    read_untrusted_film(good)
    first = workers_of()
    for _ in range(20):
        read_untrusted_film(good)
    assert len(first) == 1
    assert workers_of() == first


def test_process_is_replaced_after_its_share_of_files(good: Path) -> None:
    seen = set()
    for _ in range(6):
        read_untrusted_film(good, limits=Limits(files=3))
        seen.update(workers_of())
    assert len(seen) <= 2
    assert workers_of() == []


def test_sandbox_reports_the_same_errors(tmp_path: Path) -> None:
    broken = tmp_path / "broken\u202e.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nxx")
    empty = tmp_path / "empty.dcm"
    empty.write_bytes(b"")
    for path in (broken, empty, tmp_path / "none.dcm", tmp_path):
        with pytest.raises(ImageError) as here:
            read_film(path)
        with pytest.raises(ImageError) as sandbox:
            read_untrusted_film(path)
        assert str(sandbox.value) == str(here.value)


def test_relative_path_is_found_from_the_folder_of_the_caller(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_untrusted_film(good)
    monkeypatch.chdir(good.parent)
    assert read_untrusted_film(Path(good.name)).pixels.shape == ramp().shape
    with pytest.raises(ImageError, match=r"^none\.dcm: does not exist"):
        read_untrusted_film(Path("none.dcm"))


def test_many_threads_read_at_once(tmp_path: Path) -> None:
    paths = [saved(film_dataset(ramp() // (number + 1)), tmp_path / f"{number}.dcm") for number in range(12)]
    with ThreadPoolExecutor(6) as threads:
        films = list(threads.map(read_untrusted_film, paths * 3))
    assert all(np.array_equal(film.pixels, read_film(path).pixels) for film, path in zip(films, paths * 3, strict=True))
    assert 1 <= len(workers_of()) <= 4  # a few wait for the next files


def test_decoding_that_takes_too_long_is_stopped(tmp_path: Path, good: Path) -> None:
    start = time.monotonic()
    with pytest.raises(
        ImageError,
        match=r"slow\.pgm: the process that decoded it was stopped: it took longer than 0\.3 s; .*leave it out$",
    ):
        read_untrusted_film(slow_file(tmp_path), limits=Limits(seconds=0.3))
    assert time.monotonic() - start < 10
    assert workers_of() == []
    assert read_untrusted_film(good).pixels.shape == ramp().shape


def test_process_that_hangs_is_stopped(good: Path) -> None:
    limits = Limits(seconds=1.0)
    read_untrusted_film(good, limits=limits)
    (worker,) = workers_of()
    os.kill(worker, signal.SIGSTOP)
    with pytest.raises(ImageError, match=r"good 乳\.dcm: .* it took longer than 1 s"):
        read_untrusted_film(good, limits=limits)
    assert not is_alive(worker)
    assert read_untrusted_film(good, limits=limits).pixels.shape == ramp().shape


def test_named_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.dcm")
    with pytest.raises(ImageError, match=r"pipe\.dcm: is not a regular file"):
        read_untrusted_film(tmp_path / "pipe.dcm")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_process_killed_in_mid_file_is_one_error_and_the_next_file_is_read(
    tmp_path: Path, good: Path, number: signal.Signals
) -> None:
    errors: list[str] = []
    slow = slow_file(tmp_path)

    def read() -> None:
        try:
            read_untrusted_film(slow)
        except ImageError as error:
            errors.append(str(error))

    thread = threading.Thread(target=read)
    thread.start()
    assert wait_until(lambda: [worker for worker in workers_of() if has_open(worker, slow)])
    os.kill(workers_of()[0], number)
    thread.join(20)
    assert len(errors) == 1
    assert f"slow.pgm: the process that decoded it was stopped: it was ended by {number.name}; " in errors[0]
    assert workers_of() == []
    assert read_untrusted_film(good).pixels.shape == ramp().shape


def test_process_that_died_between_files_is_replaced_without_a_message(good: Path) -> None:
    read_untrusted_film(good)
    (worker,) = workers_of()
    os.kill(worker, signal.SIGKILL)
    assert wait_until(lambda: not is_alive(worker))
    assert read_untrusted_film(good).pixels.shape == ramp().shape
    assert worker not in workers_of()


@pytest.mark.parametrize("kind", ["dcm", "png"])
def test_file_that_needs_too_much_memory_is_one_error_and_the_next_file_is_read(
    tmp_path: Path, good: Path, kind: str
) -> None:
    path, limits = tmp_path / f"large.{kind}", Limits(memory_bytes=300 * 2**20)
    pixels = np.zeros((9000, 7000), np.uint16)
    if kind == "dcm":
        saved(film_dataset(pixels), path)
    else:
        Image.fromarray(pixels[:8000]).save(path)
    assert read_film(path).pixels.shape[1] == 7000
    read_untrusted_film(good, limits=limits)
    with pytest.raises(ImageError, match=rf"large\.{kind}: decoding it needs more than the 300 MiB that it may use"):
        read_untrusted_film(path, limits=limits)
    assert workers_of() == []
    read_untrusted_film(good, limits=limits)
    assert peak_bytes(workers_of()[0]) <= limits.memory_bytes


def test_memory_too_small_for_any_process_says_so(good: Path) -> None:
    with pytest.raises(
        ImageError,
        match=r"good 乳\.dcm: (no decoding process starts, 3 tried|decoding it needs more than the 1 MiB|.*stopped)",
    ):
        read_untrusted_film(good, limits=Limits(memory_bytes=2**20))
    assert workers_of() == []


def test_limits_are_set_on_the_process(good: Path) -> None:
    read_untrusted_film(good)
    lines = Path(f"/proc/{workers_of()[0]}/limits").read_text(encoding="utf-8").splitlines()
    limits = {line[:26].strip(): line[26:].split()[:2] for line in lines}
    assert limits["Max address space"] == [str(2**31)] * 2
    assert limits["Max file size"] == limits["Max core file size"] == limits["Max processes"] == ["0", "0"]
    assert limits["Max open files"] == ["32", "32"]


def test_process_gets_no_secret_of_the_environment(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAMMO_TEST_TOKEN", "hunter2")
    read_untrusted_film(good)
    environment = Path(f"/proc/{workers_of()[0]}/environ").read_bytes()
    assert b"hunter2" not in environment
    assert b"OPENBLAS_NUM_THREADS=1" in environment


SCRIPT = """
import os, sys, time
from pathlib import Path
from mammo.images.sandbox.decode import end_processes, read_untrusted_film
path = Path(sys.argv[1])
read_untrusted_film(path)
"""


def started(script: str, path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT + script, str(path)]
    return subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_process_ends_when_its_parent_is_killed(good: Path) -> None:
    with started("print('ready', flush=True); time.sleep(60)", good) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        (worker,) = workers_of(parent.pid)
        parent.kill()
        assert wait_until(lambda: not is_alive(worker))


def test_process_ends_with_the_interpreter(good: Path) -> None:
    script = "sys.path.insert(0, os.getcwd()); from tests.images.workers import workers_of; print(workers_of()[0])"
    with started(script, good) as parent:
        output, errors = parent.communicate(timeout=60)
    assert parent.returncode == 0, errors
    assert not is_alive(int(output))


def test_forked_child_has_a_process_of_its_own_and_none_of_its_parent(good: Path) -> None:
    """The child reads and lives on; the parent's decoding process must still end with the parent."""
    script = """
if os.fork() == 0:
    film = read_untrusted_film(path)
    print("child", film.pixels.shape[0], flush=True)
    time.sleep(60)
    os._exit(0)
print("parent", read_untrusted_film(path).pixels.shape[0], flush=True)
time.sleep(60)
"""
    with started(script, good) as parent:
        assert parent.stdout is not None
        assert sorted(parent.stdout.readline() for _ in range(2)) == ["child 40\n", "parent 40\n"]
        own = workers_of(parent.pid)
        (child,) = [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and _parent(entry) == parent.pid and int(entry.name) not in own
        ]
        of_child = workers_of(child)
        assert len(own) == len(of_child) == 1
        assert own != of_child
        parent.kill()
        assert wait_until(lambda: not is_alive(own[0]))
        assert is_alive(of_child[0])
        os.kill(child, signal.SIGKILL)
        assert wait_until(lambda: not is_alive(of_child[0]))


def _parent(entry: Path) -> int:
    lines = (entry / "status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("PPid:")).split()[1])


def test_ending_the_processes_leaves_no_zombie(good: Path) -> None:
    read_untrusted_film(good)
    end_processes()
    assert workers_of() == []
    assert read_untrusted_series_uid(good) == "1.2.3.4"


def test_interrupted_request_does_not_answer_the_next_one(tmp_path: Path, good: Path) -> None:
    """Press Ctrl-C while a file is decoded: its pixels must not become those of the next file."""
    slow = slow_file(tmp_path)
    read_untrusted_film(good)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it comes from outside
            read_untrusted_film(slow)
            time.sleep(5)
    finally:
        signal.signal(signal.SIGINT, before)
    assert workers_of() == []
    assert read_untrusted_film(good).pixels.shape == ramp().shape
