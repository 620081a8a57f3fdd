"""Stored DICOM values and what their header says about display enter; uint16 as displayed leaves (PS3.4 N.2)."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

WHITE = 65535
WindowFunction = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
WINDOW_FUNCTIONS: tuple[WindowFunction, ...] = get_args(WindowFunction)


@dataclass(frozen=True)
class Table:
    """A look-up table of PS3.3 C.11.1 or C.11.2: `entries[0]` is for the stored value `first`."""

    entries: np.ndarray
    first: int
    bits: int


@dataclass(frozen=True)
class Window:
    """A window of PS3.3 C.11.2.1.2, in units after the modality step."""

    centre: float
    width: float
    function: WindowFunction


@dataclass(frozen=True)
class Display:
    """How stored values become displayed ones; `voi` None shows the full nominal range."""

    bits_stored: int
    signed: bool
    inverted: bool
    modality: Table | tuple[float, float] | None
    voi: Table | Window | None


def as_displayed(stored: np.ndarray, display: Display) -> np.ndarray:
    """Apply modality step, VOI step and MONOCHROME1 inversion, and scale the nominal output range to 0-65535.

    A pixel has at most 16 bits, so the whole chain is worked out once for every possible value and then looked up.

    Args:
        stored: [height, width] of uint8, int8, uint16 or int16.
        display: What the header says.

    Returns:
        uint16 [height, width].
    """
    unsigned = np.dtype(f"u{stored.dtype.itemsize}")
    every_value = np.arange(np.iinfo(unsigned).max + 1, dtype=unsigned)
    shown = _shares_of_white(every_value.view(stored.dtype).astype(np.float64), display)
    table = np.rint(shown * WHITE).astype(np.uint16)
    if stored.dtype == np.uint16 and np.array_equal(table, every_value):
        return np.ascontiguousarray(stored)
    return np.take(table, np.ascontiguousarray(stored).view(unsigned))


def full_range(pixels: np.ndarray) -> np.ndarray:
    """Scale uint8 to uint16 (255 becomes 65535); uint16 stays."""
    return pixels.astype(np.uint16) * 257 if pixels.dtype == np.uint8 else pixels


def _shares_of_white(values: np.ndarray, display: Display) -> np.ndarray:
    low, high = _stored_range(display)
    # Bits above BitsStored carry no image: a value beyond the range is held at its end.
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


def _stored_range(display: Display) -> tuple[float, float]:
    if display.signed:
        return -(2.0 ** (display.bits_stored - 1)), 2.0 ** (display.bits_stored - 1) - 1
    return 0.0, 2.0**display.bits_stored - 1


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
