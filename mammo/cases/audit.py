"""Audits a split: patients, views, lesions and classes per part, duplicates, conflicts and leaks."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mammo.cases.identity import likely_same, separated
from mammo.cases.splits import Split, patients_on_two_sides, source_leaks
from mammo.cases.table import LesionTable
from mammo.errors import SplitError

MOST_GROUPS = 12


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
    alike = likely_same(cases["patient_id"])
    return Audit(
        _count(cases),
        sorted({*patients_on_two_sides(cases["patient_id"], split.part), *split.source_leaks}),
        sorted(cases.loc[cases.duplicated("case_id"), "case_id"]),
        sorted(cases.loc[cases["mixed"], "image_id"].unique()),
        alike,
        separated(alike, cases["patient_id"], cases["part"]),
    )


def audit_table(table: LesionTable) -> Audit:
    """Audit a lesion table with its source's own split, before samples are made."""
    frame = table.frame
    cases = frame.assign(
        part=frame["split"], breast_id=frame["patient_id"] + "_" + frame["laterality"], lesions=1, views=1
    )
    spread = frame.groupby("image_id")["label"].nunique()
    doubled = frame[frame.duplicated(["image_id", "lesion_type", "lesion_id"])]
    alike = likely_same(frame["patient_id"])
    return Audit(
        _count(cases),
        source_leaks(table),
        sorted(doubled["lesion_id"]),
        sorted(map(str, spread.index[spread > 1])),
        alike,
        separated(alike, cases["patient_id"], cases["part"]),
    )


def _count(cases: pd.DataFrame) -> pd.DataFrame:
    parts = [part for part in ("train", "validation", "test") if (cases["part"] == part).any()]
    rows = [_count_one(cases[cases["part"] == part], part) for part in parts]
    return pd.DataFrame([*rows, _count_one(cases, "all")])


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
        advice = "give each patient one part"
        if split_name == "official":
            advice = "use data.split=official_clean, which drops them from one side"
        names = ", ".join(audit.leaks)
        raise SplitError(
            f"split {split_name} leaks: {len(audit.leaks)} patients are in more than one part ({names}); {advice}"
        )
    if audit.separated and same_patients == "refuse":
        named = "; ".join(" = ".join(group) for group in audit.separated[:MOST_GROUPS])
        more = f" and {len(audit.separated) - MOST_GROUPS} more" if len(audit.separated) > MOST_GROUPS else ""
        raise SplitError(
            f"split {split_name} leaks: {len(audit.separated)} patients are likely in more than one part, under ids "
            f"that differ only in spelling ({named}{more}); correct the ids, or set data.same_patients=differ if they "
            "are different people"
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
    """Refuse a split with the same film in several parts, under the patients that `leaks_by_content` finds.

    Raises:
        SplitError: There are such patients; all are named.
    """
    if patients:
        names = ", ".join(patients)
        raise SplitError(
            f"split leaks: the same film is in more than one part, under the patients {names}; give them one"
        )
