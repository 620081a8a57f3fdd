"""Checks a data set's films: collects the warnings about them, and finds files with the same content."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mammo.cases.audit import leaks_by_content
from mammo.cases.samples import SampleTable
from mammo.cases.splits import Split
from mammo.cases.table import exclusions
from mammo.errors import ImageError
from mammo.images.film import BREAST_REMARKS, in_words
from mammo.parallel.spread import spread, spread_on_cluster
from mammo.prepare.records import Entry, stamp_file, status_of
from mammo.progress import track
from mammo.runtime import available_cores

# Laterality shows the breast's side on the film only in a consistent data set; in CBIS-DDSM it does in 74 % of films.
FEWEST_FILMS, CONSISTENT = 20, 0.95
DOUBTS = (*BREAST_REMARKS, "box_tiny", "box_large", "box_outside", "box_off_breast")
HEADER_SIDE = "the laterality of its DICOM header contradicts that of the table"
FEW = 200  # below this many films, starting workers takes longer than reading them


def doubts_of(samples: SampleTable, entries: Sequence[Entry]) -> list[list[str]]:
    """Return, of each view, the warning keys that make it doubtful in the sense of `data.doubtful`.

    Args:
        samples: The cases; one row of `views` per entry.
        entries: From the store.
    """
    return [[key for key in keys if key in DOUBTS] for keys in _remarks_of(samples, entries)]


def _remarks_of(samples: SampleTable, entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    """Return the warning keys of each view: those of its film, and `breast_side` for an unusual side of the breast."""
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
    share = films["same"].mean() if len(films) >= FEWEST_FILMS else 0.5
    if share >= CONSISTENT:
        return known & ~same
    if share <= 1 - CONSISTENT:
        return known & same
    return np.zeros(len(laterality), bool)


def film_warnings(samples: SampleTable, entries: Sequence[Entry]) -> pd.DataFrame:
    """List the warnings about a data set's films in words, one row per case and kind."""
    views = samples.views
    found = []
    all_keys = _remarks_of(samples, entries)
    for number, side, entry, keys in zip(views["case"].tolist(), views["laterality"], entries, all_keys, strict=True):
        found += [(number, in_words(key)) for key in keys]
        if side and entry.seen.laterality and side != entry.seen.laterality:
            found.append((number, HEADER_SIDE))
    rows = sorted(dict.fromkeys(found), key=lambda row: row[1])
    cases = samples.cases.iloc[[number for number, _ in rows]]
    return exclusions(cases["case_id"], cases["patient_id"], [words for _, words in rows])


def content_of(films: Iterable[str], *, cluster: str = "") -> dict[str, str]:
    """Return a name of each film's content: its hash if another file has the same size, else the film's own name."""
    by_size: dict[int, list[str]] = {}
    content = {}
    for film in dict.fromkeys(films):
        content[film] = film
        with contextlib.suppress(OSError, ImageError):  # missing or too large: reported when films are prepared
            by_size.setdefault(status_of(Path(film))[0], []).append(film)
    alike = [film for group in by_size.values() if len(group) > 1 for film in group]
    hashes: Iterator[str] = map(_hash_of, alike)
    if cluster:
        hashes = spread_on_cluster(_hash_of, alike, cluster)
    elif len(alike) >= FEW and available_cores() > 1:
        hashes = spread(_hash_of, alike, available_cores(), ordered=True)
    for film, sha256 in zip(alike, track(hashes, len(alike), "comparing films of equal size"), strict=True):
        content[film] = sha256
    return content


def _hash_of(film: str) -> str:
    """Return a film's content hash, or its name if it cannot be read or changes meanwhile."""
    try:
        return stamp_file(Path(film)).sha256
    except (OSError, ImageError):
        return film


def find_duplicates(split: Split, *, cluster: str = "") -> tuple[list[str], list[str], int]:
    """Find films that are in the data set more than once under different names; a cluster may read them.

    Returns:
        The names, joined by ` = `, of each group of equal films; the patients with such films in several parts; and the
        number of films that are missing or cannot be read, and so were not checked.
    """
    views = split.samples.views
    content = content_of(views["image"], cluster=cluster)
    absent = sum(not os.access(film, os.R_OK) for film in content)
    groups: dict[str, list[str]] = {}
    for film, key in content.items():
        groups.setdefault(key, []).append(Path(film).name)
    named = [" = ".join(sorted(group)) for group in groups.values() if len(group) > 1]
    keys = np.array([content[film] for film in views["image"]], object)
    return sorted(named), leaks_by_content(split, views["case"].to_numpy(int), keys), absent
