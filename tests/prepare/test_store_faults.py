"""Tests a store that is killed, damaged, filled by two processes, or on a full or read-only disk: nothing is lost."""

import json
import logging
import os
import random
import resource
import shutil
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from mammo.errors import StoreError
from mammo.phantom.draw import write_phantom
from mammo.prepare.gather import gather_split, requests_of
from mammo.prepare.records import read_checked, write_array
from mammo.prepare.store import Store
from mammo.settings.schema import PhantomSettings
from tests.prepare.store_runs import (
    LESION,
    PREPARE,
    ROOT,
    SIZE,
    filled,
    flip,
    hidden_files,
    lines_of,
    settings_of,
    start,
    store_of,
)
from tests.tiny import write_films


def test_damaged_and_missing_entries_are_rebuilt_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store, entries = filled(tmp_path)
    files = sorted(store.path(entry) for entry in entries.values())
    whole = [path.read_bytes() for path in files]
    flip(files[0], 5000)
    files[1].write_bytes(whole[1][:-7])
    files[2].write_bytes(b"")
    files[3].unlink()
    with caplog.at_level(logging.INFO):
        again, _ = store_of(tmp_path).fill(list(entries), workers=1)
    assert [path.read_bytes() for path in files] == whole
    assert again == entries
    (line,) = [record.getMessage() for record in caplog.records if "are damaged" in record.getMessage()]
    assert line.startswith("4 prepared images are damaged or missing and are made again, such as ")
    assert all(str(path) in line for path in files[:4])
    assert any("preparing 4 views" in record.getMessage() for record in caplog.records)


def test_whole_store_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, entries = filled(tmp_path)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        store_of(tmp_path).fill(list(entries), workers=1)
    assert caplog.records == []


@pytest.mark.parametrize("place", [0, 9, 60, 200, -1])
def test_reading_finds_a_flipped_bit_wherever_it_is(tmp_path: Path, place: int) -> None:
    store, entries = filled(tmp_path)
    entry = next(iter(entries.values()))
    assert np.array_equal(store.read(entry), np.load(store.path(entry)))
    flip(store.path(entry), place)
    with pytest.raises(
        StoreError,
        match=rf"{entry.file}: prepared image is missing or damaged .*`mammo prepare` with the same settings",
    ):
        store.read(entry)


def test_reading_a_file_that_is_gone_or_cut_names_it(tmp_path: Path) -> None:
    crc32 = write_array(tmp_path / "a.npy", np.arange(12, dtype=np.uint16).reshape(3, 4))
    assert read_checked(tmp_path / "a.npy", crc32).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"a\.npy: .*151 bytes whose checksum"):
        read_checked(tmp_path / "a.npy", crc32)
    with pytest.raises(StoreError, match=r"none\.npy: .*No such file"):
        read_checked(tmp_path / "none.npy", crc32)


def test_file_of_another_form_with_its_own_checksum_names_it(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"no array at all")
    with pytest.raises(StoreError, match=r"a\.npy: prepared image is missing or damaged"):
        read_checked(tmp_path / "a.npy", zlib.crc32(b"no array at all"))


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_torn_last_line_swallows_no_other(tmp_path: Path, cut: int) -> None:
    store, entries = filled(tmp_path)
    index = store.folder / "index.jsonl"
    index.write_bytes(index.read_bytes()[:-cut])
    again, _ = store_of(tmp_path).fill(list(entries), workers=1)
    assert again == entries
    assert len(store_of(tmp_path).usable(list(entries))) == len(entries)
    whole = [line for line in index.read_text(encoding="utf-8").splitlines() if _is_json(line)]
    assert len(whole) == len(entries)


def test_flipped_byte_in_the_index_costs_that_image_only(tmp_path: Path) -> None:
    """Whatever it is in: a box, a hash or a time that reads as another would be believed for ever."""
    store, entries = filled(tmp_path)
    index = store.folder / "index.jsonl"
    content = index.read_bytes()
    draw = random.Random(7)
    for _ in range(200):
        at = draw.randrange(len(content))
        index.write_bytes(content[:at] + bytes([content[at] ^ 1 << draw.randrange(7)]) + content[at + 1 :])
        usable = store_of(tmp_path).usable(list(entries))
        assert usable.items() <= entries.items()
        assert len(entries) - len(usable) in (1, 2)  # 2: a line's end
    again, _ = store_of(tmp_path).fill(list(entries), workers=1)
    assert again == entries


def summed(line: bytes) -> bytes:
    """A line of an index with the checksum that makes it be believed."""
    return line[:-1] + b', "crc32": %d}\n' % zlib.crc32(line)


ODD_LINES = {
    "nested": b'{"wish": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "list": b'[["wish", "entry"]]',
    "number": b"1}",
    "lists for names": b'{"wish": {"film": ["a"], "box": null, "masks": []}, "entry": {}}',
    "no text": b'{"wish": {"film": "a", "box": null, "masks": [["b"]]}, "entry": null}',
}
ODD_VALUES = {
    "stamps": [
        ["a"],
        7,
        None,
        "a",
        [None],
        [{"path": "a"}],
        [{"path": 1, "bytes": 1, "mtime_ns": 1, "sha256": ""}],
        [[[]]],
    ],
    "file": [1, None, ["a"], {"a": 1}],
    "film_box": [7, "a", [1], [[1], 2, 3, 4], {"0": 1}, [None] * 4],
    "film_hash": [1, None, ["a"]],
    "crc32": ["a", None, [1]],
    "more": [1],
}


def test_line_that_is_odd_with_a_right_checksum_ends_nothing(tmp_path: Path) -> None:
    """As another version may have written it: lists, numbers and nests where names are expected."""
    store, entries = filled(tmp_path)
    index = store.folder / "index.jsonl"
    first = index.read_bytes().splitlines()[0].rpartition(b', "crc32": ')[0] + b"}"
    for line in ODD_LINES.values():
        index.write_bytes(summed(line) + index.read_bytes())
    for name, values in ODD_VALUES.items():
        for value in values:
            both = json.loads(first)
            both["entry"][name] = value
            both["wish"]["film"] += "x"  # of a film that nobody asks for, and of one that is asked for
            other, same = json.dumps(both), json.dumps(both | {"wish": json.loads(first)["wish"]})
            index.write_bytes(summed(other.encode()) + summed(same.encode()) + index.read_bytes())
    again, _ = store_of(tmp_path).fill(list(entries), workers=1)
    assert again == entries
    index.write_bytes(
        index.read_bytes() + summed(same.encode()) + summed(json.dumps(json.loads(first) | {"entry": {}}).encode())
    )
    again, _ = store_of(tmp_path).fill(list(entries), workers=1)
    assert again == entries


def _is_json(line: str) -> bool:
    try:
        return bool(json.loads(line))
    except ValueError:
        return False


def test_leftovers_of_killed_writers_are_cleared_away(tmp_path: Path) -> None:
    store, entries = filled(tmp_path)
    entry = next(iter(entries.values()))
    left = store.path(entry).with_name(f".{store.path(entry).name}.4242")
    left.write_bytes(b"half")
    store.path(entry).unlink()
    store_of(tmp_path).fill(list(entries), workers=1)
    assert not left.exists()
    assert store.path(entry).is_file()


@pytest.mark.slow
def test_two_processes_fill_a_store_without_making_anything_twice(tmp_path: Path) -> None:
    write_films(tmp_path, patients=60)
    both = [start(tmp_path), start(tmp_path)]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert all(out.endswith("prepared 120\n") for out, _ in said)
    assert sum("preparing 120 views" in out for out, _ in said) == 1
    assert lines_of(tmp_path) == 120


def test_second_store_finds_what_the_first_made_meanwhile(tmp_path: Path) -> None:
    write_films(tmp_path, patients=6)
    requests = requests_of(gather_split(settings_of(tmp_path)).samples)
    late = store_of(tmp_path)
    store_of(tmp_path).fill(requests, workers=1)
    assert len(late.fill(requests, workers=1)[0]) == 12
    assert lines_of(tmp_path) == 12


PHANTOM = """
import sys
from pathlib import Path
from mammo.phantom.draw import write_phantom
from mammo.settings.schema import PhantomSettings
write_phantom(Path(sys.argv[1]), PhantomSettings(patients=12, film_size=(160, 120)), progress=False)
"""


def start_phantom(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PHANTOM, str(folder)], env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True
    )


def test_two_processes_and_a_killed_one_leave_one_whole_phantom(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "phantom"
    killed = start_phantom(folder)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("data/.phantom.*.partial/*")) and time.monotonic() < deadline:
        time.sleep(0.001)
    killed.kill()
    killed.wait()
    assert list(tmp_path.glob("data/.phantom.*.partial"))
    both = [start_phantom(folder), start_phantom(folder)]
    assert [process.wait(120) for process in both] == [0, 0]
    settings = PhantomSettings(patients=12, film_size=(160, 120))
    written = (folder / "phantom.json").read_bytes()
    write_phantom(folder, settings, progress=False)
    assert (folder / "phantom.json").read_bytes() == written
    assert sorted(path.name for path in folder.parent.iterdir()) == [".phantom.lock", "phantom"]


def limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))


@pytest.mark.parametrize("workers", [1, 2])
def test_full_disk_ends_in_one_line_and_leaves_no_half_file(tmp_path: Path, workers: int) -> None:
    write_films(tmp_path, patients=6)
    process = start(tmp_path, workers=workers, preexec_fn=limit_file_size)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2
    assert said.count("\n") == 1, said
    assert said.startswith(f"mammo: error: {store_of(tmp_path).folder}")
    assert ".npy: cannot be written (File too large); free space there" in said
    assert hidden_files(tmp_path / "output") == []
    assert list(tmp_path.rglob("*.npy")) == []
    again = start(tmp_path)
    assert again.communicate(timeout=120)[0].endswith("prepared 12\n")


def test_full_disk_in_the_index_costs_nothing_that_was_made(tmp_path: Path) -> None:
    """The index reaches the limit after some lines; all its lines are complete."""
    write_films(tmp_path, patients=60)
    small = PREPARE.replace(str(list(SIZE)), "[32, 32]")
    command = [sys.executable, "-c", small, str(tmp_path), "1"]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        preexec_fn=limit_file_size,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert "index.jsonl: cannot be written (File too large)" in done.stderr
    store = Store(tmp_path / "output" / "store", LESION.model_copy(update={"image_size": (32, 32)}))
    assert 10 < len(store._entries) < 120
    assert len(store.usable(list(store._entries))) == len(store._entries)


needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user"
)


@needs_root
def test_folder_of_another_user_ends_in_one_line() -> None:
    folder = Path("/tmp") / f"mammo-read-only-{os.getpid()}"  # pytest's own folders are closed to other users
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o755)
    try:
        write_films(folder, patients=6)
        (folder / "output" / "store").mkdir(parents=True)
        process = start(folder, user=65534)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 2
        assert said.count("\n") == 1, said
        assert said.startswith(f"mammo: error: {store_of(folder).folder}: cannot be written (Permission denied)")
        assert list((folder / "output" / "store").iterdir()) == []
    finally:
        shutil.rmtree(folder)


@needs_root
def test_whole_store_of_another_user_is_read_without_writing() -> None:
    folder = Path("/tmp") / f"mammo-whole-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o755)
    try:
        filled(folder)
        process = start(folder, user=65534)
        printed, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")
        assert printed.endswith("prepared 12\n")
    finally:
        shutil.rmtree(folder)


def test_a_large_store_is_looked_at_by_size_at_the_start_and_read_whole_by_prepare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, entries = filled(tmp_path)
    first, second = list(entries)[:2]
    flip(store.path(entries[first]), 500)
    store.path(entries[second]).write_bytes(store.path(entries[second]).read_bytes()[:-1])
    assert set(store.usable(entries)) == set(entries) - {first, second}
    monkeypatch.setattr("mammo.prepare.store.READ_AT_START_BYTES", 0)
    assert set(store_of(tmp_path).usable(entries, thorough=False)) == set(entries) - {second}
    with pytest.raises(StoreError, match="prepared image is missing or damaged"):
        store.read(entries[first])
    assert set(store_of(tmp_path).usable(entries, thorough=True)) == set(entries) - {first, second}
