"""Prepared pixels in, the slightly other views of test-time augmentation out; the same for evaluation and for one file."""

from dataclasses import dataclass

import numpy as np

from mammo.images.preprocess import centre_crop
from mammo.settings.schema import TestTimeSettings


@dataclass(frozen=True)
class Variant:
    """One way of looking: mirrored left to right, upside down, the window moved by (down, right) px."""

    mirrored: bool = False
    upside_down: bool = False
    shift: tuple[int, int] = (0, 0)


PLAIN = Variant()


def variants(settings: TestTimeSettings) -> tuple[Variant, ...]:
    """All combinations of the flips and shifts that settings name; the plain view is the first of them."""
    flips = {"none": [(False, False)], "horizontal": [(False, False), (True, False)]}
    flips["both"] = [*flips["horizontal"], (False, True), (True, True)]
    step = settings.shift_px
    shifts = [(0, 0), (-step, 0), (step, 0), (0, -step), (0, step)] if step else [(0, 0)]
    return tuple(
        Variant(mirrored, upside_down, shift) for shift in shifts for mirrored, upside_down in flips[settings.flips]
    )


def look(unit: np.ndarray, size: tuple[int, int], variant: Variant = PLAIN) -> np.ndarray:
    """Cut the window out of an image and turn it.

    Args:
        unit: [height, width], at least `size`.
        size: (height, width) of the window.
        variant: The window is moved within the image's margin; what lies beyond the image is 0, as around a film.

    Raises:
        ImageError: The image is smaller than the window.
    """
    window = centre_crop(_moved(unit, variant.shift), size)
    if variant.mirrored:
        window = window[:, ::-1]
    return window[::-1] if variant.upside_down else window


def _moved(unit: np.ndarray, shift: tuple[int, int]) -> np.ndarray:
    if shift == (0, 0):
        return unit
    moved = np.zeros_like(unit)
    height, width = unit.shape
    (to_y, from_y), (to_x, from_x) = _overlap(shift[0], height), _overlap(shift[1], width)
    moved[to_y, to_x] = unit[from_y, from_x]
    return moved


def _overlap(step: int, length: int) -> tuple[slice, slice]:
    """Where pixels land, and where they come from, when the window moves by `step`."""
    return (
        (slice(0, length - step), slice(step, length)) if step >= 0 else (slice(-step, length), slice(0, length + step))
    )
