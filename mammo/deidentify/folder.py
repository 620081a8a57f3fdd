"""Finds the DICOM files that a user names and copies them into a folder, with the user's key and mapping files."""

import contextlib
import csv
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mammo.deidentify.one_file import Copied, Pseudonyms, Refused, deidentify
from mammo.errors import DataMissingError, ImageError, SettingsError
from mammo.files import flush_file, flush_folder, locked, walk_files
from mammo.images.decode import FILM, kind_of
from mammo.images.dicom import looks_like_dicom

LOCK_FILE = ".lock"
NOT_DICOM = "not DICOM"
KEY_BYTES = 32
MOST_KEY_BYTES = 2**20
COLUMNS = ("file", "copy", "patient_id", "new_patient_id", "study_uid", "new_study_uid")


@dataclass(frozen=True)
class Found:
    """The files below what the user named.

    Attributes:
        dicom: Files of DICOM images, and files that cannot be opened.
        others: Files that are not DICOM, which are skipped.
        objects: The number of DICOM objects without an image, by kind: reports, presentation states, directories.
        unreadable: Folders that may not be read.
    """

    dicom: tuple[Path, ...]
    others: tuple[Path, ...]
    objects: Counter[str]
    unreadable: tuple[Path, ...]


def find_files(inputs: Sequence[Path], out: Path, *, key: Path | None = None, mapping: Path | None = None) -> Found:
    """List the files below what the user named, and create the output folder. Hidden files are skipped.

    Args:
        inputs: Files, and folders to walk.
        out: Must be empty or absent, and outside the folders.
        key: Must not be in `out`.
        mapping: Must not exist, and must not be in `out`.

    Raises:
        DataMissingError: An input does not exist, or no file is DICOM.
        SettingsError: The output folder has content, or two of the places conflict.
        OSError: A folder cannot be read or created.
    """
    for path in inputs:
        if not path.exists():
            raise DataMissingError(f"{path}: there is no such file or folder; expected DICOM files or folders of them")
        if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
            why = f"is inside {path}, where copies would be taken for originals"
            raise SettingsError(f"--out {out}: {why}; choose another folder")
    if mapping is not None and (mapping.exists() or mapping == key):
        raise SettingsError(f"--mapping {mapping}: expected a file that does not exist yet; none is overwritten")
    for secret in (key, mapping):
        if secret is not None and secret.resolve().is_relative_to(out.resolve()):
            why = f"is inside --out {out} and would leave the institution with the copies"
            raise SettingsError(f"{secret}: {why}; choose another place")
    _refuse_content(out)
    errors: list[OSError] = []
    files = dict.fromkeys(file for path in inputs for file in walk_files(path, follow=False, unreadable=errors))
    kinds = {file: _kind(file, named=file in inputs) for file in files}
    images = tuple(file for file, kind in kinds.items() if kind == FILM)
    if not images and not errors:
        places = ", ".join(map(str, inputs))
        raise DataMissingError(f"{places}: expected DICOM images, found none among {len(files)} files")
    out.mkdir(parents=True, exist_ok=True)
    others = sorted(file for file, kind in kinds.items() if kind == NOT_DICOM)
    objects = Counter(kind for kind in kinds.values() if kind not in (FILM, NOT_DICOM))
    return Found(images, tuple(others), objects, tuple(Path(str(error.filename)) for error in errors))


def _kind(path: Path, *, named: bool) -> str:
    """Return the kind of a file by its content.

    A DICOM file that the user named counts as a film, and so does a file that cannot be opened: they are refused later
    and not skipped.
    """
    if not path.is_file():
        return NOT_DICOM
    try:
        with path.open("rb") as file:
            if not looks_like_dicom(file.read(132)):
                return NOT_DICOM
        return FILM if named else kind_of(path)
    except (OSError, ImageError):
        return FILM


def pseudonyms_of(path: Path | None) -> Pseudonyms:
    """Read the key file, or create it for its owner only; without a path, use a key that is never saved.

    Raises:
        SettingsError: The file is not a key.
        OSError: It cannot be read or created.
    """
    key = os.urandom(KEY_BYTES)
    if path is None:
        return Pseudonyms(key)
    try:
        with open(path, "xb", opener=_private) as file:
            file.write(key)
        flush_file(path)
    except FileExistsError:
        key = path.read_bytes() if path.is_file() and path.stat().st_size <= MOST_KEY_BYTES else b""
    if len(key) < KEY_BYTES:
        expected = f"expected a key file of at least {KEY_BYTES} bytes"
        raise SettingsError(f"{path}: {expected}; to create one, name a file that does not exist")
    return Pseudonyms(key)


def _private(path: str, flags: int) -> int:
    """Open for `open` a file that only its owner may read."""
    return os.open(path, flags, 0o600)


def copy_files(
    files: Sequence[Path], out: Path, pseudonyms: Pseudonyms, *, mapping: Path | None = None
) -> Iterator[Copied | Refused]:
    """Write a copy of each file as `deidentify` does, while no other process may copy into the folder.

    Args:
        files: DICOM files.
        out: An existing, empty folder.
        pseudonyms: Gives the new ids.
        mapping: A new file that says which copy is whose, and so can undo the de-identification; only its owner may
            read it. A copy's row is on the disk before the copy is, so a killed run never leaves a copy of unknown
            origin. It may leave a last row without its copy.

    Raises:
        InUseError: Another process copies into the folder.
        SettingsError: The folder has content.
        OSError: A copy or the mapping cannot be written.
    """
    with locked(out / LOCK_FILE, doing=f"--out {out}: is being filled", named=False):
        try:
            _refuse_content(out)
            with _opened(mapping) as note:
                yield from deidentify(files, out, pseudonyms, note=note)
        finally:
            with contextlib.suppress(OSError):  # Windows removes it by itself
                (out / LOCK_FILE).unlink()


@contextmanager
def _opened(mapping: Path | None) -> Iterator[Callable[[Copied], None]]:
    """Open the mapping and give the function that adds a copy's row."""
    if mapping is None:
        yield lambda copied: None
        return
    with open(mapping, "x", encoding="utf-8", errors="surrogateescape", newline="", opener=_private) as file:

        def write(row: Sequence[object]) -> None:
            csv.writer(file).writerow(row)
            file.flush()
            os.fsync(file.fileno())

        write(COLUMNS)
        flush_folder(mapping.parent)
        yield lambda copied: write((copied.source, copied.copy, *copied.ids))


def _refuse_content(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(not path.name.startswith(LOCK_FILE) for path in out.iterdir())):
        raise SettingsError(f"--out {out}: expected an empty folder or none; copies are not mixed with other files")
