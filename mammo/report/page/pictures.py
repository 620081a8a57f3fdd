"""Draws pictures of the hardest mistakes: JPEGs of the prepared films with the lesion's box."""

import cv2
import numpy as np
import pandas as pd

from mammo.cases.samples import SUBGROUPS
from mammo.errors import DataMissingError
from mammo.prepare.gather import PreparedSplit
from mammo.prepare.store import Entry, Store
from mammo.report.source import CasePicture

SIDE_PX = 360
QUALITY = 80
BOX_COLOUR = (66, 228, 240)  # BGR yellow, on a black edge: seen on dark and on bright tissue
GAP_PX = 6


def hardest_cases(table: pd.DataFrame, thresholds: np.ndarray, count: int) -> tuple[list[int], list[int]]:
    """Find at most `count` mistakes of each kind, those whose scores are furthest on the wrong side.

    Args:
        table: A score table.
        thresholds: Of each row, float64 [n].

    Returns:
        Row numbers of false negatives, lowest score first, and of false positives, highest first.
    """
    scores, labels = table["score"].to_numpy(float), table["label"].to_numpy(int)
    called = scores >= thresholds
    missed, alarmed = np.flatnonzero((labels == 1) & ~called), np.flatnonzero((labels == 0) & called)
    lowest = missed[np.argsort(scores[missed], kind="stable")][:count]
    highest = alarmed[np.argsort(-scores[alarmed], kind="stable")][:count]
    return lowest.tolist(), highest.tolist()


def make_pictures(
    scores: pd.DataFrame, thresholds: np.ndarray, prepared: PreparedSplit, *, count: int = 6
) -> tuple[CasePicture, ...]:
    """Draw the hardest mistakes, at most `count` of each kind, the false negatives first.

    Args:
        scores: A score table of cases of `prepared`.
        thresholds: Of each row, float64 [n].

    Raises:
        DataMissingError: A case is not among the prepared ones.
        StoreError: Its prepared film is gone or damaged.
    """
    missed, alarmed = hardest_cases(scores, thresholds, count)
    entries = _entries_of(prepared, set(scores["case_id"].iloc[missed + alarmed].astype(str)))
    pictures = []
    for mistake, rows in (("false negative", missed), ("false positive", alarmed)):
        for row in rows:
            case = scores.iloc[row]
            name = str(case["case_id"])
            if name not in entries:
                what = f"case {name} of the score table is not among the prepared cases"
                raise DataMissingError(f"{what}; judge the run on its own data")
            jpeg = _draw(prepared.store, entries[name])
            values = (str(case["patient_id"]), mistake, float(case["score"]), float(thresholds[row]))
            pictures.append(CasePicture(name, *values, _about(case), jpeg))
    return tuple(pictures)


def _entries_of(prepared: PreparedSplit, wanted: set[str]) -> dict[str, list[Entry]]:
    """The prepared views of some cases, in the order of their slots."""
    names = prepared.split.samples.cases["case_id"].astype(str).to_numpy()
    case_of_view = prepared.split.samples.views["case"].to_numpy()
    found: dict[str, list[Entry]] = {}
    for case, entry in zip(case_of_view, prepared.entries, strict=True):
        if names[case] in wanted:
            found.setdefault(names[case], []).append(entry)
    return found


def _about(case: pd.Series) -> str:
    """What the table says of a case, as `density: 2; view: CC`."""
    known = []
    for column in SUBGROUPS:
        value = case.get(column)
        if value is None or pd.isna(value) or str(value).strip() == "":
            continue
        known.append(f"{column.replace('_', ' ')}: {str(value).removesuffix('.0')}")
    return "; ".join(known)


def _draw(store: Store, entries: list[Entry]) -> bytes:
    """The views side by side, each at most `SIDE_PX` a side, as JPEG."""
    tiles = [_tile(store.read(entry), entry.stored_box) for entry in entries]
    height = max(tile.shape[0] for tile in tiles)
    padded = []
    for number, tile in enumerate(tiles):
        gap = GAP_PX if number else 0
        padded.append(cv2.copyMakeBorder(tile, 0, height - tile.shape[0], gap, 0, cv2.BORDER_CONSTANT, value=(0, 0, 0)))
    _, jpeg = cv2.imencode(".jpg", np.hstack(padded), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return jpeg.tobytes()


def _tile(pixels: np.ndarray, box: tuple[float, float, float, float] | None) -> np.ndarray:
    height, width = pixels.shape
    scale = SIDE_PX / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.resize((pixels >> 8).astype(np.uint8), size, interpolation=interpolation)
    tile = cv2.cvtColor(small, cv2.COLOR_GRAY2BGR)
    if box is not None:
        x, y, across, down = (round(value * scale) for value in box)
        for colour, thickness in (((0, 0, 0), 4), (BOX_COLOUR, 2)):
            cv2.rectangle(tile, (x, y), (x + across, y + down), colour, thickness)
    return tile
