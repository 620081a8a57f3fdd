"""Collects the warnings about prepared films and returns them as a table: case, patient_id, reason."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mammo.cases.samples import SampleTable
from mammo.cases.table import exclusions
from mammo.images.film import BREAST_REMARKS, in_words
from mammo.prepare.index import Entry

# Laterality shows the breast's side on the film only in a consistent data set; in CBIS-DDSM it does in 74 % of films.
FEWEST_FILMS, CONSISTENT = 20, 0.95
DOUBTS = (*BREAST_REMARKS, "box_tiny", "box_large", "box_outside", "box_off_breast")
HEADER_SIDE = "the laterality of its DICOM header contradicts that of the table"


def remarks_of(samples: SampleTable, entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    """Return the warning keys of each view: those of its film, and `breast_side` if its breast is on the unusual side.

    Args:
        samples: The cases; one row of `views` per entry.
        entries: From the store.

    Returns:
        For each view, keys of `film.REMARKS`.
    """
    chest_wall = np.array([entry.seen.chest_wall for entry in entries], object)
    other = other_side(samples.views["laterality"], chest_wall, samples.views["image"])
    return [
        (*dict.fromkeys(entry.seen.remarks), *(("breast_side",) if turned else ()))
        for entry, turned in zip(entries, other, strict=True)
    ]


def other_side(laterality: pd.Series, chest_wall: np.ndarray, image: pd.Series) -> np.ndarray:
    """Find films whose breast is not on the side that is usual for its laterality; none if the set is not consistent.

    Args:
        laterality: LEFT, RIGHT or "" of each view.
        chest_wall: "left" or "right" of each view.
        image: The film of each view; a film counts once.

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
    """List the warnings about a data set's films in words, one row per case and kind."""
    views = samples.views
    found = []
    for number, side, entry, keys in zip(
        views["case"].to_numpy(int), views["laterality"], entries, remarks_of(samples, entries), strict=True
    ):
        found += [(number, in_words(key)) for key in keys]
        if side and entry.seen.laterality and side != entry.seen.laterality:
            found.append((number, HEADER_SIDE))
    rows = sorted(dict.fromkeys(found), key=lambda row: row[1])
    cases = samples.cases.iloc[[number for number, _ in rows]]
    return exclusions(cases["case_id"], cases["patient_id"], [words for _, words in rows])


def is_doubtful(remarks: tuple[str, ...]) -> bool:
    """Whether a film's breast or a lesion's box is implausible, in the sense of `data.doubtful`."""
    return any(key in DOUBTS for key in remarks)
