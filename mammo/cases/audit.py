"""Audits a split: patients, views, lesions and classes per part, duplicates, conflicts and leaks."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mammo.cases.splits import PARTS, Split, patients_on_two_sides, source_leaks
from mammo.cases.table import LesionTable
from mammo.errors import SplitError, few_of

MOST_GROUPS = 12
POINT_ZERO = re.compile(r"(\d+)[.,]0{1,2}$")  # three zeros after a comma are thousands
EXPONENT = re.compile(r"\d+(?:\.\d+)?E[+-]?\d{1,2}|\d+\.\d+e[+-]?\d{1,2}")  # 7e1 may be a hexadecimal number
PATIENT_WORDS = ("p", "pt", "pat", "patient", "pid", "patid", "patientid", "id", "subject", "subj", "case")
PREFIX = re.compile(r"^([^\W\d]*)(\d.*)$")
MOST_DIGITS = 15  # float64 represents whole numbers up to this exactly


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Attributes:
        parts: A row per part, with counts.
        leaks: Patients in more than one part.
        duplicates: Duplicated cases.
        conflicts: Films, or breasts, with lesions of both classes.
        likely_same: Groups of patient ids that are likely one person's in several spellings.
        separated: The groups that are in more than one part.
    """

    parts: pd.DataFrame
    leaks: list[str]
    duplicates: list[str]
    conflicts: list[str]
    likely_same: list[tuple[str, ...]]
    separated: list[tuple[str, ...]]


def audit_split(split: Split) -> Audit:
    """Count a split's parts and find its leaks, duplicates, and films or breasts with both classes."""
    samples = split.samples
    cases = samples.cases.assign(part=split.part, views=samples.views.groupby("case").size())
    leaks = {*patients_on_two_sides(cases["patient_id"], split.part), *split.source_leaks}
    duplicates = cases.loc[cases.duplicated("case_id"), "case_id"]
    return _audit(cases, leaks, duplicates, cases.loc[cases["mixed"], "image_id"].unique())


def audit_table(table: LesionTable) -> Audit:
    """Audit a lesion table with its source's own split, before samples are made."""
    frame = table.frame
    breasts = frame["patient_id"] + "_" + frame["laterality"]
    cases = frame.assign(part=frame["split"], breast_id=breasts, lesions=1, views=1)
    spread = frame.groupby("image_id")["label"].nunique()
    doubled = frame.loc[frame.duplicated(["image_id", "lesion_type", "lesion_id"]), "lesion_id"]
    return _audit(cases, source_leaks(table), doubled, spread.index[spread > 1])


def _audit(cases: pd.DataFrame, leaks: Iterable[str], duplicates: Iterable[str], conflicts: Iterable[str]) -> Audit:
    rows = [_count_one(cases[cases["part"] == part], part) for part in PARTS if (cases["part"] == part).any()]
    alike = likely_same(cases["patient_id"])
    apart = _separated(alike, cases["patient_id"], cases["part"])
    counts = pd.DataFrame([*rows, _count_one(cases, "all")])
    return Audit(counts, sorted(leaks), sorted(duplicates), sorted(conflicts), alike, apart)


def _count_one(cases: pd.DataFrame, name: str) -> dict[str, object]:
    malignant = int((cases["label"] == 1).sum())
    return {
        "part": name,
        "patients": cases["patient_id"].nunique(),
        "breasts": cases["breast_id"].nunique(),
        "views": int(cases.drop_duplicates("image_id")["views"].sum()),
        "lesions": int(cases["lesions"].sum()),
        "cases": len(cases),
        "malignant": malignant,
        "share": round(malignant / max(1, len(cases)), 3),
    }


def refuse_leaks(audit: Audit, *, split_name: str, same_patients: str = "refuse") -> None:
    """Refuse a leaking split.

    Args:
        audit: Of the split.
        split_name: `data.split`.
        same_patients: `data.same_patients`: `refuse` treats ids that are likely one person's as one patient.

    Raises:
        SplitError: Patients, or ids that are likely one patient's, are in more than one part; all are named.
    """
    if audit.leaks:
        names, advice = ", ".join(audit.leaks), "give each patient one part"
        if split_name == "official":
            advice = "use data.split=official_clean, which drops them from one side"
        what = f"{len(audit.leaks)} patients are in more than one part"
        raise SplitError(f"split {split_name} leaks: {what} ({names}); {advice}")
    if audit.separated and same_patients == "refuse":
        named = few_of([" = ".join(group) for group in audit.separated], MOST_GROUPS)
        raise SplitError(
            f"split {split_name} leaks: {len(audit.separated)} patients are likely in more than one part, under ids "
            f"that differ only in spelling ({named}); correct them, or for different people data.same_patients=differ"
        )


def leaks_by_content(split: Split, case: np.ndarray, content: np.ndarray) -> list[str]:
    """Find patients with a film that is also in another part under another name (equal content hashes).

    Args:
        split: The split.
        case: The row number of each view's case.
        content: The hash of each view's film, in the same order.
    """
    patients = split.samples.cases["patient_id"].to_numpy()[case]
    frame = pd.DataFrame({"patient": patients, "content": content, "part": split.part[case]})
    spread = frame.groupby("content")["part"].transform("nunique")
    return sorted(frame.loc[spread > 1, "patient"].unique())


def refuse_shared_films(patients: list[str]) -> None:
    """Raise SplitError if `leaks_by_content` finds patients; all are named."""
    if patients:
        what = f"the same film is in more than one part, under the patients {', '.join(patients)}"
        raise SplitError(f"split leaks: {what}; give them one")


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


def _separated(groups: list[tuple[str, ...]], patients: pd.Series, part: pd.Series) -> list[tuple[str, ...]]:
    """Return the groups of ids that are in more than one part, given the patient and the part of each case."""
    parts = pd.Series(part.to_numpy(), index=patients.to_numpy()).groupby(level=0).agg(set).to_dict()
    return [group for group in groups if len(set().union(*(parts.get(name, set()) for name in group))) > 1]
