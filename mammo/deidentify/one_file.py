"""Mammography DICOM files enter; copies that name nobody leave: allowed header elements, new ids, pixels written anew.

What the user reads about a file names its path and elements' keywords, never a value of its header.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom.uid as uids
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError

from mammo import __version__
from mammo.deidentify.allow_list import KEPT, SOP_CLASSES
from mammo.deidentify.burned_in_text import find_marks
from mammo.deidentify.image import IDENTITY, NEW_UIDS, deidentified_image
from mammo.deidentify.pseudonyms import Pseudonyms
from mammo.errors import ImageError
from mammo.files import written_beside
from mammo.images.dicom import read_dicom
from mammo.images.display import Display, Table, as_displayed
from mammo.images.limits import DECODER_FAULTS, check_file_size

IMPLEMENTATION_UID = "2.25.105580381702901196192130577946524384983"
FAULTS: tuple[type[Exception], ...] = (InvalidDicomError, *DECODER_FAULTS)

BURNED_IN = "header says that text is burned in"
SILENT = "header is silent on burned-in text"
CAPTURE = "secondary capture or derived: text is often burned in"
MARKS = "bright marks outside the breast"
MISFITS = "elements left out: values not of the standard"
NO_PATIENT = "no PatientID: pseudonym of the study only"
ADVICE = (
    "A person must look at each copy before it leaves the house: view markers look the same as labels with a name, and text "
    "over the breast or darker than its surroundings is not found."
)


@dataclass(frozen=True)
class Remark:
    """A warning about one file: its kind, one of the constants above, and particulars."""

    kind: str
    detail: str = ""


@dataclass(frozen=True)
class Copied:
    """A file and its copy; `ids` are its PatientID and study UID and the new ones, for a mapping that the user asks for."""

    source: Path
    copy: Path
    remarks: tuple[Remark, ...]
    ids: tuple[str, str, str, str] = field(repr=False)


@dataclass(frozen=True)
class Refused:
    """A file of which there is no copy, and why, in one line that begins with its path."""

    source: Path
    why: str


def deidentify(
    files: Sequence[Path], out: Path, pseudonyms: Pseudonyms, *, note: Callable[[Copied], None] = lambda copied: None
) -> Iterator[Copied | Refused]:
    """Write `out/<pseudonym>/<new SOP Instance UID>.dcm` for each file, one after the other.

    Args:
        files: DICOM files.
        out: A folder that is there.
        pseudonyms: Where new ids come from.
        note: Called with each copy just before it gets its name.

    Raises:
        OSError: A copy cannot be written.
    """
    written: set[Path] = set()
    for source in files:
        try:
            done = _copy(source, out, pseudonyms, written, note)
        except ImageError as error:
            yield Refused(source, " ".join(str(error).splitlines()))
        else:
            written.add(done.copy)
            yield done


def _copy(
    source: Path, out: Path, pseudonyms: Pseudonyms, written: set[Path], note: Callable[[Copied], None]
) -> Copied:
    """Write the copy of one file, read it back, and give it its name only when it shows the same."""
    check_file_size(source, source.stat().st_size)
    display, stored = read_dicom(source)
    header = _read_header(source)
    _check_tables(display, source)
    try:
        image, misfits = deidentified_image(header, display, stored, pseudonyms)
    except FAULTS as error:
        raise ImageError(f"{source}: damaged DICOM header ({type(error).__name__}); fetch the file again") from error
    shown = as_displayed(stored, display)
    remarks = _remarks(header, image, misfits, find_marks(shown))
    copy = out / str(image.PatientID) / f"{image.SOPInstanceUID}.dcm"
    if copy in written:
        raise ImageError(
            f"{source}: has the SOP Instance UID of a file that was copied before it; leave one of the two out"
        )
    old_patient, old_study = str(header.get("PatientID") or ""), str(header.StudyInstanceUID)
    done = Copied(
        source, copy, tuple(remarks), (old_patient, str(image.PatientID), old_study, str(image.StudyInstanceUID))
    )
    copy.parent.mkdir(exist_ok=True)
    with written_beside(copy) as beside:
        _save(image, beside, source)
        _check_same(beside, stored, shown, source)
        note(done)
    return done


def _read_header(source: Path) -> Dataset:
    """Read what the table names and the ids to be replaced; nothing else enters memory."""
    try:
        keywords = [keyword for group in KEPT.values() for keyword in group]
        header = dcmread(source, force=True, specific_tags=[*keywords, *IDENTITY])
        lacking = [keyword for keyword in NEW_UIDS if not str(header.get(keyword) or "").strip()]
        kind = str(header.get("SOPClassUID"))
    except FAULTS as error:
        raise ImageError(f"{source}: damaged DICOM header ({type(error).__name__}); fetch the file again") from error
    if kind not in SOP_CLASSES:
        raise ImageError(
            f"{source}: expected a mammography, digital X-ray, CR or secondary capture image, got another kind; it is not copied"
        )
    if lacking:
        raise ImageError(f"{source}: {', '.join(lacking)} missing from its DICOM header; fetch the file again")
    return header


def _check_tables(display: Display, source: Path) -> None:
    """A table for display rises or falls all the way; text in its place does not."""
    for table in (display.modality, display.voi):
        if isinstance(table, Table):
            steps = np.diff(table.entries.astype(np.int64))
            if (steps < 0).any() and (steps > 0).any():
                raise ImageError(
                    f"{source}: expected a modality and VOI LUT that only rise or only fall, got another; it is not copied"
                )


def _remarks(
    header: Dataset, image: Dataset, misfits: Sequence[str], marks: Sequence[tuple[int, int, int, int]]
) -> list[Remark]:
    burned_in = image.get("BurnedInAnnotation")
    captured = SOP_CLASSES[image.SOPClassUID] == "OT" or "SECONDARY" in image.get("ImageType", ())
    boxes = f"{len(marks)}, at x,y,width,height " + " ".join(",".join(map(str, box)) for box in marks)
    remarks = [
        (BURNED_IN, burned_in == "YES", ""),
        (SILENT, burned_in is None, ""),
        (CAPTURE, captured, ""),
        (MARKS, bool(marks), boxes),
        (MISFITS, bool(misfits), " ".join(misfits)),
        (NO_PATIENT, not str(header.get("PatientID") or "").strip(), ""),
    ]
    return [Remark(kind, detail) for kind, holds, detail in remarks if holds]


def _save(image: Dataset, path: Path, source: Path) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uids.ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = (
        uids.UID(IMPLEMENTATION_UID),
        f"MAMMO_{__version__}"[:16],
    )
    image.file_meta = meta
    content = io.BytesIO()
    try:
        image.save_as(content, enforce_file_format=True)  # a preamble of zeros, and nothing of the source's file meta
    except DECODER_FAULTS as error:
        raise ImageError(
            f"{source}: its copy cannot be written ({type(error).__name__}); its header is damaged"
        ) from error
    path.write_bytes(content.getbuffer())


def _check_same(copy: Path, stored: np.ndarray, shown: np.ndarray, source: Path) -> None:
    """Read the copy as any other file: a table or window that was left out would show another film."""
    try:
        display, again = read_dicom(copy)
    except ImageError as error:
        raise ImageError(f"{source}: its copy would be no readable image; fetch the file again") from error
    if not np.array_equal(again, stored) or not np.array_equal(as_displayed(again, display), shown):
        raise ImageError(
            f"{source}: a value that its display depends on is not of the standard's form; it is not copied"
        )
