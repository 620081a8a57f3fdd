"""An archive enters (.zip, or .tar, also compressed), a folder of its plain files leaves; what would land elsewhere is refused."""

import hashlib
import os
import re
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mammo.archives.members import BLOCK_BYTES, DAMAGED, Member, RefusedError, open_members
from mammo.errors import DataMissingError, MammoError
from mammo.files import flush_folder, locked
from mammo.progress import track

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
SPARE_DISK_BYTES = 64 << 20
LONGEST_NAME, LONGEST_PART_BYTES = 1000, 255
DRIVE = re.compile(r"(^|/)[A-Za-z]:")


@dataclass(frozen=True)
class Limits:
    """What an archive may hold. CBIS-DDSM as JPEG, one zip of 10,000 files and 6 GB, is far below all of it.

    `most_ratio` is that of all unpacked bytes to the archive's, looked at past `ratio_from_bytes`: films hardly shrink, a mask
    does a hundredfold and more.
    """

    most_members: int = 100_000
    most_bytes_each: int = 16 << 30
    most_bytes: int = 256 << 30
    most_ratio: int = 100
    ratio_from_bytes: int = 256 << 20


def is_archive(path: Path) -> bool:
    """Tell an archive by its name."""
    return path.name.lower().endswith(ENDINGS)


def unpack(
    archive: Path, into: Path, *, limits: Limits | None = None, error: type[MammoError] = DataMissingError
) -> Path:
    """Unpack an archive once; later calls find the folder there.

    All members are checked before the first is written, and again as they are. Files come with this user's rights and the time
    of unpacking; archives within stay files. The folder appears whole or not at all. Another process that unpacks it is
    waited for.

    Args:
        archive: Told by its ending, one of `ENDINGS`.
        into: The folder, which is not there yet or holds this archive already: name it by content.
        limits: How much it may hold.
        error: What is raised.

    Raises:
        MammoError: `error`: it is not there, damaged, holds what is refused (absolute names, `..`, drive letters, backslashes,
            links, devices, encrypted members, two members of one name, more than the limits), or finds no room.
    """
    try:
        into.parent.mkdir(parents=True, exist_ok=True)
        with locked(into.with_name(f".{into.name}.lock"), doing=f"{into}: {archive.name} is being unpacked", wait=True):
            if not into.is_dir():
                _unpack_beside(archive, into, limits or Limits())
    except RefusedError as why:
        raise error(f"{archive}: refused: {why}; nothing was unpacked") from None
    except DAMAGED as why:
        raise error(f"{archive}: is damaged, cut off or no such archive ({_words(why)}); fetch it again") from why
    except OSError as why:
        if why.errno is None:  # what gzip and bz2 raise for damage
            raise error(f"{archive}: is damaged, cut off or no such archive ({_words(why)}); fetch it again") from why
        raise error(
            f"{archive}: cannot be unpacked to {into} ({why.strerror}); check that it is there, and free space and rights"
        ) from why
    return into


def unpacked(
    archive: Path, below: Path, *, limits: Limits | None = None, error: type[MammoError] = DataMissingError
) -> Path:
    """Unpack an archive to a folder named by its content below another.

    Returns:
        `below/<SHA-256>`, or the one folder in it that holds everything.
    """
    try:
        digest = _content_hash(archive, below)
    except OSError as why:
        raise error(f"{archive}: cannot be read ({why.strerror or why})") from why
    folder = unpack(archive, below / digest, limits=limits, error=error)
    while len(entries := visible(folder)) == 1 and entries[0].is_dir():
        folder = entries[0]
    return folder


def data_root(root: Path, store_folder: Path) -> Path:
    """The folder of a data set that may be named as an archive; it is unpacked to `archives` below the store, once."""
    return unpacked(root, store_folder / "archives") if is_archive(root) and root.is_file() else root


def visible(folder: Path) -> list[Path]:
    """List a folder without hidden entries and what macOS adds to archives."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.name != "__MACOSX")


def _words(why: BaseException) -> str:
    return " ".join(str(why).split())[:200] or type(why).__name__


def _content_hash(archive: Path, below: Path) -> str:
    """The archive's SHA-256, remembered for its path, place, size and times of change."""
    status = archive.stat()
    known_by = (str(archive.resolve()), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    stamp = hashlib.sha256(repr(known_by).encode(errors="surrogateescape")).hexdigest()
    remembered = below / f".{stamp[:32]}.sha256"
    with suppress(OSError, UnicodeDecodeError):
        if re.fullmatch("[0-9a-f]{64}", text := remembered.read_text(encoding="utf-8")):
            return text
    digest = hashlib.sha256()
    with archive.open("rb") as file:
        for block in track(
            iter(lambda: file.read(BLOCK_BYTES), b""),
            -(-status.st_size // BLOCK_BYTES),
            f"reading {archive.name} (MiB)",
        ):
            digest.update(block)
    below.mkdir(parents=True, exist_ok=True)
    remembered.write_text(digest.hexdigest(), encoding="utf-8")
    return digest.hexdigest()


def _unpack_beside(archive: Path, into: Path, limits: Limits) -> None:
    partial = into.with_name(f".{into.name}.partial")  # one name for all: the lock is held
    shutil.rmtree(partial, ignore_errors=True)
    check = _Check(limits, archive.stat().st_size)
    with open_members(archive, limits.most_members) as members:
        for member in members:
            check.take(member)
    if not check.files:
        raise RefusedError("it holds no file")
    free = shutil.disk_usage(into.parent).free
    if check.bytes + SPARE_DISK_BYTES > free:
        raise RefusedError(
            f"its files take {check.bytes} bytes, and {into.parent} has {free} free; free space or choose another folder"
        )
    try:
        partial.mkdir()
        for _ in track(_write(archive, partial, limits), check.blocks, f"unpacking {archive.name} (MiB)"):
            pass
        if hasattr(os, "sync"):
            os.sync()  # once, instead of once per file: there may be ten thousand
        partial.rename(into)
        flush_folder(into.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(archive: Path, partial: Path, limits: Limits) -> Iterator[None]:
    """Write the files, a step per block."""
    check = _Check(limits, archive.stat().st_size)  # again: the archive may be another by now
    with open_members(archive, limits.most_members) as members:
        for member in members:
            target = partial.joinpath(*check.take(member))
            (target if member.is_folder else target.parent).mkdir(parents=True, exist_ok=True)
            source = None if member.is_folder else member.open()
            if source is None:
                continue
            done = 0
            with source, target.open("xb") as file:
                while block := source.read(BLOCK_BYTES):
                    done += len(block)
                    if done > member.size:
                        break
                    file.write(block)
                    yield
            if done != member.size:
                raise RefusedError(f"{member} has another size than the archive says, {member.size} bytes")


@dataclass
class _Check:
    """Takes members one by one and refuses the first that may not be; `taken` has each name seen, and whether it is a folder."""

    limits: Limits
    archive_bytes: int
    members: int = 0
    files: int = 0
    bytes: int = 0
    blocks: int = 0
    taken: dict[str, bool] = field(default_factory=dict)

    def take(self, member: Member) -> tuple[str, ...]:
        """Hold that a member is harmless, and return the parts of its place below the folder."""
        self.members += 1
        if self.members > self.limits.most_members:
            raise RefusedError(f"it has more than {self.limits.most_members} members")
        parts = _safe_parts(member)
        if member.kind:
            raise RefusedError(f"{member} is {member.kind}; only plain files and folders are unpacked")
        self._place(member, parts)
        if not member.is_folder:
            self._count(member)
        return parts

    def _place(self, member: Member, parts: tuple[str, ...]) -> None:
        for depth in range(1, len(parts) + 1):
            alike = unicodedata.normalize(
                "NFC", "/".join(parts[:depth]).casefold()
            )  # some disks hold such names for one
            is_folder = member.is_folder or depth < len(parts)
            if alike in self.taken and not (self.taken[alike] and is_folder):
                raise RefusedError(f"{member} has the name, or the place, of another before it")
            self.taken[alike] = is_folder

    def _count(self, member: Member) -> None:
        limits = self.limits
        self.files += 1
        self.bytes += member.size
        self.blocks += -(-member.size // BLOCK_BYTES)
        if not 0 <= member.size <= limits.most_bytes_each:
            raise RefusedError(f"{member} takes {member.size} bytes, more than {limits.most_bytes_each}")
        if self.bytes > limits.most_bytes:
            raise RefusedError(f"its files take more than {limits.most_bytes} bytes")
        if self.bytes > max(limits.ratio_from_bytes, limits.most_ratio * self.archive_bytes):
            raise RefusedError(
                f"its files take more than {limits.most_ratio} times its own {self.archive_bytes} bytes (a decompression bomb)"
            )


def _safe_parts(member: Member) -> tuple[str, ...]:
    """The parts of a member's name, when all stay below the folder on every system."""
    name = member.name
    if (
        name.startswith("/")
        or "\\" in name
        or DRIVE.search(name)
        or any(ord(sign) < 32 or ord(sign) == 127 for sign in name)
    ):
        raise RefusedError(f"{member} has an absolute name, a drive letter, a backslash or a control character in it")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if any(not part.strip(". ") for part in parts) or not (parts or member.is_folder):
        raise RefusedError(f"{member} has a name that leads out of its folder, or none")
    try:
        if len(name) > LONGEST_NAME or any(len(os.fsencode(part)) > LONGEST_PART_BYTES for part in parts):
            raise RefusedError(f"{member} has a name longer than files may have")
    except UnicodeEncodeError:
        raise RefusedError(f"{member} has a name that this system's encoding lacks; use a UTF-8 locale") from None
    return parts
