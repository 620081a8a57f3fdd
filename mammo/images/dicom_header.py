"""A DICOM header enters; the steps from stored to displayed values leave, checked."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset

from mammo.errors import ImageError
from mammo.images.display import WINDOW_FUNCTIONS, Display, Table, Window

DISPLAY_KEYWORDS = (
    "BitsStored",
    "PixelRepresentation",
    "PhotometricInterpretation",
    "ModalityLUTSequence",
    "RescaleSlope",
    "RescaleIntercept",
    "VOILUTSequence",
    "VOILUTFunction",
    "WindowCenter",
    "WindowWidth",
)


def display_of(dataset: Dataset, path: Path) -> Display:
    """Read how stored values become displayed ones.

    Of several windows or tables the first counts. A VOI table goes before a window (both may be there as alternatives,
    PS3.3 C.11.2). A window without a centre, of a width below 1 (0 for the functions LINEAR_EXACT and SIGMOID) or of an
    unknown function counts as absent: the full range is shown.

    Raises:
        ImageError: The image is not gray of 8 to 16 bits, or a table or rescale value makes no sense.
    """
    kind = str(dataset.get("PhotometricInterpretation") or "").strip()
    if not kind:
        raise ImageError(f"{path}: PhotometricInterpretation is missing from its DICOM header; it is damaged, or no image")
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise ImageError(f"{path}: expected PhotometricInterpretation MONOCHROME1 or MONOCHROME2, got another; only gray DICOM is read")
    bits_stored = _bits(dataset, path)
    return Display(
        bits_stored=bits_stored,
        signed=whole_number(dataset, "PixelRepresentation", path) == 1,
        inverted=kind == "MONOCHROME1",
        modality=_table(dataset, "ModalityLUTSequence", bits_stored, path) or _rescale(dataset, path),
        voi=_table(dataset, "VOILUTSequence", bits_stored, path) or _window(dataset),
    )


def whole_number(dataset: Dataset, keyword: str, path: Path) -> int:
    """Return a header value that must be one non-negative whole number.

    Raises:
        ImageError: It is missing or something else.
    """
    value = dataset.get(keyword)
    if value is None:
        raise ImageError(f"{path}: {keyword} is missing from its DICOM header; fetch the file again")
    if not isinstance(value, int) or value < 0:
        raise ImageError(f"{path}: expected a whole number as {keyword}, got something else; fetch the file again")
    return int(value)


def _bits(dataset: Dataset, path: Path) -> int:
    allocated, stored = (whole_number(dataset, keyword, path) for keyword in ("BitsAllocated", "BitsStored"))
    if allocated not in (8, 16) or not 8 <= stored <= allocated:
        raise ImageError(f"{path}: expected 8 to 16 bits per pixel, got BitsAllocated {allocated} and BitsStored {stored}")
    high_bit = dataset.get("HighBit")
    if high_bit is not None and high_bit != stored - 1:
        raise ImageError(f"{path}: expected HighBit {stored - 1} for BitsStored {stored} (PS3.5 8.1.1), got another; it is not read")
    return stored


def _rescale(dataset: Dataset, path: Path) -> tuple[float, float] | None:
    slope, intercept = _number(dataset.get("RescaleSlope")), _number(dataset.get("RescaleIntercept"))
    if slope is None or intercept is None:
        return None
    if slope == 0:
        raise ImageError(f"{path}: its RescaleSlope is 0, which makes every pixel alike; fetch the file again")
    return slope, intercept


def _window(dataset: Dataset) -> Window | None:
    centre, width = _number(dataset.get("WindowCenter")), _number(dataset.get("WindowWidth"))
    name = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    function = next((known for known in WINDOW_FUNCTIONS if known == name), None)
    if centre is None or width is None or function is None:
        return None
    if width < 1 if function == "LINEAR" else width <= 0:
        return None
    return Window(centre, width, function)


def _table(dataset: Dataset, keyword: str, bits_stored: int, path: Path) -> Table | None:
    items = dataset.get(keyword)
    if not items:
        return None
    descriptor = items[0].get("LUTDescriptor")
    if not isinstance(descriptor, Sequence) or len(descriptor) != 3:
        raise ImageError(f"{path}: expected three numbers as LUTDescriptor of its {keyword}, got something else")
    count, first, bits = int(descriptor[0]) or 2**16, int(descriptor[1]), int(descriptor[2])
    entries = _entries(items[0], little_endian=dataset.original_encoding[1] is not False)
    if not 8 <= bits <= 16 or len(entries) < count:
        raise ImageError(f"{path}: expected {count} entries of 8 to 16 bits in its {keyword}, got {len(entries)} of {bits} bits")
    if bits == 16:
        # Writers put the width of an entry where its range belongs (seen: 16 on a table that ends at 1023).
        bits = max(bits_stored, int(entries[:count].max()).bit_length())
    return Table(entries[:count], first, bits)


def _entries(item: Dataset, *, little_endian: bool) -> np.ndarray:
    data: Any = item.LUTData
    if isinstance(data, bytes):
        return np.frombuffer(data[: len(data) // 2 * 2], dtype="<u2" if little_endian else ">u2")
    return np.atleast_1d(np.asarray(data, dtype=np.int64)) & 0xFFFF


def _number(value: Any) -> float | None:
    """Return the first of possibly several numbers, None for what is empty or no finite number."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        value = value[0] if len(value) else None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
