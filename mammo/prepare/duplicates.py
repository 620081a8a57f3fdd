"""Film files in, groups of those with the very same content out; only files of equal size are read."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mammo.cases.audit import leaks_by_content
from mammo.cases.splits import Split
from mammo.errors import ImageError
from mammo.prepare.stamps import looks_of, stamp_file
from mammo.progress import track


def content_of(films: Iterable[str]) -> dict[str, str]:
    """Name each film's content: its hash where another file has the same size, else its own name; what is no image's file too."""
    by_size: dict[int, list[str]] = {}
    content = {}
    for film in dict.fromkeys(films):
        content[film] = film
        with contextlib.suppress(OSError, ImageError):  # absent, or too large to be read: told where films are prepared
            by_size.setdefault(looks_of(Path(film))[0], []).append(film)
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
