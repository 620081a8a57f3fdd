"""Defines, checks and filters the lesion table: one row per lesion and view, in columns; the readers make it."""

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from mammo.errors import MOST_FAULTS_SHOWN, CaseError, in_one_line
from mammo.settings.schema import DataSettings
from mammo.settings.types import CROPPED
from mammo.tables import in_brief, line_of, row_faults

BOX = ("x", "y", "width", "height")
# `label` is 1 malignant, 0 benign, NaN unknown; so is `image_label`, for the whole film. Boxes are in the source
# image's pixels, from its top left corner. `mask` names a file, or several candidates joined by CANDIDATE_SEPARATOR;
# only their content shows which is the mask. `pixel_aspect` is the width of a pixel over its height; NaN is what
# `data.pixel_aspect` says.
COLUMNS = (
    "lesion_id", "finding_id", "patient_id", "laterality", "view", "lesion_type", "pathology", "label", "image_label",
    "density", "assessment", "subtlety", "shape", "margins", "image_id", "image", "pixel_aspect", *BOX, "mask", "crop",
    "split", "source",
)  # fmt: skip
NUMBER_COLUMNS = ("label", "image_label", "density", "assessment", "subtlety", "pixel_aspect", *BOX)
LATERALITIES = {"L": "LEFT", "LEFT": "LEFT", "R": "RIGHT", "RIGHT": "RIGHT"}
PATHOLOGY_LABELS = {"MALIGNANT": 1.0, "BENIGN": 0.0, "BENIGN_WITHOUT_CALLBACK": 0.0, "NORMAL": 0.0}
PLACE = ("patient_id", "laterality", "image_id")
LEAST_ASPECT = 0.2  # of a pixel's width over its height; the largest is its inverse
LESION_TYPES = ("mass", "calcification", "asymmetry", "architectural_distortion", "other")
CANDIDATE_SEPARATOR = "\0"  # no path contains it


def exclusions(
    case: pd.Series | list[str], patient_id: pd.Series | list[str], reason: str | pd.Series | list[str]
) -> pd.DataFrame:
    """Make rows of an exclusion list, or of a list of warnings."""
    frame = pd.DataFrame({"case": np.asarray(case, object), "patient_id": np.asarray(patient_id, object)})
    frame["reason"] = reason if isinstance(reason, str) else np.asarray(reason, object)
    return frame


def no_exclusions() -> pd.DataFrame:
    """Make an empty exclusion list."""
    return exclusions([], [], "")


@dataclass(frozen=True)
class DataSetWords:
    """What reports say of a data set. An empty text means that only the authors of a study can say it.

    Attributes:
        data: Name, licence and origin.
        films: What kind of films they are.
        reference_standard: What proves the labels.
        unknown_because: Why `reference_standard` and the origin are not known here, such as "the films are generated".
        generated: Whether no patient is in it.
    """

    data: str
    films: str = ""
    reference_standard: str = ""
    unknown_because: str = ""
    generated: bool = False


@dataclass(frozen=True)
class LesionTable:
    """The lesions of a data set.

    `frame` has the columns `COLUMNS`. `excluded` has `case, patient_id, reason`, a row for each that was left out.
    `gone` has `PLACE` of what was left out and is not known to be benign: the film, breast and patient are then not
    known to be benign either.
    """

    frame: pd.DataFrame
    excluded: pd.DataFrame = field(default_factory=no_exclusions)
    gone: pd.DataFrame = field(default_factory=lambda: pd.DataFrame({name: pd.Series(dtype=object) for name in PLACE}))

    def without(self, rows: pd.Series, reason: str) -> "LesionTable":
        """Move rows (a boolean mask over `frame`) to the exclusions, under one reason."""
        left_out = self.frame[rows]
        listed = exclusions(left_out["lesion_id"], left_out["patient_id"], reason)
        return replace(
            self,
            frame=self.frame[~rows].reset_index(drop=True),
            excluded=pd.concat([self.excluded, listed], ignore_index=True),
            gone=pd.concat([self.gone, left_out.loc[not_benign(left_out), list(PLACE)]], ignore_index=True),
        )


def select_lesions(table: LesionTable, data: DataSettings) -> LesionTable:
    """Return the table without unwanted lesion types, and without BENIGN_WITHOUT_CALLBACK where settings say so.

    A film with a wanted lesion keeps all its lesions where films are judged.
    """
    unwanted = (table.frame["lesion_type"] != "") & ~table.frame["lesion_type"].isin(data.lesion_types)
    if data.task not in CROPPED:
        unwanted = unwanted.groupby(table.frame["image_id"]).transform("all")
    table = table.without(unwanted, "lesion type is not in data.lesion_types")
    if data.benign_without_callback == "exclude":
        no_callback = table.frame["pathology"] == "BENIGN_WITHOUT_CALLBACK"
        table = table.without(no_callback, "BENIGN_WITHOUT_CALLBACK, which settings leave out")
    return table


def not_benign(frame: pd.DataFrame) -> pd.Series:
    """Return which rows are malignant or unknown, by their own label or else their film's."""
    return ~frame["label"].fillna(frame["image_label"]).eq(0) | frame["image_label"].eq(1)


def exclusion_lines(excluded: pd.DataFrame) -> list[str]:
    """Say how many cases were left out, one line per reason; with very many reasons, only the first."""
    if excluded.empty:
        return ["left out: nothing"]
    counts = excluded["reason"].value_counts()
    lines = [f"left out: {count} × {reason}" for reason, count in counts.head(MOST_FAULTS_SHOWN).items()]
    if len(more := counts.iloc[MOST_FAULTS_SHOWN:]):
        lines.append(f"left out: {more.sum()} more, for {len(more)} other reasons")
    return lines


def warning_lines(warned: pd.DataFrame) -> list[str]:
    """Say what was kept with a warning: one line per kind, with the number of cases and an example."""
    kinds = warned.groupby("reason", sort=False)["case"].agg(["size", "first"]) if len(warned) else pd.DataFrame()
    return [f"warning: {row['size']} × {kind}, such as {row['first']}" for kind, row in kinds.iterrows()]


def complete(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the columns that a source does not have, as empty ones, and sort the columns."""
    frame = frame.reindex(columns=list(COLUMNS)).reset_index(drop=True)
    for name in COLUMNS:
        column = frame[name]
        if name in NUMBER_COLUMNS:
            frame[name] = column.astype(float)
        else:
            frame[name] = column.astype(object).where(column.notna(), "").astype(str).astype(object)
    return frame


def check(frame: pd.DataFrame, where: str, lines: pd.DataFrame | None = None) -> None:
    """Check the rows against each other: unique lesions, one patient and side per image, labels that agree.

    Args:
        frame: A complete table.
        where: The file (or files), for the message.
        lines: The table from `read_table`, which knows the line of each row; without it, each row counts as one line.

    Raises:
        CaseError: There are errors; all are in one message.
    """
    lines = frame if lines is None else lines
    errors = row_faults(frame.duplicated("lesion_id"), "lesion_id is duplicated", frame["lesion_id"], lines)
    for column in ("patient_id", "laterality", "image_label"):
        spread = frame.groupby("image_id")[column].nunique()
        clashing = spread.index[spread > 1]
        for image in clashing[:MOST_FAULTS_SHOWN]:
            rows = frame.index[frame.image_id == image]
            values = sorted({in_brief(str(value)).strip("'") for value in frame.loc[rows, column]})[:MOST_FAULTS_SHOWN]
            what = f"image {in_brief(image)} has more than one {column}: {', '.join(values)}"
            errors.append(f"line {line_of(lines, rows[0])}: {what}")
        errors += [""] * max(0, len(clashing) - MOST_FAULTS_SHOWN)  # counted only
    contradicting = frame["image_label"] < frame["label"]
    errors += row_faults(contradicting, "image_label is 0 beside a malignant lesion", frame["image_label"], lines)
    if errors:
        raise CaseError(in_one_line(where, errors))
    if frame.empty:
        raise CaseError(f"{where}: has no rows")
