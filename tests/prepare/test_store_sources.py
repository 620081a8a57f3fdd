"""Tests films that change: while they are read, between runs, in place or replaced; and files that are too large."""

import contextlib
import logging
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from mammo.errors import ImageError
from mammo.files import locked
from mammo.images.limits import MAX_FILE_BYTES
from mammo.images.preprocess import PreprocessSettings
from mammo.prepare.film_checks import content_of
from mammo.prepare.film_job import prepare_requests
from mammo.prepare.gather import gather_split, requests_of
from mammo.prepare.records import Entry, StoreRequest, stamp_file, still_as
from mammo.prepare.store import Store
from tests.images.workers import on_linux
from tests.prepare.store_runs import LESION, filled, lines_of, settings_of, start, store_of
from tests.tiny import write_films

FILM = PreprocessSettings(task="film", image_size=(64, 48), context=2.0, margin=1.3, intensity="full")
BOX = (200.0, 300.0, 100.0, 90.0)


def write_film(path: Path, seed: int, *, height: int = 1600) -> Path:
    """A film that takes a tenth of a second to decode, in a form whose files are all of one size."""
    random = np.random.default_rng(seed)
    film = np.zeros((height, 1200), np.uint16)
    film[:, :700] = random.integers(20_000 + 9_000 * seed, 28_000 + 9_000 * seed, (height, 700))
    path.write_bytes(b"P5 1200 %d 65535\n" % height + film.astype(">u2").tobytes())
    return path


def replace_with(path: Path, other: Path) -> None:
    shutil.copyfile(other, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def write_into(path: Path, other: Path) -> None:
    """One byte changes, and the place of the file does not."""
    with path.open("r+b") as file:
        file.seek(100)
        file.write(other.read_bytes()[100:101])


@contextmanager
def going_on(change: Callable[[], None]) -> Iterator[None]:
    """Change something again and again while the block runs."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            change()
            time.sleep(0.002)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("change", [replace_with, write_into])
def test_film_that_changes_while_it_is_read_is_reported_and_not_kept(
    tmp_path: Path, change: Callable[[Path, Path], None]
) -> None:
    old, new = write_film(tmp_path / "old.pgm", 0), write_film(tmp_path / "new.pgm", 1)
    film = tmp_path / "film.pgm"
    shutil.copyfile(old, film)
    with going_on(lambda: change(film, new)):
        entries, failures = Store(tmp_path / "store", FILM).fill([StoreRequest(str(film))], workers=1)
    assert entries == {}
    message = str(failures[StoreRequest(str(film))])
    assert message.startswith(f"{film}: the file changed while it was read; run the command again")
    replace_with(film, new)
    store = Store(tmp_path / "store", FILM)
    requests = [StoreRequest(str(film)), StoreRequest(str(new))]
    good, _ = store.fill(requests, workers=1)
    assert good[requests[0]].film_hash == good[requests[1]].film_hash


def test_mask_that_changes_while_it_is_read_is_reported(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.pgm", 0)
    masks = []
    for place in (100, 300):
        mask = np.zeros((1600, 1200), np.uint8)
        mask[place : place + 50, 100:150] = 255
        masks.append(tmp_path / f"{place}.png")
        cv2.imwrite(str(masks[-1]), mask)
    shutil.copyfile(masks[0], tmp_path / "mask.png")
    request = StoreRequest(str(film), None, (str(tmp_path / "mask.png"),))
    with going_on(lambda: replace_with(tmp_path / "mask.png", masks[1])):
        ((_, made),) = prepare_requests([request], FILM, tmp_path)
    assert isinstance(made, ImageError)
    assert f"{tmp_path / 'mask.png'}: the file changed while it was read" in str(made)
    ((_, made),) = prepare_requests([request], FILM, tmp_path)
    assert isinstance(made, Entry)
    assert made.film_box == (100, 300, 50, 50)


@pytest.mark.parametrize("how", ["renamed", "written again"])
def test_exchanged_films_of_one_size_and_time_are_noticed(tmp_path: Path, how: str) -> None:
    films = [write_film(tmp_path / f"{seed}.pgm", seed, height=300) for seed in (0, 1)]
    for film in films:
        os.utime(film, (1e9, 1e9))
    requests = [StoreRequest(str(film)) for film in films]
    before, _ = Store(tmp_path / "store", FILM).fill(requests, workers=1)
    if how == "renamed":
        films[0].rename(tmp_path / "between")
        films[1].rename(films[0])
        (tmp_path / "between").rename(films[1])
    else:
        contents = [film.read_bytes() for film in films]
        for film, content in zip(films, reversed(contents), strict=True):
            film.write_bytes(content)
            os.utime(film, (1e9, 1e9))
    after, _ = Store(tmp_path / "store", FILM).fill(requests, workers=1)
    assert [after[request].film_hash for request in requests] == [
        before[request].film_hash for request in reversed(requests)
    ]


def test_film_with_one_request_prepared_again_does_not_validate_the_other(tmp_path: Path) -> None:
    """A run asks for some lesions of a film that was replaced; a later one for all."""
    film = write_film(tmp_path / "film.pgm", 0)
    requests = [StoreRequest(str(film), BOX), StoreRequest(str(film), (500.0, 700.0, 90.0, 80.0))]
    Store(tmp_path / "store", LESION).fill(requests, workers=1)
    write_film(film, 1)
    Store(tmp_path / "store", LESION).fill(requests[:1], workers=1)
    store = Store(tmp_path / "store", LESION)
    later, _ = store.fill(requests, workers=1)
    fresh = Store(tmp_path / "fresh", LESION)
    made, _ = fresh.fill(requests, workers=1)
    for request in requests:
        assert np.array_equal(store.read(later[request]), fresh.read(made[request]))


def move_away_and_back(folder: Path) -> None:
    """What `cp -a` and rsync do: the times of content stay, those of status and the inodes are new."""
    for film in folder.glob("*.png"):
        shutil.copy2(film, folder / "copy")
        (folder / "copy").replace(film)


def test_copied_films_are_hashed_once_and_nothing_is_prepared_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, entries = filled(tmp_path)
    requests, arrays = list(entries), {path: path.stat().st_mtime_ns for path in store.folder.glob("*/*.npy")}
    move_away_and_back(tmp_path)
    with caplog.at_level(logging.INFO):
        again, _ = store_of(tmp_path).fill(requests, workers=1)
    assert caplog.records == []
    assert {path: path.stat().st_mtime_ns for path in arrays} == arrays
    assert [(entry.file, entry.crc32) for entry in again.values()] == [
        (entry.file, entry.crc32) for entry in entries.values()
    ]
    assert lines_of(tmp_path) == 2 * len(entries)  # the new times, so that the next run
    read = read_bytes()
    store_of(tmp_path).fill(requests, workers=1)
    assert lines_of(tmp_path) == 2 * len(entries)  # adds none, and
    if read:
        films = sum(path.stat().st_size for path in tmp_path.glob("*.png"))
        index = (store.folder / "index.jsonl").stat().st_size
        arrays_bytes = sum(path.stat().st_size for path in arrays)
        assert read_bytes() - read < index + arrays_bytes + films // 2  # reads no film


def test_stamp_of_an_older_version_is_compared_by_content(tmp_path: Path) -> None:
    """It has no time of status."""
    film = write_film(tmp_path / "film.pgm", 0, height=300)
    new = stamp_file(film)
    assert new.ctime_ns == film.stat().st_ctime_ns
    old = type(new)(new.path, new.bytes, new.mtime_ns, new.sha256)
    assert still_as(old) == new
    write_into(film, write_film(tmp_path / "other.pgm", 1, height=300))
    assert still_as(old) is None


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_new_times_in_a_store_of_another_user_are_read_past() -> None:
    folder = Path("/tmp") / f"mammo-times-{os.getpid()}"  # pytest's own folders are closed to other users
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o755)
    try:
        filled(folder)
        before = lines_of(folder)
        for film in folder.glob("*.png"):
            film.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
        printed, errors = start(folder, user=65534).communicate(timeout=120)
        assert (printed, errors) == ("prepared 12\n", "")
        assert lines_of(folder) == before
    finally:
        shutil.rmtree(folder)


def test_new_times_in_a_store_that_is_being_filled_are_read_past(tmp_path: Path) -> None:
    store, entries = filled(tmp_path)
    move_away_and_back(tmp_path)
    with locked(store.folder / ".lock", doing="test"):
        again, _ = store_of(tmp_path).fill(list(entries), workers=1)
    assert len(again) == len(entries)
    assert lines_of(tmp_path) == len(entries)


def read_bytes() -> int:
    """What this process has read so far, of files whatever their kind (Linux)."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/io").read_text().splitlines():
            if line.startswith("rchar:"):
                return int(line.split()[1])
    return 0


def sparse(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    return path


@on_linux
@pytest.mark.parametrize("untrusted", [False, True], ids=["here", "sandbox"])
def test_mask_too_large_to_be_one_is_reported_unread(tmp_path: Path, untrusted: bool) -> None:
    film, mask = write_film(tmp_path / "film.pgm", 0), sparse(tmp_path / "mask.png")
    before = read_bytes()
    request = StoreRequest(str(film), None, (str(mask),))
    ((_, made),) = prepare_requests([request], FILM, tmp_path, untrusted=untrusted)
    assert isinstance(made, ImageError)
    assert f"{mask}: {MAX_FILE_BYTES + 1} bytes, more than the {MAX_FILE_BYTES} that an image may have" in str(made)
    assert read_bytes() - before < 100_000_000


@on_linux
def test_films_too_large_to_be_any_are_compared_unread(tmp_path: Path) -> None:
    films = [str(sparse(tmp_path / name)) for name in ("a.png", "b.png")]
    twins = [str(write_film(tmp_path / f"{name}.pgm", 0, height=50)) for name in ("c", "d")]
    before = read_bytes()
    content = content_of([*films, *twins, str(tmp_path / "absent.png"), str(tmp_path)])
    assert [content[film] for film in films] == films
    assert content[twins[0]] == content[twins[1]] != twins[0]
    assert content[str(tmp_path / "absent.png")] == str(tmp_path / "absent.png")
    assert read_bytes() - before < 100_000_000


def test_masks_that_are_no_files_are_reported(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.pgm", 0)
    os.mkfifo(tmp_path / "pipe.png")
    for mask in ("pipe.png", "absent.png"):
        ((_, made),) = prepare_requests([StoreRequest(str(film), None, (str(tmp_path / mask),))], FILM, tmp_path)
        assert isinstance(made, ImageError)
        assert f"{mask} does not exist" in str(made)


def test_film_that_is_a_pipe_ends_no_comparison(tmp_path: Path) -> None:
    write_films(tmp_path, patients=6)
    requests = requests_of(gather_split(settings_of(tmp_path)).samples)
    store_of(tmp_path).fill(requests, workers=1)
    Path(requests[0].film).unlink()
    os.mkfifo(requests[0].film)
    good, failures = store_of(tmp_path).fill(requests, workers=1)
    assert len(good) == len(requests) - 1
    assert "is not a regular file" in str(failures[requests[0]])
