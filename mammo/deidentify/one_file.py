"""Writes de-identified copies of mammography DICOM files: allowed header elements, new ids, pixels written again.

Messages about a file give its path and the keywords of elements, never a value of its header.
"""

import base64
import hmac
import io
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom.uid as uids
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes

from mammo import __version__
from mammo.deidentify.allow_list import KEPT, SOP_CLASSES, allowed, code_item
from mammo.deidentify.burned_in_text import Box, find_marks
from mammo.errors import ImageError
from mammo.files import written_beside
from mammo.images.dicom import HEADER_FAULTS, read_dicom
from mammo.images.display import Display, Table, as_displayed
from mammo.images.limits import check_file_size

IMPLEMENTATION_UID = uids.UID("2.25.105580381702901196192130577946524384983")
METHOD = "mammo: allow-list by the basic profile of DICOM PS3.15"
NEW_UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
IDENTITY = ("SOPClassUID", *NEW_UIDS, "FrameOfReferenceUID", "PatientID", "SourceImageSequence")
ALWAYS_LOSSY = (uids.JPEGBaseline8Bit, uids.JPEGExtended12Bit, uids.JPEGLSNearLossless)
MOST_REFERENCES = 20
BURNED_IN = "header says that text is burned in"
SILENT = "header does not say whether text is burned in"
CAPTURE = "secondary capture or derived: text is often burned in"
MARKS = "bright marks outside the breast"
MISFITS = "elements left out: values not of the standard"
NO_PATIENT = "no PatientID: pseudonym of the study only"
ADVICE = (
    "A person must check each copy before it leaves the institution: view markers cannot be told from labels with a "
    "name, and text over the breast or darker than its surroundings is not found."
)


@dataclass(frozen=True)
class Pseudonyms:
    """Pseudonyms under one key; blanks and null bytes around an id are ignored."""

    key: bytes = field(repr=False)

    def uid(self, old: str) -> str:
        """Return a UID below 2.25 (PS3.5 B.2) in place of the source's UID."""
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', old)[:16], version=4).int}"

    def patient(self, old: str) -> str:
        """Return `M-` and ten letters or digits (50 bits) in place of a PatientID."""
        return "M-" + base64.b32encode(self._digest("patient", old)).decode()[:10]

    def _digest(self, kind: str, old: str) -> bytes:
        return hmac.digest(self.key, f"{kind}:{old.strip(' ' + chr(0))}".encode("utf-8", "surrogatepass"), "sha256")


@dataclass(frozen=True)
class Copied:
    """A file and its copy.

    Attributes:
        warnings: Details by kind of warning, one of the constants above.
        ids: PatientID, new PatientID, study UID and new study UID, for a mapping.
    """

    source: Path
    copy: Path
    warnings: dict[str, str]
    ids: tuple[str, str, str, str] = field(repr=False)


@dataclass(frozen=True)
class Refused:
    """A file without a copy, and the reason in one line that begins with its path."""

    source: Path
    why: str


def deidentify(
    files: Sequence[Path], out: Path, pseudonyms: Pseudonyms, *, note: Callable[[Copied], None] = lambda copied: None
) -> Iterator[Copied | Refused]:
    """Write `out/<pseudonym>/<new SOP Instance UID>.dcm` for each file, one after the other.

    Args:
        files: DICOM files.
        out: An existing folder.
        pseudonyms: Gives the new ids.
        note: Called with each copy just before it gets its name.

    Raises:
        OSError: A copy cannot be written.
    """
    for source in files:
        outcome: Copied | Refused
        try:
            outcome = _copy(source, out, pseudonyms, note)
        except ImageError as error:
            outcome = Refused(source, " ".join(str(error).splitlines()))
        yield outcome


def _copy(source: Path, out: Path, pseudonyms: Pseudonyms, note: Callable[[Copied], None]) -> Copied:
    """Write the copy of one file and read it back; it gets its name only if it shows the same film."""
    check_file_size(source, source.stat().st_size)
    display, stored = read_dicom(source)
    header = _read_header(source)
    _check_tables(display, source)
    try:
        image, misfits = allowed(header, signed=display.signed)
        _set_identity(image, header, pseudonyms)
        _set_pixels(image, header, display, stored)
    except HEADER_FAULTS as error:
        raise _damaged(source, error) from error
    shown = as_displayed(stored, display)
    copy = out / str(image.PatientID) / f"{image.SOPInstanceUID}.dcm"
    if copy.exists():
        raise ImageError(f"{source}: its SOP Instance UID is that of a file already copied; leave one of the two out")
    old_patient, old_study = str(header.get("PatientID") or ""), str(header.StudyInstanceUID)
    ids = (old_patient, str(image.PatientID), old_study, str(image.StudyInstanceUID))
    done = Copied(source, copy, _warnings(header, image, misfits, find_marks(shown)), ids)
    copy.parent.mkdir(exist_ok=True)
    with written_beside(copy) as beside:
        _save(image, beside, source)
        _check_same(beside, stored, shown, source)
        note(done)
    return done


def _read_header(source: Path) -> Dataset:
    """Read only the elements that are kept and the ids that are replaced."""
    try:
        header = dcmread(source, force=True, specific_tags=[*KEPT, *IDENTITY])
        missing = [keyword for keyword in NEW_UIDS if not str(header.get(keyword) or "").strip()]
        kind = str(header.get("SOPClassUID"))
    except HEADER_FAULTS as error:
        raise _damaged(source, error) from error
    if kind not in SOP_CLASSES:
        expected = "a mammography, digital X-ray, CR or secondary capture image"
        raise ImageError(f"{source}: expected {expected}, got another kind; it is not copied")
    if missing:
        raise ImageError(f"{source}: {', '.join(missing)} missing from its DICOM header; fetch the file again")
    return header


def _damaged(source: Path, error: Exception) -> ImageError:
    return ImageError(f"{source}: damaged DICOM header ({type(error).__name__}); fetch the file again")


def _check_tables(display: Display, source: Path) -> None:
    """Refuse a display table that does not rise or fall all the way: it could be text in a table's place."""
    for table in (display.modality, display.voi):
        if isinstance(table, Table):
            steps = np.diff(table.entries.astype(np.int64))
            if (steps < 0).any() and (steps > 0).any():
                expected = "a modality and VOI LUT that only rise or only fall"
                raise ImageError(f"{source}: expected {expected}, got another; it is not copied")


def _set_identity(image: Dataset, header: Dataset, pseudonyms: Pseudonyms) -> None:
    """Set new ids, and what PS3.15 E.1.1 requires a copy to state; the dates are removed, so their order is too."""
    patient = str(header.get("PatientID") or "").strip() or f"study {header.StudyInstanceUID}"
    image.PatientName = image.PatientID = pseudonyms.patient(patient)
    image.SOPClassUID = header.SOPClassUID
    for keyword in NEW_UIDS:
        setattr(image, keyword, pseudonyms.uid(str(header[keyword].value)))
    if header.get("FrameOfReferenceUID"):
        image.FrameOfReferenceUID = pseudonyms.uid(str(header.FrameOfReferenceUID))
        image.PositionReferenceIndicator = None
    references = []
    for item in header.get("SourceImageSequence") or []:
        if item.get("ReferencedSOPClassUID") in SOP_CLASSES and item.get("ReferencedSOPInstanceUID"):
            reference = Dataset()
            reference.ReferencedSOPClassUID = item.ReferencedSOPClassUID
            reference.ReferencedSOPInstanceUID = pseudonyms.uid(str(item.ReferencedSOPInstanceUID))
            references.append(reference)
    if references:
        image.SourceImageSequence = references[:MOST_REFERENCES]
    image.PatientIdentityRemoved, image.LongitudinalTemporalInformationModified = "YES", "REMOVED"
    image.DeidentificationMethod = METHOD
    image.DeidentificationMethodCodeSequence = [code_item(codes.DCM.BasicApplicationConfidentialityProfile)]


def _set_pixels(image: Dataset, header: Dataset, display: Display, stored: np.ndarray) -> None:
    """Set the pixels, in Explicit VR Little Endian, and the first modality and VOI table as they were read."""
    kind = "MONOCHROME1" if display.inverted else "MONOCHROME2"
    little_endian = stored.astype(stored.dtype.newbyteorder("<"))
    image.set_pixel_data(little_endian, kind, display.bits_stored, generate_instance_uid=False)
    if header.file_meta.get("TransferSyntaxUID") in ALWAYS_LOSSY:
        image.LossyImageCompression = "01"  # the copy is not compressed, its pixels once were (PS3.3 C.7.6.1.1.5)
    if isinstance(display.modality, Table):
        image.ModalityLUTSequence = [_table_item(display.modality)]
        image.ModalityLUTSequence[0].ModalityLUTType = "US"
        for keyword in ("RescaleIntercept", "RescaleSlope", "RescaleType"):
            image.pop(keyword, None)
    if isinstance(display.voi, Table):
        image.VOILUTSequence = [_table_item(display.voi)]


def _table_item(table: Table) -> Dataset:
    item = Dataset()
    descriptor = [len(table.entries) % 2**16, table.first, table.bits]
    item.add_new("LUTDescriptor", "SS" if table.first < 0 else "US", descriptor)
    item.add_new("LUTData", "OW", table.entries.astype("<u2").tobytes())
    return item


def _warnings(header: Dataset, image: Dataset, misfits: Sequence[str], marks: Sequence[Box]) -> dict[str, str]:
    burned_in = image.get("BurnedInAnnotation")
    captured = SOP_CLASSES[image.SOPClassUID] == "OT" or "SECONDARY" in image.get("ImageType", ())
    boxes = f"{len(marks)}, at x,y,width,height " + " ".join(",".join(map(str, box)) for box in marks)
    warnings = [
        (BURNED_IN, burned_in == "YES", ""),
        (SILENT, burned_in is None, ""),
        (CAPTURE, captured, ""),
        (MARKS, bool(marks), boxes),
        (MISFITS, bool(misfits), " ".join(misfits)),
        (NO_PATIENT, not str(header.get("PatientID") or "").strip(), ""),
    ]
    return {kind: detail for kind, applies, detail in warnings if applies}


def _save(image: Dataset, path: Path, source: Path) -> None:
    image.file_meta.ImplementationClassUID = IMPLEMENTATION_UID
    image.file_meta.ImplementationVersionName = f"MAMMO_{__version__}"[:16]
    content = io.BytesIO()
    try:
        image.save_as(content, enforce_file_format=True)  # a preamble of zeros, nothing of the source's file meta
    except HEADER_FAULTS as error:
        raise _damaged(source, error) from error
    path.write_bytes(content.getbuffer())


def _check_same(copy: Path, stored: np.ndarray, shown: np.ndarray, source: Path) -> None:
    """Read the copy like any other file: without a table or window of its source it would show another film."""
    try:
        display, again = read_dicom(copy)
    except ImageError as error:
        raise ImageError(f"{source}: its copy would not be a readable image; fetch the file again") from error
    if not np.array_equal(again, stored) or not np.array_equal(as_displayed(again, display), shown):
        what = "a value that its display depends on is not of the standard's form"
        raise ImageError(f"{source}: {what}; it is not copied")
