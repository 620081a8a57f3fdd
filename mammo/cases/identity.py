"""Finds patient ids that are likely one person's in two spellings, and ids that a spreadsheet damaged."""

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
MOST_DIGITS = 15  # float64 represents whole numbers up to this exactly


def refuse_damaged_ids(ids: pd.Series, errors: list[str]) -> None:
    """Report ids in scientific notation: different ids become one, and none can be restored."""
    damaged = ids.map(lambda text: DAMAGED.fullmatch(text) is not None)
    rule = "patient_id was damaged by a spreadsheet, which rounds long numbers; export the column again as text"
    errors += row_faults(damaged, rule, ids)


def likely_same(ids: Iterable[str]) -> list[tuple[str, ...]]:
    """Group ids that differ only in leading zeros, case, spaces, punctuation, `.0`, an exponent or a prefix.

    Two prefixes count as one if both are words for a patient (`P7`, `PAT7`), or if one is empty and the whole data set
    has only one other (`7`, `P7`). `A7` and `B7` may come from two sites and differ.

    Returns:
        Sorted groups of at least two ids, each sorted.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    parts = {name: _parts(name) for name in sorted(set(ids))}
    one_prefix = len({prefix for prefix, _ in parts.values()} - {""}) == 1
    for name, (prefix, number) in parts.items():
        groups.setdefault(("" if one_prefix else prefix, number), []).append(name)
    return sorted(tuple(names) for names in groups.values() if len(names) > 1)


def _parts(name: str) -> tuple[str, str]:
    """Return the prefix and the rest of an id in one spelling; every word for a patient becomes `patient`."""
    plain = "".join(
        str(unicodedata.decimal(sign, sign)) for sign in unicodedata.normalize("NFKC", name).strip().casefold()
    )
    if EXPONENT.fullmatch(name.strip()):
        value = float(plain)
        if value < 10**MOST_DIGITS and value == int(value):
            return "", str(int(value))
    plain = POINT_ZERO.sub(r"\1", plain)
    plain = re.sub(r"(\d)[\s_\-./#:]+(?=\d)", r"\1|", plain)  # punctuation separates numbers: 1-12 is not 11-2
    plain = re.sub(r"[\s_\-./#:]+", "", plain)
    # Remove zeros before the first number and after punctuation; those within a hexadecimal number count.
    plain = re.sub(r"^(\D*)0+(?=\d)|(?<=\|)0+(?=\d)", lambda found: found[1] or "", plain)
    found = PREFIX.match(plain)
    if not found:
        return "", plain
    return ("patient" if found[1] in PATIENT_WORDS else found[1]), found[2]


def separated(groups: Iterable[tuple[str, ...]], patients: pd.Series, part: pd.Series) -> list[tuple[str, ...]]:
    """Return the groups of ids that are in more than one part.

    Args:
        groups: From `likely_same`.
        patients: The patient of each case.
        part: The part of each case.
    """
    parts = pd.Series(part.to_numpy(), index=patients.to_numpy()).groupby(level=0).agg(set).to_dict()
    return [group for group in groups if len(set().union(*(parts.get(name, set()) for name in group))) > 1]
