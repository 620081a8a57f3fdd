"""Records a file's size, times and content hash, so that a later run can check whether it has changed."""

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path

from mammo.errors import ImageError
from mammo.images.limits import check_file_size

CHUNK_BYTES = 2**20
Status = tuple[int, int, int, int]


@dataclass(frozen=True)
class FileStamp:
    """A file's size, times and content hash when it was read; `ctime_ns` is 0 if it was not recorded."""

    path: str
    bytes: int
    mtime_ns: int
    sha256: str
    ctime_ns: int = 0


def status_of(path: Path) -> Status:
    """Return a file's size, times of change and inode; any write or replacement changes one of them.

    Raises:
        ImageError: It is no regular file, or larger than an image may be.
        OSError: It is not there.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{path}: is not a regular file; expected an image")
    check_file_size(path, status.st_size)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def stamp_file(path: Path, since: Status | None = None) -> FileStamp:
    """Record a file's size, times of change and content hash.

    Args:
        path: The file.
        since: Its status before an earlier read; what was read then and the hash are of the same content.

    Raises:
        ImageError: As for `status_of`, or it has changed since, or while it was hashed.
        OSError: It cannot be read.
    """
    since = since or status_of(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            if file.tell() > since[0]:
                break
    if status_of(path) != since:
        raise ImageError(
            f"{path}: the file changed while it was read; run the command again when nothing writes to it any more"
        )
    return FileStamp(str(path), since[0], since[1], digest.hexdigest(), since[2])


def still_as(stamp: FileStamp) -> FileStamp | None:
    """Compare a file with its stamp: return None if its content differs, else its stamp as of now.

    Equal size and times (of content and of status, since a replaced file has its own status time) count as the same
    content. Otherwise the content is hashed; after a data set was copied, moved or touched this happens once, because
    the store records the new times if it may write. Both times are needed: those of film servers and archives may be
    constant. The inode is not compared: some network disks give new ones at each start.
    """
    path = Path(stamp.path)
    try:
        size, mtime_ns, ctime_ns, _ = status_of(path)
        if (size, mtime_ns, ctime_ns) == (stamp.bytes, stamp.mtime_ns, stamp.ctime_ns):
            return stamp
        now = stamp_file(path) if size == stamp.bytes else None
    except (OSError, ImageError):
        return None
    return now if now is not None and now.sha256 == stamp.sha256 else None
