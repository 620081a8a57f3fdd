"""Finds patient ids that are likely one person's in two spellings, and ids that a spreadsheet has damaged."""

import re
import unicodedata
from collections.abc import Iterable

import pandas as pd

from mammo.tables import row_faults

DAMAGED = re.compile(r"[+-]?\d(?:[.,]\d+)?[eE]\+\d{1,3}")  # 1.02938E+17, as spreadsheets write an id of many digits
POINT_ZERO = re.compile(r"(\d+)[.,]0{1,2}$")  # three zeros after a comma are thousands
EXPONENT = re.compile(r"\d+(?:\.\d+)?E[+-]?\d{1,2}|\d+\.\d+e[+-]?\d{1,2}")  # 7e1 may be a hexadecimal number
PATIENT_WORDS = ("p", "pt", "pat", "patient", "pid", "patid", "patientid", "id", "subject", "subj", "case")
PREFIX = re.compile(r"^([^\W\d]*)(\d.*)$")
MOST_DIGITS = 15  # of whole numbers that float64 holds


def refuse_damaged_ids(ids: pd.Series, faults: list[str]) -> None:
    """Report ids in scientific notation: several people's become one, and none can be read back."""
    damaged = ids.map(lambda text: DAMAGED.fullmatch(text) is not None)
    rule = "patient_id was damaged by a spreadsheet, which rounds long numbers; export the column again as text"
    faults += row_faults(damaged, rule, ids)


def likely_same(ids: Iterable[str]) -> list[tuple[str, ...]]:
    """Group ids that differ only by zeros before a number, case, spaces and punctuation, `.0`, an exponent, or a prefix.

    Of prefixes, only such are taken for one: two words for a patient (`P7`, `PAT7`), and none beside one, where all ids have this one or
    none (`7`, `P7`): `A7` and `B7` may be two sites'.

    Returns:
        Groups of at least two ids, each sorted, the groups too.
    """
    by_number: dict[str, dict[str, set[str]]] = {}
    for name in set(ids):
        prefix, number = _parts(name)
        by_number.setdefault(number, {}).setdefault(prefix, set()).add(name)
    groups = []
    common = {
        prefix: "patient" if prefix in PATIENT_WORDS else prefix
        for prefixes in by_number.values()
        for prefix in prefixes
    }
    bare = len(set(common.values()) - {""}) == 1
    for prefixes in by_number.values():
        for joined in _joined(sorted(prefixes), common, bare=bare):
            names = sorted(name for prefix in joined for name in prefixes[prefix])
            if len(names) > 1:
                groups.append(tuple(names))
    return sorted(groups)


def _parts(name: str) -> tuple[str, str]:
    """Prefix and the rest of an id, both without what spellings differ in."""
    plain = "".join(
        str(unicodedata.decimal(sign, sign)) for sign in unicodedata.normalize("NFKC", name).strip().casefold()
    )
    if EXPONENT.fullmatch(name.strip()):
        value = float(plain)
        if value < 10**MOST_DIGITS and value == int(value):
            return "", str(int(value))
    plain = POINT_ZERO.sub(r"\1", plain)
    plain = re.sub(r"(\d)[\s_\-./#:]+(?=\d)", r"\1|", plain)  # between numbers punctuation parts: 1-12 is not 11-2
    plain = re.sub(r"[\s_\-./#:]+", "", plain)
    # Zeros before the first number, and before each behind punctuation: those within a hexadecimal number count.
    plain = re.sub(r"^(\D*)0+(?=\d)|(?<=\|)0+(?=\d)", lambda found: found[1] or "", plain)
    found = PREFIX.match(plain)
    return (found[1], found[2]) if found else ("", plain)


def _joined(prefixes: list[str], common: dict[str, str], *, bare: bool) -> list[list[str]]:
    """The prefixes of one number in groups that are taken for one; with `bare`, the empty one with all others."""
    if bare:
        return [prefixes]
    groups: dict[str, list[str]] = {}
    for prefix in prefixes:
        groups.setdefault(common[prefix], []).append(prefix)
    return list(groups.values())


def separated(groups: Iterable[tuple[str, ...]], patients: pd.Series, part: pd.Series) -> list[tuple[str, ...]]:
    """Those groups of ids that stand in more than one part.

    Args:
        groups: Of `likely_same`.
        patients: The patient of each case.
        part: The part of each case.
    """
    parts = pd.Series(part.to_numpy(), index=patients.to_numpy()).groupby(level=0).agg(set).to_dict()
    return [group for group in groups if len(set().union(*(parts.get(name, set()) for name in group))) > 1]
