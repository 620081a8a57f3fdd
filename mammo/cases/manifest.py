"""Reads a data set given as one manifest CSV and returns a lesion table; all errors of the file are in one message."""

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
KNOWN: tuple[str, ...] = (
    *REQUIRED,
    *ONE_OF,
    "lesion_id",
    "laterality",
    "view",
    "lesion_type",
    "density",
    "assessment",
    "subtlety",
)
KNOWN += (*BOX, "mask", "split", "source")
EXPECTED = f"a CSV with the columns {', '.join(REQUIRED)} and {' or '.join(ONE_OF)}"


def read_manifest(path: Path) -> LesionTable:
    """Read a manifest: `image, patient_id` and one of `pathology, label, image_label`; the rest is optional.

    Image paths are relative to the CSV; in the table they are joined to its folder. Windows line ends and a byte order
    mark are accepted.

    Raises:
        DataMissingError: There is no such file.
        CaseError: Columns are missing, or values break the contract (each with its line).
    """
    raw = read_table(path, EXPECTED, error=CaseError)
    _check_columns(raw, path)
    attrs = raw.attrs
    raw = raw.apply(lambda column: column.str.strip())
    raw.attrs = attrs
    folder = path.resolve().parent
    errors: list[str] = []
    for column in (name for name in ("image", "mask") if name in raw):
        raw[column] = [words.path_as_meant(name, folder) for name in raw[column]]
    frame = _convert(raw, errors)
    if errors:
        raise CaseError(in_one_line(str(path), errors))
    frame["image_id"] = frame["image"].map(posixpath.normpath)  # a.png and ./a.png are one film
    frame = complete(frame)
    for column in ("image", "mask"):
        frame[column] = [str(folder / name) if name else "" for name in frame[column]]
    check(frame, str(path), pd.Series([line_of(raw, row) for row in range(len(raw))]))
    return LesionTable(frame, no_exclusions())


def _check_columns(raw: pd.DataFrame, path: Path) -> None:
    errors = [f"column {name} is missing" + _similar(name, raw) for name in REQUIRED if name not in raw]
    if not any(name in raw for name in ONE_OF):
        errors.append(f"one of the columns {', '.join(ONE_OF)} is needed, there is none")
    present = [name for name in BOX if name in raw]
    if present and len(present) < len(BOX):
        errors.append(f"a box needs all of {', '.join(BOX)}; there is only {', '.join(present)}")
    for column in (str(name) for name in raw if name not in KNOWN):
        if column.strip().lower() in KNOWN and column.strip().lower() not in raw:
            errors.append(f"column {column!r} is not known; did you mean {column.strip().lower()!r}?")
    if errors:
        raise CaseError(in_one_line(str(path), errors))


def _similar(name: str, raw: pd.DataFrame) -> str:
    close = difflib.get_close_matches(name, [str(column) for column in raw if column not in KNOWN], n=1)
    return f" (there is {close[0]!r}; rename it?)" if close else ""


def _convert(raw: pd.DataFrame, errors: list[str]) -> pd.DataFrame:
    frame = raw[[name for name in KNOWN if name in raw]].copy()
    for name in REQUIRED:
        _report(raw[name] == "", raw[name], f"{name} is empty", errors)
    # Two equal-looking spellings would be two patients, possibly on both sides of the split.
    frame["patient_id"] = raw["patient_id"].map(lambda text: unicodedata.normalize("NFC", text))
    hidden = ~raw["patient_id"].map(str.isprintable)
    _report(hidden, raw["patient_id"], "patient_id has an invisible character", errors)
    refuse_damaged_ids(raw["patient_id"], errors)
    frame["laterality"] = _read(raw, "laterality", _lookup(words.SIDES), "LEFT or RIGHT", errors)
    _convert_views(raw, frame, errors)
    frame["split"] = _read(raw, "split", _lookup(words.SPLITS), "train, validation or test", errors)
    _convert_types(raw, frame, errors)
    for name in ("label", "image_label"):
        frame[name] = _read(raw, name, _lookup(words.LABELS, np.nan), "0 or 1", errors, empty=np.nan)
    pathologies = " or ".join(PATHOLOGY_LABELS)
    frame["pathology"] = _read(raw, "pathology", _lookup(words.PATHOLOGIES), pathologies, errors)
    from_pathology = frame["pathology"].map(lambda name: PATHOLOGY_LABELS.get(name, np.nan)).astype(float)
    clash = frame["label"].notna() & from_pathology.notna() & (frame["label"] != from_pathology)
    _report(clash, frame["pathology"], "label contradicts pathology", errors)
    frame["label"] = frame["label"].fillna(from_pathology)
    frame["density"] = _read(raw, "density", words.density, "1 to 4 or A to D", errors, empty=np.nan)
    grades = "a BI-RADS assessment 0 to 6, or 4A to 4C"
    frame["assessment"] = _read(raw, "assessment", words.assessment, grades, errors, empty=np.nan)
    frame["subtlety"] = _numbers(raw, "subtlety", errors)
    _convert_boxes(raw, frame, errors)
    _report(raw.duplicated(), raw["image"], "the row is duplicated", errors)
    if "lesion_id" not in raw:
        frame["lesion_id"] = [f"{image}#{number}" for number, image in enumerate(raw["image"], 2)]
    return frame


def _convert_boxes(raw: pd.DataFrame, frame: pd.DataFrame, errors: list[str]) -> None:
    for name in BOX:
        frame[name] = _numbers(raw, name, errors)
    if "x" not in raw:
        return
    filled = (raw[list(BOX)] != "").sum(axis=1)
    _report((filled > 0) & (filled < len(BOX)), raw["x"], "a box needs x, y, width and height; some are empty", errors)
    for name in ("width", "height"):
        _report(frame[name] <= 0, raw[name], f"{name} must be above 0", errors)


def _convert_views(raw: pd.DataFrame, frame: pd.DataFrame, errors: list[str]) -> None:
    """Read views; a view that names its side, such as LCC, sets an empty laterality and must not contradict one."""
    if "view" not in raw:
        frame["view"] = ""
        return
    read = {text: words.view_and_side(text) for text in raw["view"].unique()}
    frame["view"] = raw["view"].map(lambda text: read[text][0])
    side = raw["view"].map(lambda text: read[text][1])
    clash = (side != "") & (frame["laterality"] != "") & (side != frame["laterality"])
    _report(clash, raw["view"], "view names another side than laterality", errors)
    frame["laterality"] = frame["laterality"].where(frame["laterality"] != "", side)


def _convert_types(raw: pd.DataFrame, frame: pd.DataFrame, errors: list[str]) -> None:
    """Read lesion types; words for other types become `other`, words that resemble a known one are errors."""
    if "lesion_type" not in raw:
        frame["lesion_type"] = ""
        return
    read = {text: words.lesion_type(text) for text in raw["lesion_type"].unique()}
    for text in (text for text, kind in read.items() if kind is None):
        near, known = words.near_lesion_type(text), ", ".join(LESION_TYPES)
        rule = f"lesion_type must be one of {known} (did you mean {near}?)"
        _report(raw["lesion_type"] == text, raw["lesion_type"], rule, errors)
    frame["lesion_type"] = raw["lesion_type"].map(lambda text: read[text] or "")


def _lookup(table: dict, empty: object = "") -> Callable[[str], object]:
    """Return the function that looks a cell up in a table: `empty` if it is unknown, None if it is another word."""
    return lambda text: table.get(words.word(text), empty if words.is_unknown(text) else None)


def _read(
    raw: pd.DataFrame, name: str, read: Callable[[str], object], expected: str, errors: list[str], *, empty: object = ""
) -> pd.Series:
    """Read a column's cells, `empty` for all without the column; `read` returns None for a cell that is an error."""
    if name not in raw:
        return pd.Series(empty, index=raw.index)
    values = {text: read(text) for text in raw[name].unique()}
    _report(raw[name].map(lambda text: values[text] is None), raw[name], f"{name} must be {expected}", errors)
    return raw[name].map(lambda text: empty if values[text] is None else values[text])


def _numbers(raw: pd.DataFrame, name: str, errors: list[str]) -> pd.Series:
    if name not in raw:
        return pd.Series(np.nan, index=raw.index)
    numbers = to_numbers(raw[name])
    _report((raw[name] != "") & numbers.isna(), raw[name], f"{name} must be a number", errors)
    return numbers


def _report(bad: pd.Series, values: pd.Series, rule: str, errors: list[str]) -> None:
    errors += row_faults(bad, rule, values)
