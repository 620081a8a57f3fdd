"""Writes whole files even when the process is killed, locks files between processes, and walks folders."""

import contextlib
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import filelock

from mammo.errors import InUseError

logger = logging.getLogger(__name__)
MOST_JSON_BYTES = 64 << 20
GRACE_S = 2.0  # the child processes of a killed one notice within half a second, and release the lock


@contextmanager
def written_beside(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; it replaces `path` when the block ends without an error.

    A reader always finds either the old file or the new one, both whole, also after a power cut: the bytes are on the
    disk before the name changes. If two processes do this at once, the later file stays. A failed block leaves nothing.

    Args:
        path: The file.
        durable: Wait until the bytes are on the disk. Without it, a power cut may leave a damaged file.

    Raises:
        OSError: The system's error, with `path` as its file name.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        if durable:
            flush_file(beside)
        beside.replace(path)
        if durable:
            flush_folder(path.parent)
    except OSError as error:
        error.filename = error.filename if error.filename and error.filename != str(beside) else str(path)
        raise
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, as `written_beside` does."""
    with written_beside(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, values: object) -> None:
    """Write plain values as JSON, as `written_beside` does."""
    write_text(path, json.dumps(values, indent=1))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object, as all JSON files of a run do.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not such a file, is nested too deep or is longer than 64 MiB.
    """
    with path.open("rb") as file:
        content = file.read(MOST_JSON_BYTES + 1)
    if len(content) > MOST_JSON_BYTES:
        raise ValueError(f"longer than {MOST_JSON_BYTES} bytes")
    try:
        found = json.loads(content.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(found, dict):
        raise ValueError(f"expected a table of names and values, got a {type(found).__name__}")
    return found


def flush_file(path: Path) -> None:
    """Wait until a file's bytes are on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Make renames within a folder durable, where the system can flush one."""
    with contextlib.suppress(OSError):  # Windows opens no folder, some network disks flush none
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def walk_files(
    path: Path, *, follow: bool = True, unreadable: list[OSError] | None = None, loops: list[Path] | None = None
) -> Iterator[Path]:
    """Yield a file, or all files below a folder in sorted order, without hidden ones.

    Args:
        path: A file or a folder.
        follow: Follow links to folders; otherwise yield them like files.
        unreadable: Collects the errors of folders that cannot be read; None raises the first.
        loops: Collects links to folders that were already walked, which are not followed again.

    Raises:
        OSError: A folder cannot be read.
    """
    if not path.is_dir():
        yield path
        return
    seen: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        if unreadable is None:
            raise error
        unreadable.append(error)

    for folder, subfolders, names in os.walk(path, onerror=refuse, followlinks=follow):
        if not _is_new(Path(folder), seen):
            subfolders[:] = []
            if loops is not None:
                loops.append(Path(folder))
            continue
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        links = [] if follow else [name for name in subfolders if (Path(folder) / name).is_symlink()]
        yield from (Path(folder) / name for name in sorted([*names, *links]) if not name.startswith("."))


def _is_new(folder: Path, seen: set[tuple[int, int]]) -> bool:
    """Add a folder to `seen` by device and inode; return whether it was new."""
    try:
        status = folder.stat()
    except OSError:
        return True
    place = (status.st_dev, status.st_ino)
    if place in seen:
        return False
    seen.add(place)
    return True


class Lock:
    """A lock file that this process holds."""

    def __init__(self, path: Path, doing: str) -> None:
        self._path, self._doing, self._place = path, doing, _place(path)

    def check(self) -> None:
        """Check that the lock file was not removed or moved: it would no longer stop another process.

        Raises:
            InUseError: It was.
        """
        if _place(self._path) != self._place:
            raise InUseError(
                f"{self._doing}, but its lock {self._path} was removed or moved, and another process may write there: "
                "stopped before anything is mixed; what was saved is whole"
            )


def _place(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def locked(path: Path, *, doing: str, wait: bool = False, named: bool = True) -> Iterator[Lock]:
    """Lock a file while the block runs; the system releases it when the process ends, however it ends.

    Args:
        path: The lock file. It stays afterwards, empty. Its folder must exist.
        doing: What only one process may do, such as `output/a/1: this run is being written`.
        wait: Wait for the other process, with a message, instead of raising.
        named: Write this process and machine beside the lock, for the other's message; after a kill it stays there.

    Raises:
        InUseError: Another process has the lock; its number and machine are named.
        OSError: The lock file cannot be made.
    """
    lock = filelock.FileLock(path)
    owner = path.with_name(f"{path.name}.owner")
    try:
        lock.acquire(timeout=GRACE_S)
    except filelock.Timeout:
        held = f"{doing} by another process{_named(owner)}"
        if not wait:
            raise InUseError(f"{held}; wait until it has ended, or stop it") from None
        logger.info("%s; waiting for it", held)
        lock.acquire()
    try:
        with contextlib.suppress(OSError):  # only for the message of others
            about = {
                "process": os.getpid(),
                "machine": socket.gethostname(),
                "since": datetime.now().isoformat(timespec="seconds"),
            }
            if named:
                owner.write_text(json.dumps(about), encoding="utf-8")
        yield Lock(path, doing)
    finally:
        with contextlib.suppress(OSError):
            owner.unlink()
        lock.release()


def held_by(path: Path) -> str:
    """Return who has locked a file, such as ` (process 12 on HOST, since …)`, or "" where nobody has."""
    if not path.is_file():
        return ""
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except (filelock.Timeout, OSError):
        return _named(path.with_name(f"{path.name}.owner")) or " by another process"
    lock.release()
    return ""


def _named(owner: Path) -> str:
    try:
        about = read_json(owner)
        return f" ({about['process']} on {about['machine']}, since {about['since']})"
    except (OSError, ValueError, KeyError):
        return ""
