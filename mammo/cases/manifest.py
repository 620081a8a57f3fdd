"""Reads any data set given as one manifest CSV to a lesion table; all faults of the file come in one message."""

import difflib
import posixpath
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from mammo.cases import words
from mammo.cases.data_set import DataSetWords
from mammo.cases.identity import refuse_damaged_ids
from mammo.cases.table import BOX, LESION_TYPES, PATHOLOGY_LABELS, LesionTable, check, complete, no_exclusions
from mammo.errors import CaseError, in_one_line
from mammo.tables import line_of, read_table, row_faults, to_numbers

WORDS = DataSetWords(
    data="the user's own, named by a manifest; the licence of those data applies.",
    unknown_because="the data are the user's own",
)
REQUIRED = ("image", "patient_id")
ONE_OF = ("pathology", "label", "image_label")
OPTIONAL = (
    "lesion_id",
    "laterality",
    "view",
    "lesion_type",
    "density",
    "assessment",
    "subtlety",
    *BOX,
    "mask",
    "split",
    "source",
)
KNOWN = (*REQUIRED, *ONE_OF, *OPTIONAL)
EXPECTED = f"a CSV with the columns {', '.join(REQUIRED)} and {' or '.join(ONE_OF)}"


def read_manifest(path: Path) -> LesionTable:
    """Read a manifest: `image, patient_id` and one of `pathology, label, image_label`; the rest is optional.

    Image paths are relative to the CSV; the table holds them joined to its folder. Windows line ends and a byte order
    mark are fine.

    Raises:
        DataMissingError: There is no such file.
        CaseError: Columns are missing, or values break the contract (each with its line).
    """
    raw = read_table(path, EXPECTED, error=CaseError)
    _check_columns(raw, path)
    kept = raw.attrs
    raw = raw.apply(lambda column: column.str.strip())
    raw.attrs = kept
    folder = path.resolve().parent
    faults: list[str] = []
    for column in (name for name in ("image", "mask") if name in raw):
        raw[column] = [words.path_as_meant(name, folder) for name in raw[column]]
    frame = _convert(raw, faults)
    if faults:
        raise CaseError(in_one_line(str(path), faults))
    frame["image_id"] = frame["image"].map(posixpath.normpath)  # a.png and ./a.png are one film
    frame = complete(frame)
    for column in ("image", "mask"):
        frame[column] = [str(folder / name) if name else "" for name in frame[column]]
    check(frame, str(path), pd.Series([line_of(raw, row) for row in range(len(raw))]))
    return LesionTable(frame, no_exclusions())


def _check_columns(raw: pd.DataFrame, path: Path) -> None:
    faults = [f"column {name} is missing" + _similar(name, raw) for name in REQUIRED if name not in raw]
    if not any(name in raw for name in ONE_OF):
        faults.append(f"one of the columns {', '.join(ONE_OF)} is needed, none is there")
    present = [name for name in BOX if name in raw]
    if present and len(present) < len(BOX):
        faults.append(f"a box needs all of {', '.join(BOX)}; there is only {', '.join(present)}")
    for column in (str(name) for name in raw if name not in KNOWN):
        if column.strip().lower() in KNOWN and column.strip().lower() not in raw:
            faults.append(f"column {column!r} is not known; did you mean {column.strip().lower()!r}?")
    if faults:
        raise CaseError(in_one_line(str(path), faults))


def _similar(name: str, raw: pd.DataFrame) -> str:
    close = difflib.get_close_matches(name, [str(column) for column in raw if column not in KNOWN], n=1)
    return f" (there is {close[0]!r}; rename it?)" if close else ""


def _convert(raw: pd.DataFrame, faults: list[str]) -> pd.DataFrame:
    frame = raw[[name for name in KNOWN if name in raw]].copy()
    for name in REQUIRED:
        _report(raw[name] == "", raw[name], f"{name} is empty", faults)
    # Two spellings that look alike would be two patients, one of them perhaps on the other side of the split.
    frame["patient_id"] = raw["patient_id"].map(lambda text: unicodedata.normalize("NFC", text))
    _report(
        ~raw["patient_id"].map(str.isprintable),
        raw["patient_id"],
        "patient_id holds a sign that cannot be seen",
        faults,
    )
    refuse_damaged_ids(raw["patient_id"], faults)
    frame["laterality"] = _mapped(raw, "laterality", words.SIDES, "LEFT or RIGHT", faults)
    _convert_views(raw, frame, faults)
    frame["split"] = _mapped(raw, "split", words.SPLITS, "train, validation or test", faults)
    _convert_types(raw, frame, faults)
    for name in ("label", "image_label"):
        frame[name] = _mapped(raw, name, words.LABELS, "0 or 1", faults, empty=np.nan)
    frame["pathology"] = _mapped(raw, "pathology", words.PATHOLOGIES, " or ".join(PATHOLOGY_LABELS), faults)
    from_pathology = frame["pathology"].map(lambda name: PATHOLOGY_LABELS.get(name, np.nan)).astype(float)
    clash = frame["label"].notna() & from_pathology.notna() & (frame["label"] != from_pathology)
    _report(clash, frame["pathology"], "label contradicts pathology", faults)
    frame["label"] = frame["label"].fillna(from_pathology)
    frame["density"] = _graded(raw, "density", words.density, "1 to 4 or A to D", faults)
    frame["assessment"] = _graded(
        raw, "assessment", words.assessment, "a BI-RADS assessment 0 to 6, or 4A to 4C", faults
    )
    frame["subtlety"] = _numbers(raw, "subtlety", faults)
    _convert_boxes(raw, frame, faults)
    _report(raw.duplicated(), raw["image"], "the row is duplicated", faults)
    if "lesion_id" not in raw:
        frame["lesion_id"] = [f"{image}#{number}" for number, image in enumerate(raw["image"], 2)]
    return frame


def _convert_boxes(raw: pd.DataFrame, frame: pd.DataFrame, faults: list[str]) -> None:
    for name in BOX:
        frame[name] = _numbers(raw, name, faults)
    if "x" not in raw:
        return
    filled = (raw[list(BOX)] != "").sum(axis=1)
    _report((filled > 0) & (filled < len(BOX)), raw["x"], "a box needs x, y, width and height; some are empty", faults)
    for name in ("width", "height"):
        _report(frame[name] <= 0, raw[name], f"{name} must be above 0", faults)


def _convert_views(raw: pd.DataFrame, frame: pd.DataFrame, faults: list[str]) -> None:
    """Read views; one that names its side too, such as LCC, fills in the laterality, or contradicts it."""
    if "view" not in raw:
        frame["view"] = ""
        return
    read = {text: words.view_and_side(text) for text in raw["view"].unique()}
    frame["view"] = raw["view"].map(lambda text: read[text][0])
    side = raw["view"].map(lambda text: read[text][1])
    clash = (side != "") & (frame["laterality"] != "") & (side != frame["laterality"])
    _report(clash, raw["view"], "view names another side than laterality", faults)
    frame["laterality"] = frame["laterality"].where(frame["laterality"] != "", side)


def _convert_types(raw: pd.DataFrame, frame: pd.DataFrame, faults: list[str]) -> None:
    """Read kinds of lesion; words for other kinds become `other`, words that resemble a known one are faults."""
    if "lesion_type" not in raw:
        frame["lesion_type"] = ""
        return
    read = {text: words.lesion_type(text) for text in raw["lesion_type"].unique()}
    for text in (text for text, kind in read.items() if kind is None):
        near, known = words.near_lesion_type(text), ", ".join(LESION_TYPES)
        _report(
            raw["lesion_type"] == text,
            raw["lesion_type"],
            f"lesion_type must be one of {known} (did you mean {near}?)",
            faults,
        )
    frame["lesion_type"] = raw["lesion_type"].map(lambda text: read[text] or "")


def _mapped(
    raw: pd.DataFrame, name: str, table: dict, expected: str, faults: list[str], *, empty: object = ""
) -> pd.Series:
    if name not in raw:
        return pd.Series(empty, index=raw.index)
    text = raw[name].map({value: words.word(value) for value in raw[name].unique()})
    _report(~text.isin([*table, *words.UNKNOWN]), raw[name], f"{name} must be {expected}", faults)
    return text.map(lambda value: table.get(value, empty))


def _graded(
    raw: pd.DataFrame, name: str, read: Callable[[str], float | None], expected: str, faults: list[str]
) -> pd.Series:
    """Numbers, or the grades that stand for them."""
    if name not in raw:
        return pd.Series(np.nan, index=raw.index)
    grades = {text: read(text) for text in raw[name].unique()}
    _report(raw[name].map(lambda text: grades[text] is None), raw[name], f"{name} must be {expected}", faults)
    return raw[name].map(lambda text: np.nan if grades[text] is None else grades[text]).astype(float)


def _numbers(raw: pd.DataFrame, name: str, faults: list[str]) -> pd.Series:
    if name not in raw:
        return pd.Series(np.nan, index=raw.index)
    numbers = to_numbers(raw[name])
    _report((raw[name] != "") & numbers.isna(), raw[name], f"{name} must be a number", faults)
    return numbers


def _report(bad: pd.Series, values: pd.Series, rule: str, faults: list[str]) -> None:
    faults += row_faults(bad, rule, values)
