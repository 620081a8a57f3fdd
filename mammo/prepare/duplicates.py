"""Finds film files with the same content; only files of equal size are read."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from mammo.cases.audit import leaks_by_content
from mammo.cases.splits import Split
from mammo.errors import ImageError
from mammo.parallel.spread import spread, spread_on_cluster
from mammo.prepare.stamps import stamp_file, status_of
from mammo.progress import track
from mammo.runtime import available_cores

FEW = 200  # below this many films, starting workers takes longer than reading them


def content_of(films: Iterable[str], *, cluster: str = "") -> dict[str, str]:
    """Return a name of each film's content: its hash if another file has the same size, else the film's own name."""
    by_size: dict[int, list[str]] = {}
    content = {}
    for film in dict.fromkeys(films):
        content[film] = film
        with contextlib.suppress(OSError, ImageError):  # missing or too large: reported when films are prepared
            by_size.setdefault(status_of(Path(film))[0], []).append(film)
    alike = [film for group in by_size.values() if len(group) > 1 for film in group]
    hashes: Iterator[str] = map(hash_of, alike)
    if cluster:
        hashes = spread_on_cluster(hash_of, alike, cluster)
    elif len(alike) >= FEW and available_cores() > 1:
        hashes = spread(hash_of, alike, available_cores(), ordered=True)
    for film, sha256 in zip(alike, track(hashes, len(alike), "comparing films of equal size"), strict=True):
        content[film] = sha256
    return content


def hash_of(film: str) -> str:
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
