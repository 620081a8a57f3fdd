"""Finds what kind of file lies at a path: a film that can be read, or another kind by name."""

from pathlib import Path

import pydicom.uid as uids

from mammo.errors import ImageError
from mammo.images.decode import SUFFIXES, UNSUPPORTED_MAGIC, looks_like_raster, start_of
from mammo.images.dicom import HEADER_FAULTS, looks_like_dicom, read_header

FILM = ""
FAULTS: tuple[type[Exception], ...] = (ImageError, *HEADER_FAULTS)
# DICOM objects without a picture of a patient, by the start of their SOP class (PS3.4 B.5).
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
# Picture formats that are not read. They have names, so that a folder of such films is not taken for a folder of notes.
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
    """Find the kind of a file, by content or else by its ending.

    Returns:
        `FILM` for what `decode.read_film` would try to read, damaged files included; else the kind in words, such as
        `DICOM structured report`, `ZIP` or `NOTE`.

    Raises:
        ImageError: It is empty, too large, not a regular file, or cannot be read.
    """
    start = start_of(path)
    if looks_like_dicom(start) and not looks_like_raster(start):
        return _dicom_kind(path)
    ending = path.suffix.lower()
    if looks_like_raster(start) or ending in SUFFIXES:  # `read_film` reports a false ending
        return FILM
    picture = next((name for magic, name in UNREAD_PICTURES.items() if start.startswith(magic)), "")
    return picture or UNREAD_ENDINGS.get(ending, NOTE)


def is_unread_picture(kind: str) -> bool:
    """Whether a kind may be a film in a format that is not read."""
    return kind in {*UNREAD_PICTURES.values(), *UNREAD_ENDINGS.values()}


def _dicom_kind(path: Path) -> str:
    """Find the kind of a DICOM object. It is `FILM` if it may have an image or is damaged."""
    try:
        header = read_header(path, ["SOPClassUID", "Rows"])
        uid = str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or "")
        has_rows = "Rows" in header
    except FAULTS:  # reading the film reports the damage
        return FILM
    named = next((words for start, words in NO_IMAGE.items() if uid.startswith(start)), "")
    if named:
        return named
    unknown = not uid or uid not in uids.UID_dictionary
    if has_rows or unknown or "Image Storage" in uids.UID(uid).name:
        return FILM
    return "other DICOM object without an image"
