"""Prepares films once, keeps them as 16-bit arrays on disk, and finds them again by content and settings.

`<folder>/<settings key>/index.jsonl` has a line per finished request, with its own checksum. `<aa>/<content key>.npy`
has its pixels, written by the worker that prepared them. Lines are only added, arrays are written beside and renamed:
a later run cannot misread what a killed run left. One process fills a store at a time; others wait and use its results.
"""

import contextlib
import functools
import io
import itertools
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mammo.errors import ImageError, InUseError, StoreError
from mammo.files import locked, write_text
from mammo.images.preprocess import PreprocessSettings
from mammo.parallel.spread import spread, spread_on_cluster
from mammo.prepare.film_job import Result, prepare_requests
from mammo.prepare.records import (
    Entry,
    StoreRequest,
    read_checked,
    read_index,
    still_as,
    write_all,
    write_line,
    writing,
)
from mammo.progress import track
from mammo.runtime import available_cores

logger = logging.getLogger(__name__)
LOCK_FILE = ".lock"
MOST_NAMED = 5
READ_AT_START_BYTES = 1 << 30  # a second or two, from a slow disk ten
HEADER_BYTES = 128  # of a .npy file of two axes
FEW = 8  # with fewer films, starting workers takes longer than they save


class Store:
    """The prepared arrays of one data set under one `PreprocessSettings`."""

    def __init__(self, folder: Path, settings: PreprocessSettings) -> None:
        self.folder = folder / settings.key
        self.settings = settings
        self._index = self.folder / "index.jsonl"
        self._entries = read_index(self._index)

    def fill(
        self,
        requests: Sequence[StoreRequest],
        *,
        workers: int = 0,
        untrusted: bool = False,
        thorough: bool = False,
        cluster: str = "",
    ) -> tuple[dict[StoreRequest, Entry], dict[StoreRequest, ImageError]]:
        """Prepare what is missing, outdated or damaged.

        Args:
            requests: What to prepare; repeats are allowed.
            workers: Processes; 0 for one per core.
            untrusted: Decode each film in a process of its own, with limits.
            thorough: Read every byte of existing arrays. Otherwise, above `READ_AT_START_BYTES` only their sizes are
                checked, and a damaged array is reported when it is read.
            cluster: The address for `spread_on_cluster`, whose workers see the films and the store; "" for
                processes of this machine.

        Returns:
            The entry of each request, and the error of each that could not be prepared: a MaskError if its mask does
            not fit its film.

        Raises:
            StoreError: The store cannot be written.
            LoaderError: A worker ended early; finished results are kept.
        """
        unique = list(dict.fromkeys(requests))
        good = self.usable(unique, thorough=thorough)
        if len(good) == len(unique):
            self._note_times(good)
            return good, {}
        with self._alone():
            self._entries |= read_index(self._index)  # another process may have written until now
            good |= self.usable([request for request in unique if request not in good], say=False, thorough=thorough)
            todo = [request for request in unique if request not in good]
            if not todo:
                return good, {}
            logger.info("preparing %d views in %s, once; later runs use them", len(todo), self.folder)
            job = functools.partial(prepare_requests, settings=self.settings, folder=self.folder, untrusted=untrusted)
            with self._appending() as index:
                self._keep(good, index)
                made, failures = self._make(todo, job, index, workers, cluster)
        return good | made, failures

    def _note_times(self, good: dict[StoreRequest, Entry]) -> None:
        """Record the new times of files with unchanged content; otherwise each run would hash them again."""
        if all(self._entries[request] == entry for request, entry in good.items()):
            return
        try:
            with self._alone(wait=False), self._appending() as index:
                self._keep(good, index)
        except (StoreError, InUseError) as error:  # another user's store, or one in use, can still be read
            logger.debug("new times of %s are not recorded: %s", self.folder, error)

    def _make(
        self,
        todo: list[StoreRequest],
        job: Callable[[list[StoreRequest]], list[Result]],
        index: BinaryIO,
        workers: int,
        cluster: str,
    ) -> tuple[dict[StoreRequest, Entry], dict[StoreRequest, ImageError]]:
        """Prepare all, each film's requests in one job, and record each result.

        If the disk is full, no more jobs start, and the workers end normally: joblib prints about killed ones.
        """
        by_film: dict[str, list[StoreRequest]] = {}
        for request in todo:
            by_film.setdefault(request.film, []).append(request)
        full: list[StoreError] = []
        groups = itertools.takewhile(lambda _: not full, by_film.values())
        workers = min(workers or available_cores(), len(by_film))
        results: Iterable[list[Result]] = map(job, groups)
        if cluster:
            results = spread_on_cluster(job, groups, cluster)
        elif workers > 1 and len(by_film) >= FEW:
            results = spread(job, groups, workers)
        made: dict[StoreRequest, Entry] = {}
        failures: dict[StoreRequest, ImageError] = {}
        for request, result in itertools.chain.from_iterable(track(results, len(by_film), "preparing films")):
            if isinstance(result, ImageError):
                failures[request] = result
            elif isinstance(result, StoreError):
                full.append(result)
            elif not full:
                try:
                    self._keep({request: result}, index)
                    made[request] = result
                except StoreError as error:
                    full.append(error)
        if full:
            raise full[0]
        return made, failures

    @contextmanager
    def _alone(self, *, wait: bool = True) -> Iterator[None]:
        """Create the folder, lock it for this process, and remove partial files of killed ones."""
        with contextlib.ExitStack() as stack:
            with writing(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self.folder / LOCK_FILE, doing=f"{self.folder}: is being filled", wait=wait))
                for left in self.folder.glob("*/.*.npy.*"):
                    left.unlink(missing_ok=True)  # a killed process's worker may be about to rename it
            yield

    @contextmanager
    def _appending(self) -> Iterator[BinaryIO]:
        """Open the index for whole lines; end a last line that a killed process cut, so that the next is readable."""
        with writing(self._index):
            write_text(self.folder / "settings.json", self.settings.model_dump_json(indent=1))
            index = self._index.open("a+b", buffering=0)
        with index:
            if index.seek(0, io.SEEK_END):
                index.seek(-1, io.SEEK_END)
                if index.read(1) != b"\n":
                    write_all(index, b"\n", self._index)
            yield index

    def usable(
        self, requests: Iterable[StoreRequest], *, say: bool = True, thorough: bool = True
    ) -> dict[StoreRequest, Entry]:
        """Return the requests with a whole entry of the file as it is now; `say` logs the number of damaged entries."""
        current = functools.cache(still_as)  # each file is compared once
        known = [(request, self._entries[request]) for request in requests if request in self._entries]
        good, damaged = {}, {}
        thorough = thorough or len(known) * self._array_bytes <= READ_AT_START_BYTES
        for request, entry in track(known, len(known), "checking prepared images"):
            if not self._is_whole(entry, thorough):
                damaged[entry.file] = True
                continue
            stamps = tuple(now for stamp in entry.stamps if (now := current(stamp)) is not None)
            if len(stamps) == len(entry.stamps):
                good[request] = replace(entry, stamps=stamps)
        if damaged and say:
            few = ", ".join(str(self.folder / file) for file in list(damaged)[:MOST_NAMED])
            logger.warning(
                "%d prepared images are damaged or missing and are made again, such as %s", len(damaged), few
            )
        return good

    def path(self, entry: Entry) -> Path:
        """Return the file of an entry."""
        return self.folder / entry.file

    def read(self, entry: Entry) -> np.ndarray:
        """Read an entry's pixels and check every byte: uint16 [height, width], read-only.

        Raises:
            StoreError: The file is missing or damaged.
        """
        return read_checked(self.path(entry), entry.crc32)

    def _is_whole(self, entry: Entry, thorough: bool) -> bool:
        """Check every byte of an entry's array, or only its size."""
        try:
            if thorough:
                return zlib.crc32(self.path(entry).read_bytes()) == entry.crc32
            return self.path(entry).stat().st_size == self._array_bytes
        except OSError:
            return False

    @property
    def _array_bytes(self) -> int:
        height, width = self.settings.stored_size
        return HEADER_BYTES + 2 * height * width

    def _keep(self, entries: dict[StoreRequest, Entry], index: BinaryIO) -> None:
        """Write the entries that the index does not have yet."""
        for request, entry in entries.items():
            if self._entries.get(request) != entry:
                write_line(index, request, entry, self._index)
                self._entries[request] = entry
