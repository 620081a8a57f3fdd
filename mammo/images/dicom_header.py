"""Reads how a DICOM file is displayed from its header; `display_rules` lists each attribute."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset

from mammo.errors import ImageError
from mammo.images.display import WINDOW_FUNCTIONS, Display, Table, Window
from mammo.images.film import HeaderSide
from mammo.images.limits import DECODER_FAULTS

MG_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"
SQUARE = 0.01  # how far the sides of a pixel may differ
SIDES: dict[str, HeaderSide] = {"L": "LEFT", "R": "RIGHT"}
RADIOGRAPHY = ("MG", "CR", "DX", "RG", "OT", "")  # digitised films have the other names
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio")
SHUTTER = (
    "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge",
    "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge",
)
# Macros of the functional groups (PS3.3 C.7.6.16.2) with values that other images have at the top of their header.
MACROS = ("FrameVOILUTSequence", "PixelValueTransformationSequence", "PixelMeasuresSequence", "FrameAnatomySequence")
OF_GROUPS = (
    "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence", "RescaleSlope", "RescaleIntercept",
    "PixelSpacing", "FrameLaterality",
)  # fmt: skip


class Header:
    """Reads checked values of a DICOM header or an item. Errors name the file and the attribute, never the value."""

    def __init__(self, dataset: Dataset, path: Path) -> None:
        self.dataset, self.path = dataset, path

    def error(self, text: str) -> ImageError:
        """Return an error about this file."""
        return ImageError(f"{self.path}: {text}")

    def value(self, keyword: str) -> Any:
        """Return a value as pydicom reads it; None if it is absent. Raises ImageError if pydicom cannot read it."""
        try:
            return self.dataset.get(keyword)
        except DECODER_FAULTS as error:
            raise self.error(f"{keyword} in its DICOM header cannot be read; correct it, or fetch it again") from error

    def values(self, keyword: str) -> list[Any]:
        """Return all values of an attribute; an empty list if it is absent."""
        value = self.value(keyword)
        if value is None:
            return []
        return list(value) if _is_list(value) else [value]

    def word(self, keyword: str) -> str:
        """Return the first value in upper case; "" if it is absent."""
        return str((self.values(keyword) or [""])[0] or "").strip().upper()

    def numbers(self, keyword: str) -> list[float]:
        """Return all numbers, or an empty list if there are none. Raises ImageError if one is not a finite number."""
        values = self.values(keyword)
        try:
            numbers = [float(one) for one in values if not (isinstance(one, str) and not one.strip())]
        except (TypeError, ValueError):
            numbers = [math.nan]
        if not all(map(math.isfinite, numbers)):
            raise self.error(f"expected numbers as {keyword} in its DICOM header, got something else; correct it")
        return numbers

    def whole_number(self, keyword: str) -> int:
        """Return one non-negative whole number. Raises ImageError if it is missing or something else."""
        value = self.value(keyword)
        if value is None:
            raise self.error(f"{keyword} is missing from its DICOM header; fetch the file again")
        if not isinstance(value, int) or value < 0:
            raise self.error(f"expected a whole number as {keyword}, got something else; fetch the file again")
        return int(value)

    def items(self, keyword: str) -> list["Header"]:
        """Return the items of a sequence; an empty list if there is none."""
        value = self.value(keyword)
        return [Header(item, self.path) for item in value] if _is_list(value) else []


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def display_of(dataset: Dataset, path: Path) -> Display:
    """Read how stored values become displayed ones.

    Of several windows or tables the first is used. A VOI table has priority over a window (a file may have both as
    alternatives, PS3.3 C.11.2). The functional groups of a one-frame object count like values at the top of the header.

    Args:
        dataset: The header, with `display_rules.READ` at least.

    Raises:
        ImageError: The image is not gray of 1 to 16 bits, or an attribute has a value that is unreadable or invalid.
    """
    header = _with_groups(Header(dataset, path))
    _refuse_unsuitable(header)
    kind = header.word("PhotometricInterpretation")
    if not kind:
        raise header.error("PhotometricInterpretation is missing from its DICOM header; it is damaged, or no image")
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        expected = "PhotometricInterpretation MONOCHROME1 or MONOCHROME2"
        raise header.error(f"expected {expected}, got another; only gray DICOM is read")
    inverted, remarks = _polarity(header, kind)
    stored, high = _bits(header)
    representation = header.whole_number("PixelRepresentation")
    if representation > 1:
        raise header.error(f"expected PixelRepresentation 0 or 1, got {representation}; fetch the file again")
    signed = representation == 1
    modality = _table(header, "ModalityLUTSequence", stored, signed=signed) or _rescale(header)
    # Only if the input of a VOI table can be negative, its first value is signed (PS3.3 C.11.2.1.1).
    negative = not isinstance(modality, Table) and (signed or (modality is not None and min(modality) < 0))
    if header.word("Modality") not in RADIOGRAPHY:
        remarks.append("other_modality")
    sides = (header.word(keyword) for keyword in ("ImageLaterality", "FrameLaterality", "Laterality"))
    raw = header.word("PresentationIntentType") == "FOR PROCESSING" or header.word("SOPClassUID") == MG_FOR_PROCESSING
    return Display(
        bits_stored=stored,
        high_bit=high,
        signed=signed,
        inverted=inverted,
        modality=modality,
        voi=_table(header, "VOILUTSequence", stored, signed=negative) or _window(header),
        padding=_padding(header),
        shutter=_shutter(header),
        laterality=SIDES.get(next(filter(None, sides), ""), ""),
        for_processing=raw,
        remarks=tuple(remarks),
    )


def _with_groups(header: Header) -> Header:
    """Copy the values of the functional groups to the top of the header; those of the frame precede the shared ones."""
    own, shared = (header.items(f"{name}FunctionalGroupsSequence") for name in ("PerFrame", "Shared"))
    if not own and not shared:
        return header
    if len(own) > 1 or len(shared) > 1:
        count = max(len(own), len(shared))
        raise header.error(f"expected functional groups of one frame, got {count}; it is damaged, or tomosynthesis")
    merged = Dataset()
    merged.update(header.dataset)
    merged.set_original_encoding(*header.dataset.original_encoding)
    known: set[str] = set()
    for macro in [item for group in own + shared for name in MACROS for item in group.items(name)[:1]]:
        for keyword in OF_GROUPS:
            if keyword not in macro.dataset or keyword in known:
                continue
            if keyword in header.dataset and header.value(keyword) != macro.value(keyword):
                raise header.error(f"{keyword} in its functional groups contradicts that of its header; correct one")
            known.add(keyword)
            merged[keyword] = macro.dataset[keyword]
    return Header(merged, header.path)


def _refuse_unsuitable(header: Header) -> None:
    """Refuse images that are not a film as a viewer shows it."""
    if "FloatPixelData" in header.dataset or "DoubleFloatPixelData" in header.dataset:
        raise header.error("expected whole-number pixels, got FloatPixelData; convert it")
    if "PixelDataProviderURL" in header.dataset and "PixelData" not in header.dataset:
        raise header.error("its pixels lie elsewhere (PixelDataProviderURL); fetch the file with its pixels")
    if header.word("QualityControlImage") in ("YES", "BOTH"):
        raise header.error("is a quality-control image (QualityControlImage), of a test object; leave it out")
    for keyword in SPACINGS:
        sides = header.numbers(keyword)
        if len(sides) == 2 and min(sides) > 0 and abs(sides[0] / sides[1] - 1) > SQUARE:
            raise header.error(f"its pixels are not square ({keyword}); resample it to square pixels")


def _polarity(header: Header, kind: str) -> tuple[bool, list[str]]:
    """Find whether white and black are swapped. A contradicting shape INVERSE is followed, as dcmtk and dcm4che do."""
    shape = header.word("PresentationLUTShape")
    if shape not in ("", "IDENTITY", "INVERSE"):
        raise header.error("expected PresentationLUTShape IDENTITY or INVERSE, got another; correct it")
    if shape == "IDENTITY" and kind == "MONOCHROME1":
        problem = "PresentationLUTShape IDENTITY contradicts PhotometricInterpretation MONOCHROME1"
        raise header.error(f"{problem} (PS3.3 C.8.11.1), and viewers follow either; correct one of them")
    contradicts = shape == "INVERSE" and kind == "MONOCHROME2"
    return kind == "MONOCHROME1" or contradicts, ["polarity"] if contradicts else []


def _bits(header: Header) -> tuple[int, int]:
    """Return (BitsStored, HighBit)."""
    allocated, stored = header.whole_number("BitsAllocated"), header.whole_number("BitsStored")
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise header.error(f"expected 1 to 16 bits in 8 or 16, got BitsAllocated {allocated} and BitsStored {stored}")
    high = stored - 1 if header.value("HighBit") is None else header.whole_number("HighBit")
    if not stored - 1 <= high < allocated:
        expected = f"BitsStored {stored} and BitsAllocated {allocated}: expected {stored - 1} to {allocated - 1}"
        raise header.error(f"HighBit {high} does not fit {expected} (PS3.5 8.1.1); fetch the file again")
    return stored, high


def _padding(header: Header) -> tuple[int, int] | None:
    """Return the ends of the range of stored values that are no part of the image."""
    value, limit = header.numbers("PixelPaddingValue"), header.numbers("PixelPaddingRangeLimit")
    if limit and not value:
        raise header.error("has a PixelPaddingRangeLimit without a PixelPaddingValue; correct its header")
    return (int(value[0]), int((limit or value)[0])) if value else None


def _shutter(header: Header) -> tuple[int, int, int, int] | None:
    """Return (first row, last row, first column, last column) inside a rectangular shutter, counted from 1."""
    shapes = {str(one or "").strip().upper() for one in header.values("ShutterShape")}
    if shapes <= {""}:
        return None
    if shapes != {"RECTANGULAR"}:
        raise header.error("its ShutterShape is not RECTANGULAR, the only one that is read; crop the film to it")
    edges = [header.numbers(keyword) for keyword in SHUTTER]
    if not all(edges):
        raise header.error("its rectangular ShutterShape lacks an edge; correct its header")
    top, bottom, left, right = (int(edge[0]) for edge in edges)
    rows, columns = header.whole_number("Rows"), header.whole_number("Columns")
    if max(1, top) > min(rows, bottom) or max(1, left) > min(columns, right):
        raise header.error("its rectangular ShutterShape leaves nothing of the film; correct its header")
    return top, bottom, left, right  # the standard does not say whether the edges are covered: they are shown


def _rescale(header: Header) -> tuple[float, float] | None:
    slope, intercept = header.numbers("RescaleSlope"), header.numbers("RescaleIntercept")
    if not slope and not intercept:
        return None
    if not slope or not intercept:
        raise header.error("RescaleSlope and RescaleIntercept belong together, but one is missing; correct its header")
    if slope[0] == 0:
        raise header.error("its RescaleSlope is 0, which makes all pixels equal; fetch the file again")
    return slope[0], intercept[0]


def _window(header: Header) -> Window | None:
    centres, widths = header.numbers("WindowCenter"), header.numbers("WindowWidth")
    if not centres and not widths:
        return None
    if len(centres) != len(widths):
        counts = f"{len(centres)} and {len(widths)}"
        raise header.error(f"expected as many numbers in WindowCenter as in WindowWidth, got {counts}; correct it")
    function = header.word("VOILUTFunction") or "LINEAR"
    if function not in WINDOW_FUNCTIONS:
        raise header.error(f"expected VOILUTFunction {', '.join(WINDOW_FUNCTIONS)}, got another; correct its header")
    if widths[0] < 1 if function == "LINEAR" else widths[0] <= 0:
        least = "at least 1" if function == "LINEAR" else "above 0"
        raise header.error(f"expected a WindowWidth {least} (PS3.3 C.11.2.1.2), got {widths[0]:g}; correct its header")
    return Window(centres[0], widths[0], function)


def _table(header: Header, keyword: str, bits_stored: int, *, signed: bool) -> Table | None:
    items = header.items(keyword)
    if not items:
        return None
    descriptor = items[0].numbers("LUTDescriptor")
    if len(descriptor) != 3:
        raise header.error(f"expected three numbers as LUTDescriptor of its {keyword}, got something else; correct it")
    count, first, bits = int(descriptor[0]) % 2**16 or 2**16, int(descriptor[1]), int(descriptor[2])
    if signed and first >= 2**15:
        first -= 2**16  # some files write it as unsigned; negative values need it signed (PS3.3 C.11.1.1)
    entries = _entries(items[0], count, little_endian=header.dataset.original_encoding[1] is not False)[:count]
    if not 8 <= bits <= 16 or len(entries) < count:
        found = f"{len(entries)} of {bits} bits"
        raise header.error(f"expected {count} entries of 8 to 16 bits in its {keyword}, got {found}; correct it")
    needed = int(entries.max()).bit_length()
    if bits == 16:
        # Some files give the width of an entry instead of its range (seen: 16 on a table that ends at 1023).
        bits = max(bits_stored, needed)
    if needed > bits:
        raise header.error(f"its {keyword} has entries of {needed} bits, its LUTDescriptor says {bits}; correct it")
    return Table(entries, first, bits)


def _entries(item: Header, count: int, *, little_endian: bool) -> np.ndarray:
    """Return a table's entries: words, a list of numbers, or bytes packed two to a word (PS3.3 C.11.1.1.1)."""
    data = item.value("LUTData")
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray([] if data is None else data, dtype=np.int64)) & 0xFFFF
    words = np.frombuffer(data[: len(data) // 2 * 2], dtype="<u2" if little_endian else ">u2")
    if count <= len(data) < 2 * count:
        return np.stack([words & 0xFF, words >> 8], axis=1).reshape(-1)
    return words
