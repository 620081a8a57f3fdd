"""Reads what a DICOM header says about display and returns it checked; `display_rules` lists each attribute."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset

from mammo.errors import ImageError
from mammo.images.display import WINDOW_FUNCTIONS, Display, Table, Window
from mammo.images.film import HeaderSide
from mammo.images.guards import DECODER_FAULTS

MG_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"
SQUARE = 0.01  # how far the sides of a pixel may differ
SIDES: dict[str, HeaderSide] = {"L": "LEFT", "R": "RIGHT"}
RADIOGRAPHY = ("MG", "CR", "DX", "RG", "OT", "")  # films that were digitised go by the other names
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio")
SHUTTER = (
    "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge",
    "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge",
)
# Macros of the functional groups (PS3.3 C.7.6.16.2) that hold what other images have at the top of their header.
MACROS = ("FrameVOILUTSequence", "PixelValueTransformationSequence", "PixelMeasuresSequence", "FrameAnatomySequence")
OF_GROUPS = (
    "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence", "RescaleSlope", "RescaleIntercept", "PixelSpacing",
    "FrameLaterality",
)  # fmt: skip


def display_of(dataset: Dataset, path: Path) -> Display:
    """Read how stored values become displayed ones.

    Of several windows or tables the first counts. A VOI table goes before a window (both may be there as alternatives,
    PS3.3 C.11.2). The functional groups of a one-frame object count as if their values were at the top of the header.

    Args:
        dataset: The header, with `display_rules.READ` at least.
        path: The file, for messages.

    Raises:
        ImageError: The image is not gray of 1 to 16 bits, or an attribute has a value that cannot be read or makes no sense.
    """
    dataset = _with_groups(dataset, path)
    _refuse_by_name(dataset, path)
    kind = _word(dataset, "PhotometricInterpretation", path)
    if not kind:
        raise ImageError(
            f"{path}: PhotometricInterpretation is missing from its DICOM header; it is damaged, or no image"
        )
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise ImageError(
            f"{path}: expected PhotometricInterpretation MONOCHROME1 or MONOCHROME2, got another; only gray DICOM is read"
        )
    inverted, remarks = _polarity(dataset, kind, path)
    stored, high = _bits(dataset, path)
    signed = _signed(dataset, path)
    modality = _table(dataset, "ModalityLUTSequence", stored, path, signed=signed) or _rescale(dataset, path)
    negative = _reaches_below_zero(modality, signed=signed)
    if _word(dataset, "Modality", path) not in RADIOGRAPHY:
        remarks.append("other_modality")
    return Display(
        bits_stored=stored,
        high_bit=high,
        signed=signed,
        inverted=inverted,
        modality=modality,
        voi=_table(dataset, "VOILUTSequence", stored, path, signed=negative) or _window(dataset, path),
        padding=_padding(dataset, path),
        shutter=_shutter(dataset, path),
        laterality=_side(dataset, path),
        for_processing=_is_for_processing(dataset, path),
        remarks=tuple(remarks),
    )


def whole_number(dataset: Dataset, keyword: str, path: Path) -> int:
    """Return a header value that must be one non-negative whole number.

    Raises:
        ImageError: It is missing or something else.
    """
    value = _value(dataset, keyword, path)
    if value is None:
        raise ImageError(f"{path}: {keyword} is missing from its DICOM header; fetch the file again")
    if not isinstance(value, int) or value < 0:
        raise ImageError(f"{path}: expected a whole number as {keyword}, got something else; fetch the file again")
    return int(value)


def _value(dataset: Dataset, keyword: str, path: Path) -> Any:
    """A header value; one that pydicom cannot read is an error that names the attribute, not its text."""
    try:
        return dataset.get(keyword)
    except DECODER_FAULTS as error:
        raise ImageError(
            f"{path}: {keyword} in its DICOM header cannot be read; correct it, or fetch the file again"
        ) from error


def _word(dataset: Dataset, keyword: str, path: Path) -> str:
    value = _value(dataset, keyword, path)
    first = value[0] if isinstance(value, Sequence) and not isinstance(value, str) and len(value) else value
    return str(first or "").strip().upper()


def _numbers(dataset: Dataset, keyword: str, path: Path) -> list[float]:
    """All numbers of a header value; none where it is absent or empty.

    Raises:
        ImageError: One is no finite number.
    """
    value = _value(dataset, keyword, path)
    if value is None:
        return []
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]
    try:
        numbers = [float(one) for one in values if not (isinstance(one, str) and not one.strip())]
    except (TypeError, ValueError):
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise ImageError(f"{path}: expected numbers as {keyword} in its DICOM header, got something else; correct it")
    return numbers


def _with_groups(dataset: Dataset, path: Path) -> Dataset:
    """The header with the values of its functional groups at its top: the frame's own before the shared ones."""
    groups = [_items(dataset, f"{name}FunctionalGroupsSequence", path) for name in ("PerFrame", "Shared")]
    if not any(groups):
        return dataset
    if len(groups[0]) > 1 or len(groups[1]) > 1:
        raise ImageError(
            f"{path}: expected functional groups of one frame, got {max(map(len, groups))}; it is damaged, or tomosynthesis"
        )
    merged = Dataset()
    merged.update(dataset)
    merged.set_original_encoding(*dataset.original_encoding)
    known: set[str] = set()
    for group in (one for items in groups for one in items):
        for macro in (item for name in MACROS for item in _items(group, name, path)[:1]):
            for keyword in (name for name in OF_GROUPS if name in macro and name not in known):
                if keyword in dataset and _value(dataset, keyword, path) != _value(macro, keyword, path):
                    raise ImageError(
                        f"{path}: {keyword} in its functional groups contradicts that of its header; correct one of them"
                    )
                known.add(keyword)
                merged[keyword] = macro[keyword]
    return merged


def _items(dataset: Dataset, keyword: str, path: Path) -> Sequence[Dataset]:
    items = _value(dataset, keyword, path)
    return items if isinstance(items, Sequence) and not isinstance(items, str | bytes) else []


def _refuse_by_name(dataset: Dataset, path: Path) -> None:
    """Refuse what is no film as a viewer shows one."""
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise ImageError(f"{path}: expected whole-number pixels, got FloatPixelData; convert it")
    if "PixelDataProviderURL" in dataset and "PixelData" not in dataset:
        raise ImageError(f"{path}: its pixels lie elsewhere (PixelDataProviderURL); fetch the file with its pixels")
    if _word(dataset, "QualityControlImage", path) in ("YES", "BOTH"):
        raise ImageError(f"{path}: is a quality-control image (QualityControlImage), of a test object; leave it out")
    for keyword in SPACINGS:
        sides = _numbers(dataset, keyword, path)
        if len(sides) == 2 and min(sides) > 0 and abs(sides[0] / sides[1] - 1) > SQUARE:
            raise ImageError(f"{path}: its pixels are not square ({keyword}); resample it to square pixels")


def _is_for_processing(dataset: Dataset, path: Path) -> bool:
    intent, kind = _word(dataset, "PresentationIntentType", path), _word(dataset, "SOPClassUID", path)
    return intent == "FOR PROCESSING" or kind == MG_FOR_PROCESSING


def _polarity(dataset: Dataset, kind: str, path: Path) -> tuple[bool, list[str]]:
    """Whether white and black are swapped. Where shape and interpretation disagree, dcmtk and dcm4che follow the shape INVERSE."""
    shape = _word(dataset, "PresentationLUTShape", path)
    if shape not in ("", "IDENTITY", "INVERSE"):
        raise ImageError(f"{path}: expected PresentationLUTShape IDENTITY or INVERSE, got another; correct it")
    if shape == "IDENTITY" and kind == "MONOCHROME1":
        raise ImageError(
            f"{path}: PresentationLUTShape IDENTITY contradicts PhotometricInterpretation MONOCHROME1 (PS3.3 C.8.11.1), and viewers "
            "disagree on which to follow; correct one of them"
        )
    contradicts = shape == "INVERSE" and kind == "MONOCHROME2"
    return kind == "MONOCHROME1" or contradicts, ["polarity"] if contradicts else []


def _bits(dataset: Dataset, path: Path) -> tuple[int, int]:
    """(BitsStored, HighBit)."""
    allocated, stored = (whole_number(dataset, keyword, path) for keyword in ("BitsAllocated", "BitsStored"))
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise ImageError(
            f"{path}: expected 1 to 16 bits in 8 or 16, got BitsAllocated {allocated} and BitsStored {stored}"
        )
    high = stored - 1 if _value(dataset, "HighBit", path) is None else whole_number(dataset, "HighBit", path)
    if not stored - 1 <= high < allocated:
        raise ImageError(
            f"{path}: HighBit {high} does not fit BitsStored {stored} and BitsAllocated {allocated}: expected {stored - 1} to "
            f"{allocated - 1} (PS3.5 8.1.1); fetch the file again"
        )
    return stored, high


def _signed(dataset: Dataset, path: Path) -> bool:
    representation = whole_number(dataset, "PixelRepresentation", path)
    if representation > 1:
        raise ImageError(f"{path}: expected PixelRepresentation 0 or 1, got {representation}; fetch the file again")
    return representation == 1


def _padding(dataset: Dataset, path: Path) -> tuple[int, int] | None:
    """The stored values, from lowest to highest, that are no part of the image."""
    value, limit = _numbers(dataset, "PixelPaddingValue", path), _numbers(dataset, "PixelPaddingRangeLimit", path)
    if limit and not value:
        raise ImageError(f"{path}: has a PixelPaddingRangeLimit without a PixelPaddingValue; correct its header")
    if not value:
        return None
    first, last = int(value[0]), int((limit or value)[0])
    return first, last


def _shutter(dataset: Dataset, path: Path) -> tuple[int, int, int, int] | None:
    """(first row, last row, first column, last column) inside a rectangular shutter, counted from 1."""
    value = _value(dataset, "ShutterShape", path)
    shapes = {
        str(one).strip().upper()
        for one in (value if isinstance(value, Sequence) and not isinstance(value, str) else [value or ""])
    }
    if shapes <= {""}:
        return None
    if shapes != {"RECTANGULAR"}:
        raise ImageError(
            f"{path}: its ShutterShape is not RECTANGULAR, which alone is read; cut the film to what it shows"
        )
    edges = [_numbers(dataset, keyword, path) for keyword in SHUTTER]
    if not all(edges):
        raise ImageError(f"{path}: its rectangular ShutterShape lacks an edge; correct its header")
    top, bottom, left, right = (int(edge[0]) for edge in edges)
    rows, columns = (whole_number(dataset, keyword, path) for keyword in ("Rows", "Columns"))
    if max(1, top) > min(rows, bottom) or max(1, left) > min(columns, right):
        raise ImageError(f"{path}: its rectangular ShutterShape leaves nothing of the film; correct its header")
    return top, bottom, left, right  # the standard leaves open whether the edges are covered: they are shown


def _side(dataset: Dataset, path: Path) -> HeaderSide:
    words = (_word(dataset, keyword, path) for keyword in ("ImageLaterality", "FrameLaterality", "Laterality"))
    return SIDES.get(next((word for word in words if word), ""), "")


def _rescale(dataset: Dataset, path: Path) -> tuple[float, float] | None:
    slope, intercept = _numbers(dataset, "RescaleSlope", path), _numbers(dataset, "RescaleIntercept", path)
    if not slope and not intercept:
        return None
    if not slope or not intercept:
        raise ImageError(
            f"{path}: RescaleSlope and RescaleIntercept belong together, one is missing from its header; correct it"
        )
    if slope[0] == 0:
        raise ImageError(f"{path}: its RescaleSlope is 0, which makes every pixel alike; fetch the file again")
    return slope[0], intercept[0]


def _reaches_below_zero(modality: Table | tuple[float, float] | None, *, signed: bool) -> bool:
    """Whether what enters a VOI table can be negative, so that the table's first value is (PS3.3 C.11.2.1.1)."""
    if isinstance(modality, Table):
        return False
    return signed if modality is None else signed or modality[1] < 0 or modality[0] < 0


def _window(dataset: Dataset, path: Path) -> Window | None:
    centres, widths = _numbers(dataset, "WindowCenter", path), _numbers(dataset, "WindowWidth", path)
    if not centres and not widths:
        return None
    if len(centres) != len(widths):
        raise ImageError(
            f"{path}: expected as many numbers in WindowCenter as in WindowWidth, got {len(centres)} and {len(widths)}; correct its header"
        )
    name = _word(dataset, "VOILUTFunction", path) or "LINEAR"
    function = next((known for known in WINDOW_FUNCTIONS if known == name), None)
    if function is None:
        raise ImageError(
            f"{path}: expected VOILUTFunction {', '.join(WINDOW_FUNCTIONS)}, got another; correct its header"
        )
    if widths[0] < 1 if function == "LINEAR" else widths[0] <= 0:
        least = "at least 1" if function == "LINEAR" else "above 0"
        raise ImageError(
            f"{path}: expected a WindowWidth {least} (PS3.3 C.11.2.1.2), got {widths[0]:g}; correct its header"
        )
    return Window(centres[0], widths[0], function)


def _table(dataset: Dataset, keyword: str, bits_stored: int, path: Path, *, signed: bool) -> Table | None:
    items = _items(dataset, keyword, path)
    if not items:
        return None
    descriptor = _numbers(items[0], "LUTDescriptor", path)
    if len(descriptor) != 3:
        raise ImageError(f"{path}: expected three numbers as LUTDescriptor of its {keyword}, got something else")
    count, first, bits = int(descriptor[0]) % 2**16 or 2**16, int(descriptor[1]), int(descriptor[2])
    if signed and first >= 2**15:
        first -= 2**16  # written as unsigned; negative values need it signed (PS3.3 C.11.1.1)
    entries = _entries(items[0], count, path, little_endian=dataset.original_encoding[1] is not False)
    if not 8 <= bits <= 16 or len(entries) < count:
        raise ImageError(
            f"{path}: expected {count} entries of 8 to 16 bits in its {keyword}, got {len(entries)} of {bits} bits"
        )
    if bits == 16:
        # Writers put the width of an entry where its range belongs (seen: 16 on a table that ends at 1023).
        bits = max(bits_stored, int(entries[:count].max()).bit_length())
    if int(entries[:count].max()) >= 2**bits:
        raise ImageError(
            f"{path}: entries of its {keyword} need more than the {bits} bits that LUTDescriptor says; correct its header"
        )
    return Table(entries[:count], first, bits)


def _entries(item: Dataset, count: int, path: Path, *, little_endian: bool) -> np.ndarray:
    """A table's entries: words, a list of numbers, or bytes two to a word (PS3.3 C.11.1.1.1)."""
    data = _value(item, "LUTData", path)
    if isinstance(data, bytes) and count <= len(data) < 2 * count:
        packed = np.frombuffer(data[: len(data) // 2 * 2], dtype="<u2" if little_endian else ">u2")
        return np.stack([packed & 0xFF, packed >> 8], axis=1).reshape(-1)
    if isinstance(data, bytes):
        return np.frombuffer(data[: len(data) // 2 * 2], dtype="<u2" if little_endian else ">u2")
    return np.atleast_1d(np.asarray([] if data is None else data, dtype=np.int64)) & 0xFFFF
