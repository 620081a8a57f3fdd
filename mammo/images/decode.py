"""Reads a DICOM, PNG, JPEG, TIFF or PGM file and returns a film or stored values; finds the kind of any file.

Trusted files are read in this process, untrusted ones in the sandboxed decoder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom.uid as uids

from mammo.errors import ImageError
from mammo.images.dicom import HEADER_FAULTS, damage_reported, looks_like_dicom, read_dicom, read_header
from mammo.images.dicom_walk import UID
from mammo.images.display import as_displayed, full_range
from mammo.images.film import Film
from mammo.images.limits import check_file_size
from mammo.images.raster import RASTER_MAGIC, read_raster

SUPPORTED = "DICOM, PNG (8 or 16 bit), JPEG (8 bit), TIFF (8 to 16 bit) or PGM"
SUFFIXES = (".dcm", ".dicom", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".pgm")
UNSUPPORTED_MAGIC = {
    b"II+\0": "BigTIFF",
    b"MM\0+": "BigTIFF",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"RIFF": "WebP or another RIFF",
    b"\0\0\0\x0cjP  ": "JPEG 2000 (outside DICOM)",
    b"\xff\x4f\xff\x51": "JPEG 2000 (outside DICOM)",
    b"PK\x03\x04": "ZIP",
    b"\x1f\x8b": "gzip",
    b"%PDF": "PDF",
    b"P6": "PPM (colour)",
}
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


def read_film(path: Path) -> Film:
    """Decode one mammogram to what a viewer displays.

    DICOM follows PS3.4 N.2: modality LUT, VOI LUT or first window, MONOCHROME1 inversion; see `display_rules`.
    PNG, JPEG, TIFF and PGM run from 0 (black) to the top of their bit depth; EXIF rotation is applied.

    Returns:
        A film of uint16 [height, width]; 0 is black, 65535 the top of the file's nominal range.

    Raises:
        ImageError: The file is missing, empty, of another kind, damaged, too large, in colour (DICOM), of several
            frames, or needs a decoder that is not installed. One line, without any header text.
    """
    if _is_dicom(path):
        display, stored = read_dicom(path)
        pixels = as_displayed(stored, display)
        return Film(pixels, display.bits_stored, display.remarks, display.laterality, display.for_processing)
    raster = read_raster(path)
    return Film(full_range(raster.pixels, raster.bits), raster.bits, raster.remarks)


def read_pixels(path: Path) -> np.ndarray:
    """Decode one file to its stored gray values, neither windowed, inverted nor scaled; for masks.

    Returns:
        uint8, int8, uint16 or int16 [height, width].

    Raises:
        ImageError: As for `read_film`.
    """
    return read_dicom(path)[1] if _is_dicom(path) else read_raster(path).pixels


def read_series_uid(path: Path) -> str:
    """Read the SeriesInstanceUID; "" without a valid one (PS3.10 7.1). Raises ImageError for a damaged DICOM file."""
    if start_of(path)[128:] != b"DICM":
        return ""
    with damage_reported(path, "DICOM header"):
        uid = str(read_header(path, ["SeriesInstanceUID"]).get("SeriesInstanceUID", ""))
    return uid if UID.fullmatch(uid) else ""


@dataclass(frozen=True)
class Readers:
    """`read_film`, `read_pixels` and `read_series_uid`, or their sandboxed forms."""

    film: Callable[[Path], Film]
    pixels: Callable[[Path], np.ndarray]
    series_uid: Callable[[Path], str]


def readers(*, untrusted: bool) -> Readers:
    """Choose between this process and the sandboxed decoder (ImageError on Windows); both return the same pixels."""
    if not untrusted:
        return Readers(read_film, read_pixels, read_series_uid)
    try:  # imported here, because it needs POSIX
        from mammo.images.sandbox.decode import read_untrusted_film, read_untrusted_pixels, read_untrusted_series_uid
    except ImportError as error:
        raise ImageError("data.untrusted needs the process limits of Linux or macOS; use one or a container") from error
    return Readers(read_untrusted_film, read_untrusted_pixels, read_untrusted_series_uid)


def kind_of(path: Path) -> str:
    """Find the kind of a file, by content or else by its ending.

    Returns:
        `FILM` for what `read_film` would try to read, damaged files included; else the kind in words, such as
        `DICOM structured report`, `ZIP` or `NOTE`.

    Raises:
        ImageError: It is empty, too large, not a regular file, or cannot be read.
    """
    start = start_of(path)
    if looks_like_dicom(start) and not _looks_like_raster(start):
        return _dicom_kind(path)
    ending = path.suffix.lower()
    if _looks_like_raster(start) or ending in SUFFIXES:  # `read_film` reports a false ending
        return FILM
    picture = next((name for magic, name in UNREAD_PICTURES.items() if start.startswith(magic)), "")
    return picture or UNREAD_ENDINGS.get(ending, NOTE)


def is_unread_picture(kind: str) -> bool:
    """Whether a kind may be a film in a format that is not read."""
    return kind in {*UNREAD_PICTURES.values(), *UNREAD_ENDINGS.values()}


def start_of(path: Path) -> bytes:
    """Read a file's first 132 bytes.

    Raises:
        ImageError: It is missing, not a regular file, empty, larger than `limits.MAX_FILE_BYTES` or cannot be read.
    """
    try:
        if not path.is_file():
            problem = "is not a regular file" if path.exists() else "does not exist"
            raise ImageError(f"{path}: {problem}; expected {SUPPORTED}")
        size = path.stat().st_size
        if size == 0:
            raise ImageError(f"{path}: the file is empty; fetch it again")
        check_file_size(path, size)
        with path.open("rb") as file:
            return file.read(132)
    except (OSError, ValueError) as error:
        kind = type(error).__name__
        raise ImageError(f"{path}: cannot be opened ({kind}); check the path and its permissions") from error


def _is_dicom(path: Path) -> bool:
    start = start_of(path)
    if _looks_like_raster(start):
        return False
    if looks_like_dicom(start):
        return True
    kind = next((name for magic, name in UNSUPPORTED_MAGIC.items() if start.startswith(magic)), None)
    found = f"a {kind} file" if kind else "a file of unknown kind"
    raise ImageError(f"{path}: expected {SUPPORTED}, got {found}; convert it, or leave it out")


def _dicom_kind(path: Path) -> str:
    """Find the kind of a DICOM object. It is `FILM` if it may have an image or is damaged."""
    try:
        header = read_header(path, ["SOPClassUID", "Rows"])
        uid = str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or "")
        has_rows = "Rows" in header
    except FAULTS:  # reading the film reports the damage
        return FILM
    for start, words in NO_IMAGE.items():
        if uid.startswith(start):
            return words
    may_have_image = has_rows or uid not in uids.UID_dictionary or "Image Storage" in uids.UID(uid).name
    return FILM if may_have_image else "other DICOM object without an image"


def _looks_like_raster(start: bytes) -> bool:
    """Whether a file's first 132 bytes are those of PNG, JPEG, TIFF or PGM, and not of DICOM with a TIFF preamble."""
    return start.startswith(RASTER_MAGIC) and start[128:132] != b"DICM"
