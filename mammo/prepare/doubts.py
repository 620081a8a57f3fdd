"""Gathers what was doubtful while films were prepared, and returns it as warnings: case, patient_id, reason."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mammo.cases.samples import SampleTable
from mammo.cases.table import exclusions
from mammo.images.film import BREAST_REMARKS, in_words
from mammo.prepare.index import Entry

# Laterality says on which side of the film the breast lies only where a data set keeps to it: CBIS-DDSM's does in 74 % of films.
FEWEST_FILMS, CONSISTENT = 20, 0.95
DOUBTS = (*BREAST_REMARKS, "box_tiny", "box_large", "box_outside", "box_off_breast")
HEADER_SIDE = "the laterality of its DICOM header contradicts that of the table"


def remarks_of(samples: SampleTable, entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    """The remarks on each view: those made on its film, and `breast_side` where the set's other films have the breast elsewhere.

    Args:
        samples: The cases; one row of `views` per entry.
        entries: Of the store.

    Returns:
        For each view, keys of `film.REMARKS`.
    """
    other = other_side(
        samples.views["laterality"],
        np.array([entry.seen.chest_wall for entry in entries], object),
        samples.views["image"],
    )
    return [
        (*dict.fromkeys(entry.seen.remarks), *(("breast_side",) if turned else ()))
        for entry, turned in zip(entries, other, strict=True)
    ]


def other_side(laterality: pd.Series, chest_wall: np.ndarray, image: pd.Series) -> np.ndarray:
    """Find films whose breast lies on the other side than on most films of its laterality; none where a set is not consistent.

    Args:
        laterality: LEFT, RIGHT or "" of each view.
        chest_wall: "left" or "right" of each view.
        image: Its film, which counts once.

    Returns:
        Bool, one per view.
    """
    known = laterality.isin(["LEFT", "RIGHT"]).to_numpy()
    same = (laterality.str.lower().to_numpy(object) == chest_wall) & known
    films = pd.DataFrame({"image": image.to_numpy(), "same": same})[known].drop_duplicates("image")
    if len(films) < FEWEST_FILMS:
        return np.zeros(len(laterality), bool)
    share = films["same"].mean()
    if share >= CONSISTENT:
        return known & ~same
    return known & same if share <= 1 - CONSISTENT else np.zeros(len(laterality), bool)


def film_warnings(samples: SampleTable, entries: Sequence[Entry]) -> pd.DataFrame:
    """List the remarks on a data set's films, in words, a row per case and kind."""
    case = samples.views["case"].to_numpy(int)
    rows = [
        (number, in_words(key)) for number, keys in zip(case, remarks_of(samples, entries), strict=True) for key in keys
    ]
    table_side = samples.views["laterality"]
    rows += [
        (number, HEADER_SIDE)
        for number, side, entry in zip(case, table_side, entries, strict=True)
        if side and entry.seen.laterality and side != entry.seen.laterality
    ]
    rows = sorted(dict.fromkeys(rows), key=lambda row: row[1])
    cases = samples.cases.iloc[[number for number, _ in rows]]
    return exclusions(cases["case_id"], cases["patient_id"], [words for _, words in rows])


def is_doubtful(remarks: tuple[str, ...]) -> bool:
    """Whether a film's breast or a lesion's box is implausible, as `data.doubtful` has it."""
    return any(key in DOUBTS for key in remarks)
