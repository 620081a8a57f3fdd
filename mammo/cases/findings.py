"""Joins the rows of a lesion table to findings, lists where the views of one finding disagree, and reads descriptors.

A finding is one abnormality of a breast, seen in one or more views; `finding_id` joins its rows.
"""

import numpy as np
import pandas as pd

from mammo.cases.table import exclusions
from mammo.cases.words import is_unknown, word

# The words of CBIS-DDSM's mass CSVs, which follow BI-RADS; a cell may join several with hyphens.
VOCABULARY = {
    "shape": (
        "ROUND", "OVAL", "LOBULATED", "IRREGULAR", "ARCHITECTURAL_DISTORTION", "ASYMMETRIC_BREAST_TISSUE",
        "FOCAL_ASYMMETRIC_DENSITY", "LYMPH_NODE",
    ),
    "margins": ("CIRCUMSCRIBED", "MICROLOBULATED", "OBSCURED", "ILL_DEFINED", "SPICULATED"),
}  # fmt: skip
TWO_LABELS = "the views of its finding have two labels"
COMPARED = ("label", "pathology", "lesion_type", "shape", "margins", "assessment", "subtlety", "density")


def descriptors(text: str, column: str) -> str | None:
    """Read the words of a cell of the column `shape` or `margins`.

    Returns:
        The words of `VOCABULARY[column]` in its order, joined by hyphens; "" if unknown, None if a word is not in it.
    """
    if is_unknown(text):
        return ""
    known = VOCABULARY[column]
    whole = word(text).upper()
    parts = {whole} if whole in known else {word(part).upper() for part in text.split("-")}
    return "-".join(name for name in known if name in parts) if parts <= set(known) else None


def finding_of(frame: pd.DataFrame) -> pd.Series:
    """Return the finding of each row; a row without `finding_id` is a finding of its own, named as its lesion."""
    return frame["finding_id"].where(frame["finding_id"] != "", frame["lesion_id"])


def two_labels(frame: pd.DataFrame) -> pd.Series:
    """Return which rows belong to a finding whose views have both labels."""
    return frame.groupby(finding_of(frame))["label"].transform("nunique") > 1


def find_disagreements(frame: pd.DataFrame) -> pd.DataFrame:
    """List the findings whose views do not agree: the abnormality number may join two different lesions.

    Args:
        frame: Of a lesion table, or the cases of its samples.

    Returns:
        A row for each finding and each column of `COMPARED` in which its views have several known values: `finding_id,
        patient_id, column, values`, sorted.
    """
    frame = frame[frame["finding_id"] != ""]
    finding = frame["finding_id"]
    rows = []
    for column in COMPARED:
        known = frame[column].replace("", np.nan)
        several = known.groupby(finding).nunique()
        differing = frame.assign(known=known)[finding.isin(several.index[several > 1]) & known.notna()]
        for (name, patient), group in differing.groupby(["finding_id", "patient_id"]):
            values = sorted({_in_words(value) for value in group["known"]})
            rows.append((name, patient, column, " / ".join(values)))
    return pd.DataFrame(sorted(rows), columns=["finding_id", "patient_id", "column", "values"])


def count_views(frame: pd.DataFrame) -> dict[int, int]:
    """Count the findings by the number of their rows, one for each view."""
    views = frame[frame["finding_id"] != ""].groupby("finding_id").size()
    counts = np.bincount(views.to_numpy(int))
    return {number: int(counts[number]) for number in np.flatnonzero(counts).tolist()}


def label_warnings(frame: pd.DataFrame) -> pd.DataFrame:
    """Warn of lesions that are kept, but are left out of the level finding because its views have two labels."""
    rows = frame[two_labels(frame)]
    return exclusions(rows["lesion_id"], rows["patient_id"], f"{TWO_LABELS}: left out of the level finding")


def _in_words(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
