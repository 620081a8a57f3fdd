"""The prepared store: films in, 16-bit arrays on disk out, made once, found again by content and settings.

`<folder>/<settings key>/index.jsonl` has a line per wish ever fulfilled, with a checksum of its own; `<aa>/<content key>.npy`
holds its pixels. Lines are only added, arrays are written beside and renamed, so a killed run leaves nothing that a later one
could misread. One process fills a store at a time; others wait, and find what it made.
"""

import contextlib
import hashlib
import io
import itertools
import json
import logging
import os
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import joblib
import numpy as np

from mammo.errors import StoreError
from mammo.files import locked, write_text
from mammo.images.geometry import Box
from mammo.images.preprocess import PreprocessSettings
from mammo.prepare.arrays import read_checked, write_array, writing
from mammo.prepare.film_job import Fault, Made, Wish, end_with, make_wishes, stamp_file
from mammo.progress import track
from mammo.runtime import available_cores

logger = logging.getLogger(__name__)
LOCK_FILE = ".lock"
MOST_NAMED = 5
SUM = b', "crc32": '  # before a line's checksum, which is of the line without it
FEW = 8  # below this many films, starting workers takes longer than they save


@dataclass(frozen=True)
class Entry:
    """A prepared array: its file, its checksum, its box (in its own pixels), and the hash of the film's pixels it came from."""

    file: str
    crc32: int
    film_hash: str
    film_box: Box | None
    stored_box: Box | None
    stamps: tuple[dict, ...]


class Store:
    """The prepared arrays of one data set under one `PreprocessSettings`."""

    def __init__(self, folder: Path, settings: PreprocessSettings) -> None:
        self.folder = folder / settings.key
        self.settings = settings
        self._index = self.folder / "index.jsonl"
        self._entries = dict(_read_index(self._index))

    def fill(self, wishes: Sequence[Wish], *, workers: int = 0, untrusted: bool = False) -> tuple[dict[Wish, Entry], dict[Wish, Fault]]:
        """Prepare what is not there yet, or is stale or damaged.

        Args:
            wishes: What is wanted; repeats are fine.
            workers: Processes; 0 for one per core.
            untrusted: Decode each film in a process of its own, with limits.

        Returns:
            The entry of each wish, and for those that could not be fulfilled, the fault.

        Raises:
            StoreError: The store cannot be written.
        """
        unique = list(dict.fromkeys(wishes))
        good = self.usable(unique)
        faults: dict[Wish, Fault] = {}
        if len(good) == len(unique):
            return good, faults
        with self._alone():
            self._entries |= dict(_read_index(self._index))  # another process may have been at work until now
            good |= self.usable([wish for wish in unique if wish not in good], say=False)
            todo = [wish for wish in unique if wish not in good]
            if not todo:
                return good, faults
            logger.info("preparing %d views in %s, once; later runs find them there", len(todo), self.folder)
            with self._appending() as index:
                self._make(todo, good, faults, index, workers=workers, untrusted=untrusted)
        return good, faults

    def _make(
        self, todo: list[Wish], good: dict[Wish, Entry], faults: dict[Wish, Fault], index: BinaryIO, *, workers: int, untrusted: bool
    ) -> None:
        """Make and keep each; where the disk is full, let the workers end by themselves: joblib has words of its own about killed ones."""
        full: list[StoreError] = []
        for made in self._work(todo, workers, untrusted, full):
            if isinstance(made, Fault):
                faults[made.wish] = made
            elif not full:
                try:
                    good[made.wish] = self._keep(made, index)
                except StoreError as error:
                    full.append(error)
        if full:
            raise full[0]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Make the folder, keep other processes out of it, and clear away what killed ones left half-written."""
        with contextlib.ExitStack() as stack:
            with writing(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self.folder / LOCK_FILE, doing=f"{self.folder}: is being filled", wait=True))
                for left in self.folder.glob("*/.*.npy.*"):
                    left.unlink()
            yield

    @contextmanager
    def _appending(self) -> Iterator[BinaryIO]:
        """Open the index for whole lines; a last line that a killed process tore is ended, so that it spoils no other."""
        with writing(self._index):
            write_text(self.folder / "settings.json", self.settings.model_dump_json(indent=1))
            index = self._index.open("a+b", buffering=0)
        with index:
            if index.seek(0, io.SEEK_END):
                index.seek(-1, io.SEEK_END)
                if index.read(1) != b"\n":
                    _write_all(index, b"\n", self._index)
            yield index

    def usable(self, wishes: Iterable[Wish], *, say: bool = True) -> dict[Wish, Entry]:
        """Those wishes whose entry is there, whole, and of the file as it is now; `say` how many are damaged."""
        sources: dict[str, bool] = {}
        known = [(wish, self._entries[wish]) for wish in wishes if wish in self._entries]
        good, damaged = {}, {}
        for wish, entry in track(known, len(known), "checking prepared images"):
            if not self._is_whole(entry):
                damaged[entry.file] = True
            elif self._is_current(entry, sources):
                good[wish] = entry
        if damaged and say:
            few = ", ".join(str(self.folder / file) for file in list(damaged)[:MOST_NAMED])
            logger.warning("%d prepared images are damaged or gone and are made again, such as %s", len(damaged), few)
        return good

    def path(self, entry: Entry) -> Path:
        """The file of an entry."""
        return self.folder / entry.file

    def read(self, entry: Entry) -> np.ndarray:
        """Read an entry's pixels, every byte checked: uint16 [height, width], read-only.

        Raises:
            StoreError: The file is gone or damaged.
        """
        return read_checked(self.path(entry), entry.crc32)

    def _is_whole(self, entry: Entry) -> bool:
        try:
            return zlib.crc32(self.path(entry).read_bytes()) == entry.crc32
        except OSError:
            return False

    def _is_current(self, entry: Entry, sources: dict[str, bool]) -> bool:
        for stamp in entry.stamps:
            name = stamp["path"]
            if name not in sources:
                sources[name] = _is_unchanged(stamp)
            if not sources[name]:
                return False
        return True

    def _work(self, todo: list[Wish], workers: int, untrusted: bool, stop: Sized) -> Iterator[Made | Fault]:
        """Make all, each film's wishes in one job; begin none once `stop` holds something."""
        by_film: dict[str, list[Wish]] = {}
        for wish in todo:
            by_film.setdefault(wish.film, []).append(wish)
        workers = min(workers or available_cores(), len(by_film))
        groups = itertools.takewhile(lambda _: not stop, by_film.values())
        if workers == 1 or len(by_film) < FEW:
            results: Iterable[list[Made | Fault]] = (make_wishes(group, self.settings, untrusted=untrusted) for group in groups)
        else:
            warnings.filterwarnings("ignore", message=r"\d+ tasks (have|which) ")  # an error that ends the work is told by itself
            jobs = (joblib.delayed(make_wishes)(group, self.settings, untrusted=untrusted) for group in groups)
            pool = joblib.Parallel(workers, "loky", return_as="generator_unordered", initializer=end_with, initargs=(os.getpid(),))
            results = pool(jobs)
        for made in track(results, len(by_film), "preparing films"):
            yield from made

    def _keep(self, made: Made, index: BinaryIO) -> Entry:
        stamps = tuple(asdict(stamp) for stamp in made.stamps)
        name = hashlib.sha256(repr(([stamp["sha256"] for stamp in stamps], made.film_box)).encode()).hexdigest()[:40]
        file = f"{name[:2]}/{name}.npy"
        crc32 = write_array(self.folder / file, made.pixels)
        entry = Entry(file, crc32, made.film_hash, made.film_box, made.stored_box, stamps)
        line = json.dumps({"wish": asdict(made.wish), "entry": asdict(entry)}).encode()
        _write_all(index, line[:-1] + SUM + b"%d}\n" % zlib.crc32(line), self._index)
        self._entries[made.wish] = entry
        return entry


def _write_all(index: BinaryIO, line: bytes, path: Path) -> None:
    with writing(path):
        while line:
            line = line[index.write(line) :]


def _is_unchanged(stamp: dict) -> bool:
    """Same size and time of change is taken for the same; another time with the same content too."""
    path = Path(stamp["path"])
    try:
        status = path.stat()
        if (status.st_size, status.st_mtime_ns) == (stamp["bytes"], stamp["mtime_ns"]):
            return True
        return status.st_size == stamp["bytes"] and stamp_file(path).sha256 == stamp["sha256"]
    except OSError:
        return False


def _read_index(path: Path) -> Iterator[tuple[Wish, Entry]]:
    """Read the lines of an index; one that is damaged, or cut short by a kill, is passed over, and its image made again."""
    if not path.is_file():
        return
    for whole_line in path.read_bytes().splitlines():
        content, _, crc32 = whole_line.rpartition(SUM)
        line = content + b"}"
        if crc32 != b"%d}" % zlib.crc32(line):
            continue
        try:
            both = json.loads(line)
            wish, entry = both["wish"], both["entry"]
            yield (
                Wish(wish["film"], _box(wish["box"]), tuple(wish["masks"])),
                Entry(
                    **{
                        **entry,
                        "film_box": _box(entry["film_box"]),
                        "stored_box": _box(entry["stored_box"]),
                        "stamps": tuple(entry["stamps"]),
                    }
                ),
            )
        except (ValueError, KeyError, TypeError):
            continue


def _box(values: list[float] | None) -> Box | None:
    return None if values is None else (values[0], values[1], values[2], values[3])
