"""A file enters; how it looks and what it holds leaves, so that a later run can tell whether it is still the same."""

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path

from mammo.errors import ImageError
from mammo.images.limits import check_file_size

CHUNK_BYTES = 2**20
Looks = tuple[int, int, int, int]


@dataclass(frozen=True)
class FileStamp:
    """How a file looked when it was read; `ctime_ns` is 0 where it was not noted."""

    path: str
    bytes: int
    mtime_ns: int
    sha256: str
    ctime_ns: int = 0


def looks_of(path: Path) -> Looks:
    """Tell a file's size, times of change and inode, of which any write or replacement changes one.

    Raises:
        ImageError: It is no regular file, or larger than an image may be.
        OSError: It is not there.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{path}: is not a regular file; expected an image")
    check_file_size(path, status.st_size)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def stamp_file(path: Path, since: Looks | None = None) -> FileStamp:
    """Take a file's size, times of change and content hash.

    Args:
        path: The file.
        since: Its looks before it was read for another purpose; what was read then, and the hash, are of one content.

    Raises:
        ImageError: As for `looks_of`, or it has changed since, or while it was hashed.
        OSError: It cannot be read.
    """
    since = since or looks_of(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            if file.tell() > since[0]:
                break
    if looks_of(path) != since:
        raise ImageError(
            f"{path}: the file changed while it was read; run the command again once nothing writes to it any more"
        )
    return FileStamp(str(path), since[0], since[1], digest.hexdigest(), since[2])


def still_as(stamp: FileStamp) -> FileStamp | None:
    """Compare a file with its stamp: None where it has another content, else the stamp as it would be taken now.

    Equal size and times (of content and of status: a file put in another's place has its own) are taken for the same
    content. Else the content is hashed: once after a data set was copied, moved or touched, since the store notes the new
    times where it may write. Film servers' and archives' times may be constant, hence both; the inode is left out, which
    some network disks draw anew at each start.
    """
    path = Path(stamp.path)
    try:
        size, mtime_ns, ctime_ns, _ = looks_of(path)
        if (size, mtime_ns, ctime_ns) == (stamp.bytes, stamp.mtime_ns, stamp.ctime_ns):
            return stamp
        now = stamp_file(path) if size == stamp.bytes else None
    except (OSError, ImageError):
        return None
    return now if now is not None and now.sha256 == stamp.sha256 else None
