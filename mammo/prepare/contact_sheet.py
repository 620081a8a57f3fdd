"""Draws prepared cases with boxes and labels on one PNG, so that a person can check the network's input."""

from pathlib import Path

import cv2
import numpy as np

from mammo.errors import StoreError
from mammo.prepare.film_checks import doubts_of
from mammo.prepare.gather import PreparedSplit

TILE_PX = 224
COLUMNS = 6
COLOURS = {0: (120, 200, 90), 1: (60, 60, 235)}  # BGR: green benign, red malignant
CAPTION_PX = 18
DOUBT = (0, 165, 255)  # orange
MOST_DOUBTFUL = 120


def doubtful_views(prepared: PreparedSplit) -> list[int]:
    """Return the numbers of the views whose breast or box is implausible."""
    return [number for number, doubts in enumerate(doubts_of(prepared.split.samples, prepared.entries)) if doubts]


def write_contact_sheet(
    prepared: PreparedSplit, path: Path, *, count: int, seed: int = 0, phantom: bool = False
) -> None:
    """Draw some of the prepared views; up to 120 doubtful ones come first, framed in orange, with the reason.

    Args:
        prepared: The cases.
        path: The PNG to write.
        count: The number of views to draw at random, half of each class if there are enough.
        seed: Seed of the draw.
        phantom: Write PHANTOM on every tile.

    Raises:
        StoreError: The file cannot be written.
    """
    views, cases = prepared.split.samples.views, prepared.split.samples.cases
    doubts = doubts_of(prepared.split.samples, prepared.entries)
    doubtful = doubtful_views(prepared)[:MOST_DOUBTFUL]
    drawn = _draw(cases["label"].to_numpy(int)[views["case"]], count, seed)
    tiles = []
    for number in dict.fromkeys([*doubtful, *drawn]):
        entry, case = prepared.entries[number], cases.iloc[views["case"].iloc[number]]
        words = f"PHANTOM {case.case_id}" if phantom and "PHANTOM" not in case.case_id else str(case.case_id)
        tiles.append(_tile(prepared.store.read(entry), entry.stored_box, int(case.label), words, doubts[number]))
    columns = min(COLUMNS, len(tiles))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    sheet = np.vstack([np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)])
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        written = cv2.imwrite(str(path), sheet)
    except cv2.error:
        written = False
    if not written:
        raise StoreError(f"{path}: the contact sheet cannot be written; name a .png file in a writable folder")


def _draw(labels: np.ndarray, count: int, seed: int) -> list[int]:
    generator = np.random.default_rng(seed)
    benign, malignant = (generator.permutation(np.flatnonzero(labels == label)) for label in (0, 1))
    return sorted([*benign[: count - count // 2].tolist(), *malignant[: count // 2].tolist()])


def _tile(
    pixels: np.ndarray, box: tuple[float, float, float, float] | None, label: int, words: str, doubts: list[str]
) -> np.ndarray:
    height, width = pixels.shape
    scale = TILE_PX / max(height, width)
    size = (round(width * scale), round(height * scale))
    small = cv2.resize((pixels >> 8).astype(np.uint8), size, interpolation=cv2.INTER_AREA)
    tile = np.zeros((TILE_PX + CAPTION_PX, TILE_PX, 3), np.uint8)
    tile[: small.shape[0], : small.shape[1]] = small[:, :, None]
    if box is not None:
        x, y, across, down = (round(value * scale) for value in box)
        cv2.rectangle(tile, (x, y), (x + across, y + down), COLOURS[label], 1)
    font = cv2.FONT_HERSHEY_SIMPLEX
    fitting = min(0.4, 0.4 * (TILE_PX - 6) / cv2.getTextSize(words, font, 0.4, 1)[0][0])
    cv2.putText(tile, words, (2, TILE_PX + 13), font, fitting, COLOURS[label], 1, cv2.LINE_AA)
    for line, doubt in enumerate(doubts):
        cv2.putText(tile, doubt.replace("_", " "), (4, 14 + 14 * line), font, 0.4, DOUBT, 1, cv2.LINE_AA)
    if doubts:
        cv2.rectangle(tile, (0, 0), (TILE_PX - 1, TILE_PX + CAPTION_PX - 1), DOUBT, 2)
    return tile
