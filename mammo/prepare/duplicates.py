"""Film files in, groups of those with the very same content out; only files of equal size are read."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mammo.cases.audit import leaks_by_content
from mammo.cases.splits import Split
from mammo.prepare.film_job import stamp_file
from mammo.progress import track


def content_of(films: Iterable[str]) -> dict[str, str]:
    """Name each film's content: its hash where another file has the same size, else its own name; absent files too."""
    by_size: dict[int, list[str]] = {}
    content = {}
    for film in dict.fromkeys(films):
        content[film] = film
        if Path(film).is_file():
            by_size.setdefault(Path(film).stat().st_size, []).append(film)
    alike = [film for group in by_size.values() if len(group) > 1 for film in group]
    for film in track(alike, len(alike), "comparing films of equal size"):
        content[film] = stamp_file(Path(film)).sha256
    return content


def find_duplicates(split: Split) -> tuple[list[str], list[str]]:
    """Find films that are in the data set twice, under other names.

    Returns:
        The names, joined by ` = `, of each group of equal films; and the patients that such films have in several parts.
    """
    views = split.samples.views
    content = content_of(views["image"])
    groups: dict[str, list[str]] = {}
    for film, key in content.items():
        groups.setdefault(key, []).append(Path(film).name)
    named = [" = ".join(sorted(group)) for group in groups.values() if len(group) > 1]
    keys = np.array([content[film] for film in views["image"]], object)
    return sorted(named), leaks_by_content(split, views["case"].to_numpy(int), keys)
