"""Says what lies at a path: a film that can be read, or another kind of file, by name; folders are sorted by this."""

from pathlib import Path

import pydicom.uid as uids
from pydicom import dcmread

from mammo.errors import ImageError
from mammo.images.decode import SUFFIXES, UNSUPPORTED_MAGIC, looks_like_raster, start_of
from mammo.images.dicom import HEADER_FAULTS, looks_like_dicom, silence_readers
from mammo.images.dicom_walk import check_structure

FILM = ""
FAULTS: tuple[type[Exception], ...] = (ImageError, *HEADER_FAULTS)
# Objects that hold no picture of a patient, by the start of their SOP class (PS3.4 B.5) and in words.
NO_IMAGE = {
    "1.2.840.10008.1.3.10": "DICOM directory (DICOMDIR)",
    "1.2.840.10008.5.1.4.1.1.88.": "DICOM structured report",
    "1.2.840.10008.5.1.4.1.1.11.": "DICOM presentation state",
    "1.2.840.10008.5.1.4.1.1.104.": "encapsulated document (DICOM)",
    "1.2.840.10008.5.1.4.1.1.66": "DICOM segmentation or registration",
    "1.2.840.10008.5.1.4.1.1.9.": "DICOM waveform",
    "1.2.840.10008.5.1.4.1.1.481.": "DICOM radiotherapy object",
    "1.2.840.10008.5.1.4.1.1.67": "DICOM real-world value mapping",
    "1.2.840.10008.5.1.4.38.": "DICOM hanging protocol",
}
# Pictures that are not read, which a folder of films may hold nothing but: named, so that nobody takes them for notes.
UNREAD_PICTURES = UNSUPPORTED_MAGIC | {b"\x93NUMPY": "NumPy array", b"NRRD": "NRRD"}
UNREAD_ENDINGS = {
    ".nii": "NIfTI",
    ".npy": "NumPy array",
    ".npz": "NumPy array",
    ".mha": "MetaImage",
    ".mhd": "MetaImage",
    ".raw": "raw pixels",
}
NOTE = "other file"


def kind_of(path: Path) -> str:
    """Tell what kind of file lies at a path, by content or else by its ending.

    Returns:
        `FILM` for what `decode.read_film` would try, damaged files included; else the kind in words, such as `DICOM structured report`,
        `ZIP` or `NOTE`.

    Raises:
        ImageError: It is empty, too large, no regular file, or may not be read.
    """
    start = start_of(path)
    if looks_like_raster(start):
        return FILM
    if looks_like_dicom(start):
        return _dicom_kind(path)
    picture = next((name for magic, name in UNREAD_PICTURES.items() if start.startswith(magic)), "")
    if path.suffix.lower() in SUFFIXES:  # what it says it is: reading it says what it is instead
        return FILM
    if picture:
        return picture
    return UNREAD_ENDINGS.get(path.suffix.lower(), NOTE)


def is_unread_picture(kind: str) -> bool:
    """Whether a kind may well be a film in a form that is not read."""
    return kind in {*UNREAD_PICTURES.values(), *UNREAD_ENDINGS.values()}


def _dicom_kind(path: Path) -> str:
    """A DICOM object's kind; one that may hold an image, or is damaged, counts as a film, so that reading it says what is wrong."""
    silence_readers()
    try:
        check_structure(path)
        header = dcmread(path, stop_before_pixels=True, force=True, specific_tags=["SOPClassUID", "Rows"])
        uid = str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or "")
        has_rows = "Rows" in header
    except FAULTS:
        return FILM
    named = next((words for start, words in NO_IMAGE.items() if uid.startswith(start)), "")
    if named:
        return named
    if has_rows or not uid:
        return FILM
    return (
        FILM
        if "Image Storage" in uids.UID(uid).name or uid not in uids.UID_dictionary
        else "other DICOM object without an image"
    )
