"""What the user named enters: DICOM files, an output folder, a mapping; copies that name nobody leave, made by one process at a time."""

import contextlib
import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mammo.deidentify.one_file import Copied, Refused, deidentify
from mammo.deidentify.pseudonyms import Pseudonyms, open_private
from mammo.errors import DataMissingError, ImageError, SettingsError
from mammo.files import flush_folder, locked, walk_files
from mammo.images.contents import FILM, kind_of
from mammo.images.dicom import looks_like_dicom

LOCK_FILE = ".lock"
COLUMNS = ("file", "copy", "patient_id", "new_patient_id", "study_uid", "new_study_uid")


@dataclass(frozen=True)
class Found:
    """The files below what the user named.

    Attributes:
        dicom: Files of DICOM images, and what cannot be opened.
        others: Files that are no DICOM, which are skipped.
        objects: How many DICOM objects without an image there are, by kind: reports, presentation states, directories.
        unreadable: Folders that may not be read.
    """

    dicom: tuple[Path, ...]
    others: tuple[Path, ...]
    objects: Counter[str] = field(default_factory=Counter)
    unreadable: tuple[Path, ...] = ()


def find_files(inputs: Sequence[Path], out: Path, *, key: Path | None = None, mapping: Path | None = None) -> Found:
    """List the files below what the user named, and make the output folder. Hidden files are passed by.

    Args:
        inputs: Files, and folders that are walked.
        out: Must be empty or not there, and outside the folders.
        key: Must not lie in `out`.
        mapping: Must not be there, nor lie in `out`.

    Raises:
        DataMissingError: An input is not there, or no file is DICOM.
        SettingsError: The output folder has content, or one place contradicts another.
        OSError: A folder cannot be read or made.
    """
    for path in inputs:
        if not path.exists():
            raise DataMissingError(f"{path}: there is no such file or folder; expected DICOM files or folders of them")
        if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
            raise SettingsError(
                f"--out {out}: lies inside {path}, where copies would be taken for originals; choose another folder"
            )
    if mapping is not None and (mapping.exists() or mapping == key):
        raise SettingsError(f"--mapping {mapping}: expected a file that is not there yet; none is overwritten")
    for secret in (key, mapping):
        if secret is not None and secret.resolve().is_relative_to(out.resolve()):
            raise SettingsError(
                f"{secret}: lies inside --out {out} and would leave the house with the copies; choose another place"
            )
    _refuse_content(out)
    unreadable: list[OSError] = []
    files = list(
        dict.fromkeys(file for path in inputs for file in walk_files(path, follow=False, unreadable=unreadable))
    )
    dicom = [file for file in files if _is_dicom(file)]
    kinds = {file: _kind(file) for file in dicom if file not in inputs}
    images = [file for file in dicom if kinds.get(file, FILM) == FILM]
    if not images and not unreadable:
        raise DataMissingError(
            f"{', '.join(map(str, inputs))}: expected DICOM images, found none among {len(files)} files"
        )
    out.mkdir(parents=True, exist_ok=True)
    objects = Counter(kind for kind in kinds.values() if kind != FILM)
    closed = tuple(Path(str(error.filename)) for error in unreadable)
    return Found(tuple(images), tuple(sorted(set(files) - set(dicom))), objects, closed)


def _kind(path: Path) -> str:
    try:
        return kind_of(path)
    except ImageError:
        return FILM


def copy_files(
    files: Sequence[Path], out: Path, pseudonyms: Pseudonyms, *, mapping: Path | None = None
) -> Iterator[Copied | Refused]:
    """Write a copy of each file as `deidentify` does, while no other process may copy into the folder.

    Args:
        files: DICOM files.
        out: A folder that is there, and empty.
        pseudonyms: Where new ids come from.
        mapping: A new file, for the owner's eyes only, that tells which copy is whose, and so undoes the whole
            de-identification. A copy's row is on the disk before the copy is: a run that is killed leaves no copy of unknown
            origin (but perhaps a last row without its copy).

    Raises:
        InUseError: Another process copies into it.
        SettingsError: It has content.
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
    if mapping is None:
        yield lambda copied: None
        return
    with open_private(mapping) as file:

        def write(row: Sequence[object]) -> None:
            text = io.StringIO(newline="")
            csv.writer(text).writerow(row)
            file.write(text.getvalue().encode("utf-8", "surrogateescape"))
            file.flush()
            os.fsync(file.fileno())

        write(COLUMNS)
        flush_folder(mapping.parent)
        yield lambda copied: write((copied.source, copied.copy, *copied.ids))


def _refuse_content(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(not path.name.startswith(LOCK_FILE) for path in out.iterdir())):
        raise SettingsError(
            f"--out {out}: expected an empty folder, or none yet; copies are not mixed with other files"
        )


def _is_dicom(path: Path) -> bool:
    """Tell by content; a file that cannot be opened counts as DICOM, so that it is refused and not passed by."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return looks_like_dicom(file.read(132))
    except OSError:
        return True
