"""A file enters (DICOM, PNG, JPEG or PGM, told apart by content); a film, or the stored values of a mask, leaves."""

from pathlib import Path

import numpy as np

from mammo.errors import ImageError
from mammo.images.dicom import looks_like_dicom, read_dicom
from mammo.images.display import as_displayed, full_range
from mammo.images.film import Film
from mammo.images.guards import check_file_size
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
MASK_TOLERANCE = 10 / 255
MASK_SHARE = 0.995


def read_film(path: Path) -> Film:
    """Decode one mammogram to what a viewer displays.

    DICOM follows PS3.4 N.2: modality LUT, VOI LUT or first window, MONOCHROME1 inversion; `display_rules` lists each attribute.
    PNG, JPEG, TIFF and PGM run from 0 (black) to the top of their bit depth; EXIF rotation is honoured.

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
    """Decode one file to its stored gray values [height, width], neither windowed, inverted nor scaled; for masks.

    Raises:
        ImageError: As for `read_film`.
    """
    return read_dicom(path)[1] if _is_dicom(path) else read_raster(path).pixels


def looks_like_mask(pixels: np.ndarray) -> bool:
    """Tell whether an image has just two values, as a lesion mask has and a film or a crop has not.

    Images of 8 bits may have passed through lossy JPEG (the masks of Kaggle's CBIS-DDSM have): there, more than 99.5 %
    of the pixels must lie within 10/255 of one of the two ends. A constant image is no mask.
    """
    low, high = int(pixels.min()), int(pixels.max())
    if low == high:
        return False
    if pixels.dtype != np.uint8:
        return bool(np.all((pixels == low) | (pixels == high)))
    slack = MASK_TOLERANCE * (high - low)
    return float(np.mean((pixels <= low + slack) | (pixels >= high - slack))) > MASK_SHARE


def mask_from(pixels: np.ndarray) -> np.ndarray:
    """Turn stored values into a bool mask: above the middle between lowest and highest; a constant image by > 0."""
    low, high = int(pixels.min()), int(pixels.max())
    return pixels > (low + high) / 2 if low < high else pixels > 0


def looks_like_raster(start: bytes) -> bool:
    """Tell from a file's first 132 bytes whether it is a PNG, JPEG, TIFF or PGM file, and no DICOM file with a TIFF's preamble."""
    return start.startswith(RASTER_MAGIC) and start[128:132] != b"DICM"


def _is_dicom(path: Path) -> bool:
    start = start_of(path)
    if looks_like_raster(start):
        return False
    if looks_like_dicom(start):
        return True
    kind = next((name for magic, name in UNSUPPORTED_MAGIC.items() if start.startswith(magic)), None)
    came = f"a {kind} file" if kind else "a file of unknown kind"
    raise ImageError(f"{path}: expected {SUPPORTED}, got {came}; convert it, or leave it out")


def start_of(path: Path) -> bytes:
    """Read a file's first 132 bytes.

    Raises:
        ImageError: It is no regular file, absent, empty, larger than `guards.MAX_FILE_BYTES` or may not be read.
    """
    try:
        if not path.is_file():
            what = "is not a regular file" if path.exists() else "does not exist"
            raise ImageError(f"{path}: {what}; expected {SUPPORTED}")
        size = path.stat().st_size
        if size == 0:
            raise ImageError(f"{path}: the file is empty; fetch it again")
        check_file_size(path, size)
        with path.open("rb") as file:
            return file.read(132)
    except (OSError, ValueError) as error:
        raise ImageError(
            f"{path}: cannot be opened ({type(error).__name__}); check the path and its permissions"
        ) from error
