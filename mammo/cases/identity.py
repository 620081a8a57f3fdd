"""Finds patient ids that are likely one person's in two spellings, and ids that a spreadsheet has damaged."""

import re
import unicodedata
from collections.abc import Iterable

import pandas as pd

from mammo.tables import row_faults

DAMAGED = re.compile(r"[+-]?\d(?:[.,]\d+)?[eE]\+\d{1,3}")  # 1.02938E+17, as spreadsheets write an id of many digits
POINT_ZERO = re.compile(r"^(\d+)[.,]0+$")
EXPONENT = re.compile(r"^\d+(?:\.\d+)?e[+-]?\d{1,2}$")
PREFIX = re.compile(r"^([^\W\d]*)(\d.*)$")
MOST_DIGITS = 15  # of whole numbers that float64 holds


def refuse_damaged_ids(ids: pd.Series, faults: list[str]) -> None:
    """Report ids in scientific notation: several people's become one, and none can be read back."""
    damaged = ids.map(lambda text: DAMAGED.fullmatch(text) is not None)
    rule = "patient_id was damaged by a spreadsheet, which rounds long numbers; export the column again as text"
    faults += row_faults(damaged, rule, ids)


def likely_same(ids: Iterable[str]) -> list[tuple[str, ...]]:
    """Group ids that differ only by zeros before a number, case, spaces and punctuation, `.0`, an exponent, or a prefix.

    Of prefixes, only such are taken for one: none beside some (`7`, `P7`), or one that begins the other (`P7`, `PAT7`); `A7` and `B7` may
    be two sites'.

    Returns:
        Groups of at least two ids, each sorted, the groups too.
    """
    by_number: dict[str, dict[str, set[str]]] = {}
    for name in set(ids):
        prefix, number = _parts(name)
        by_number.setdefault(number, {}).setdefault(prefix, set()).add(name)
    groups = []
    for prefixes in by_number.values():
        for joined in _joined(sorted(prefixes)):
            names = sorted(name for prefix in joined for name in prefixes[prefix])
            if len(names) > 1:
                groups.append(tuple(names))
    return sorted(groups)


def person_key(name: str) -> str:
    """An id in the form in which its spellings are the same, the prefix kept."""
    return "".join(_parts(name))


def _parts(name: str) -> tuple[str, str]:
    """Prefix and the rest of an id, both without what spellings differ in."""
    plain = "".join(str(unicodedata.decimal(sign, sign)) for sign in unicodedata.normalize("NFKC", name).strip().casefold())
    if EXPONENT.match(plain):
        value = float(plain)
        if value < 10**MOST_DIGITS and value == int(value):
            return "", str(int(value))
    plain = POINT_ZERO.sub(r"\1", plain)
    plain = re.sub(r"\d+[.,]0+$", lambda found: re.split(r"[.,]", found[0])[0], plain)
    plain = re.sub(r"(\d)[\s_\-./#:]+(?=\d)", r"\1|", plain)  # between numbers punctuation parts: 1-12 is not 11-2
    plain = re.sub(r"[\s_\-./#:]+", "", plain)
    plain = re.sub(r"\d+", lambda found: found[0].lstrip("0") or "0", plain)
    found = PREFIX.match(plain)
    return (found[1], found[2]) if found else ("", plain)


def _joined(prefixes: list[str]) -> list[list[str]]:
    """Prefixes, sorted, in groups in which each begins the next; the empty one begins all, where there is but one other kind."""
    groups: list[list[str]] = []
    for prefix in prefixes:
        known = next((group for group in groups if prefix.startswith(group[-1]) and group[-1]), None)
        if known is not None:
            known.append(prefix)
        else:
            groups.append([prefix])
    if groups and groups[0] == [""] and len(groups) == 2:
        return [[*groups[0], *groups[1]]]
    return groups


def separated(groups: Iterable[tuple[str, ...]], patients: pd.Series, part: pd.Series) -> list[tuple[str, ...]]:
    """Those groups of ids that stand in more than one part.

    Args:
        groups: Of `likely_same`.
        patients: The patient of each case.
        part: The part of each case.
    """
    parts = pd.Series(part.to_numpy(), index=patients.to_numpy()).groupby(level=0).agg(set).to_dict()
    return [group for group in groups if len(set().union(*(parts.get(name, set()) for name in group))) > 1]
