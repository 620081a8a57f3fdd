"""Reads a DICOM, PNG, JPEG, TIFF or PGM file and returns a film, or the stored values of a mask."""

from pathlib import Path

import numpy as np

from mammo.errors import ImageError
from mammo.images.dicom import looks_like_dicom, read_dicom
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
MASK_TOLERANCE = 10 / 255
MASK_SHARE = 0.995


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


def looks_like_mask(pixels: np.ndarray) -> bool:
    """Whether an image has just two values, as a lesion mask has and a film or a crop has not.

    Args:
        pixels: Stored values, [height, width] of any integer type. A constant image is no mask. Masks of 8 bits may
            have passed through lossy JPEG (those of Kaggle's CBIS-DDSM have): more than 99.5 % of their pixels must lie
            within 10/255 of one of the two ends.
    """
    low, high = int(pixels.min()), int(pixels.max())
    if low == high:
        return False
    if pixels.dtype != np.uint8:
        return bool(np.all((pixels == low) | (pixels == high)))
    slack = MASK_TOLERANCE * (high - low)
    return float(np.mean((pixels <= low + slack) | (pixels >= high - slack))) > MASK_SHARE


def mask_from(pixels: np.ndarray) -> np.ndarray:
    """Turn stored values [height, width] of any integer type into a mask.

    Returns:
        bool [height, width]: above the middle between lowest and highest value; for a constant image, above 0.
    """
    low, high = int(pixels.min()), int(pixels.max())
    return pixels > (low + high) / 2 if low < high else pixels > 0


def looks_like_raster(start: bytes) -> bool:
    """Whether a file's first 132 bytes are those of PNG, JPEG, TIFF or PGM, and not of DICOM with a TIFF preamble."""
    return start.startswith(RASTER_MAGIC) and start[128:132] != b"DICM"


def _is_dicom(path: Path) -> bool:
    start = start_of(path)
    if looks_like_raster(start):
        return False
    if looks_like_dicom(start):
        return True
    kind = next((name for magic, name in UNSUPPORTED_MAGIC.items() if start.startswith(magic)), None)
    found = f"a {kind} file" if kind else "a file of unknown kind"
    raise ImageError(f"{path}: expected {SUPPORTED}, got {found}; convert it, or leave it out")


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
