"""Turns stored DICOM values into displayed ones, as the header says (PS3.4 N.2)."""

from dataclasses import dataclass

import numpy as np

from mammo.images.film import HeaderSide

WHITE = 65535
WINDOW_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True)
class Table:
    """A look-up table of PS3.3 C.11.1 or C.11.2: `entries[0]`, below 2^`bits`, is for the stored value `first`."""

    entries: np.ndarray
    first: int
    bits: int


@dataclass(frozen=True)
class Window:
    """A window of PS3.3 C.11.2.1.2, in units after the modality step; `function` is one of `WINDOW_FUNCTIONS`."""

    centre: float
    width: float
    function: str


@dataclass(frozen=True)
class Display:
    """How stored values become displayed ones, and what else the header says about the film.

    Attributes:
        bits_stored: Bits of a pixel that belong to the image.
        high_bit: The highest of them.
        signed: Whether stored values are in two's complement.
        inverted: Whether white and black are swapped.
        modality: A table, or (slope, intercept).
        voi: A table or a window; None shows the full nominal range.
        padding: Two stored values; they and all values between them are not part of the image.
        shutter: (first row, last row, first column, last column) that are shown, counted from 1.
        laterality: Of the breast.
        for_processing: Whether these are raw detector values.
        remarks: Warning keys.
    """

    bits_stored: int
    high_bit: int
    signed: bool
    inverted: bool
    modality: Table | tuple[float, float] | None
    voi: Table | Window | None
    padding: tuple[int, int] | None = None
    shutter: tuple[int, int, int, int] | None = None
    laterality: HeaderSide = ""
    for_processing: bool = False
    remarks: tuple[str, ...] = ()


def as_displayed(stored: np.ndarray, display: Display) -> np.ndarray:
    """Apply modality step, VOI step and MONOCHROME1 inversion, and scale the nominal output range to 0–65535.

    A pixel has at most 16 bits, so the whole chain is computed once for every possible value and then looked up.

    Args:
        stored: uint8, int8, uint16 or int16 [height, width].

    Returns:
        uint16 [height, width], 0 is black, 65535 white.
    """
    unsigned = np.dtype(f"u{stored.dtype.itemsize}")
    every_value = np.arange(np.iinfo(unsigned).max + 1, dtype=unsigned)
    values = every_value.view(stored.dtype)
    shown = _shares_of_white(values.astype(np.float64), display)
    table = np.rint(shown * WHITE).astype(np.uint16)
    indices = np.ascontiguousarray(stored).view(unsigned)
    if display.padding is not None:
        # Some files write the ends as unsigned, or with bits above BitsStored.
        span = 2**display.bits_stored
        ends = [end % span - (span if display.signed and end % span >= span // 2 else 0) for end in display.padding]
        _blacken_padding(table, indices, (values >= min(ends)) & (values <= max(ends)))
    is_identity = stored.dtype == np.uint16 and np.array_equal(table, every_value)
    pixels = np.ascontiguousarray(stored) if is_identity else np.take(table, indices)
    if display.shutter is None:
        return pixels
    top, bottom, left, right = display.shutter
    inside = (slice(max(0, top - 1), max(0, bottom)), slice(max(0, left - 1), max(0, right)))
    kept = np.zeros_like(pixels)
    kept[inside] = pixels[inside]
    return kept


def full_range(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Scale uint8 or uint16 [height, width] below 2^`bits` to uint16 [height, width] in 0–65535."""
    if bits == 16:
        return pixels
    every_value = np.arange(2**bits, dtype=np.float64) * (WHITE / (2**bits - 1))
    return np.take(np.rint(every_value).astype(np.uint16), pixels)


def _blacken_padding(table: np.ndarray, indices: np.ndarray, padded: np.ndarray) -> None:
    """Show padding as dark as the darkest pixel of the image (PS3.3 C.7.5.1.1.2): darker, it would look like air.

    Args:
        table: uint16 [values], the displayed value of each stored one; changed in place.
        indices: uint8 or uint16 [height, width], the entry of each pixel in the table.
        padded: bool [values].
    """
    used = np.zeros(len(table), dtype=bool)
    used[indices.reshape(-1)] = True
    image = table[used & ~padded]
    table[padded] = image.min() if len(image) else 0


def _shares_of_white(values: np.ndarray, display: Display) -> np.ndarray:
    """Return the displayed share of white, float64 in 0–1, of each stored value."""
    low = -(2.0 ** (display.bits_stored - 1)) if display.signed else 0.0
    high = low + 2.0**display.bits_stored - 1
    # Bits above BitsStored are not part of the image: values beyond the range are clipped.
    values = np.clip(values, low, high)
    if isinstance(display.modality, Table):
        values = _looked_up(values, display.modality)
        low, high = 0.0, 2.0**display.modality.bits - 1
    elif display.modality is not None:
        slope, intercept = display.modality
        values = values * slope + intercept
        low, high = sorted((low * slope + intercept, high * slope + intercept))
    if isinstance(display.voi, Table):
        values = _looked_up(values, display.voi)
        low, high = 0.0, 2.0**display.voi.bits - 1
    shares = _windowed(values, display.voi) if isinstance(display.voi, Window) else (values - low) / (high - low)
    shares = np.clip(shares, 0, 1)
    return 1 - shares if display.inverted else shares


def _looked_up(values: np.ndarray, table: Table) -> np.ndarray:
    index = np.clip(np.rint(values) - table.first, 0, len(table.entries) - 1).astype(np.int64)
    return table.entries[index].astype(np.float64)


def _windowed(values: np.ndarray, window: Window) -> np.ndarray:
    if window.function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - window.centre) / window.width, -700, 700)))
    if window.function == "LINEAR_EXACT":
        return (values - window.centre) / window.width + 0.5
    if window.width == 1:
        return (values > window.centre - 0.5).astype(np.float64)
    return (values - (window.centre - 0.5)) / (window.width - 1) + 0.5
