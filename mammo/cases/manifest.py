"""Reads a data set given as one manifest CSV and returns a lesion table; all errors of the file are in one message."""

import difflib
import posixpath
import re
import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from mammo.cases import words
from mammo.cases.findings import VOCABULARY, descriptors, finding_of
from mammo.cases.table import (
    BOX,
    LEAST_ASPECT,
    LESION_TYPES,
    PATHOLOGY_LABELS,
    DataSetWords,
    LesionTable,
    check,
    complete,
)
from mammo.errors import CaseError, in_one_line
from mammo.tables import read_table, row_faults, to_numbers

WORDS = DataSetWords(
    data="the user's own, named by a manifest; the licence of those data applies.",
    unknown_because="the data are the user's own",
)
REQUIRED = ("image", "patient_id")
ONE_OF = ("pathology", "label", "image_label")
DETAILS = ("lesion_id", "finding_id", "laterality", "view", "lesion_type", "density", "assessment", "subtlety")
KNOWN = (*REQUIRED, *ONE_OF, *DETAILS, *VOCABULARY, "pixel_aspect", *BOX, "mask", "split", "source")
DAMAGED = re.compile(r"[+-]?\d(?:[.,]\d+)?[eE]\+\d{1,3}")  # 1.02938E+17, as spreadsheets write an id of many digits
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
    for column in (name for name in ("image", "mask") if name in raw):
        raw[column] = [words.path_as_meant(name, folder) for name in raw[column]]
    errors: list[str] = []
    frame = _convert(raw, errors)
    if errors:
        raise CaseError(in_one_line(str(path), errors))
    frame["image_id"] = frame["image"].map(posixpath.normpath)  # a.png and ./a.png are one film
    frame = complete(frame)
    for column in ("image", "mask"):
        frame[column] = [str(folder / name) if name else "" for name in frame[column]]
    check(frame, str(path), raw)
    _check_findings(frame, str(path), raw)
    return LesionTable(frame)


def _check_findings(frame: pd.DataFrame, where: str, lines: pd.DataFrame) -> None:
    """Refuse findings that are in several breasts or have several labels, and their views without a box or mask."""
    named = frame["finding_id"] != ""
    finding = finding_of(frame)
    errors = []
    for column, what in (("patient_id", "patients"), ("laterality", "sides"), ("label", "labels")):
        # An empty side beside LEFT would be another breast.
        known = frame[column] if column == "laterality" else frame[column].replace("", np.nan)
        several = named & (known.groupby(finding).transform("nunique") > 1)
        errors += row_faults(several, f"the finding has two {what}", frame["finding_id"], lines)
    placed = frame["x"].notna() | (frame["mask"] != "")
    placeless = named & ~placed & placed.groupby(finding).transform("any")
    errors += row_faults(placeless, "this view of the finding has no box and no mask", frame["finding_id"], lines)
    if errors:
        raise CaseError(in_one_line(where, errors))


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
    """Return the columns `KNOWN` as the lesion table has them; an absent column reads like one of empty cells."""
    repeated = raw.duplicated()
    if "lesion_id" not in raw:
        raw["lesion_id"] = [f"{image}#{number}" for number, image in enumerate(raw["image"], 2)]
    for name in KNOWN:
        if name not in raw:
            raw[name] = ""
    frame = raw[list(KNOWN)].copy()
    for name in REQUIRED:
        errors += row_faults(raw[name] == "", f"{name} is empty", raw[name])
    # Two equal-looking spellings would be two patients, possibly on both sides of the split.
    frame["patient_id"] = raw["patient_id"].map(lambda text: unicodedata.normalize("NFC", text))
    hidden = ~raw["patient_id"].map(str.isprintable)
    errors += row_faults(hidden, "patient_id has an invisible character", raw["patient_id"])
    damaged = raw["patient_id"].map(lambda text: DAMAGED.fullmatch(text) is not None)
    rule = "patient_id was damaged by a spreadsheet, which rounds long numbers; export the column again as text"
    errors += row_faults(damaged, rule, raw["patient_id"])
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
    errors += row_faults(clash, "label contradicts pathology", frame["pathology"])
    frame["label"] = frame["label"].fillna(from_pathology)
    frame["density"] = _read(raw, "density", words.density, "1 to 4 or A to D", errors, empty=np.nan)
    grades = "a BI-RADS assessment 0 to 6, or 4A to 4C"
    frame["assessment"] = _read(raw, "assessment", words.assessment, grades, errors, empty=np.nan)
    frame["subtlety"] = _numbers(raw, "subtlety", errors)
    for name, known in VOCABULARY.items():
        expected = f"of {', '.join(known)}, several joined by hyphens"
        frame[name] = _read(raw, name, partial(descriptors, column=name), expected, errors)
    frame["pixel_aspect"] = _numbers(raw, "pixel_aspect", errors)
    unlikely = ~frame["pixel_aspect"].fillna(1.0).between(LEAST_ASPECT, 1 / LEAST_ASPECT)
    rule = f"pixel_aspect (a pixel's width over its height) must be from {LEAST_ASPECT:g} to {1 / LEAST_ASPECT:g}"
    errors += row_faults(unlikely, rule, raw["pixel_aspect"])
    _convert_boxes(raw, frame, errors)
    errors += row_faults(repeated, "the row is duplicated", raw["image"])
    return frame


def _convert_boxes(raw: pd.DataFrame, frame: pd.DataFrame, errors: list[str]) -> None:
    for name in BOX:
        frame[name] = _numbers(raw, name, errors)
    filled = (raw[list(BOX)] != "").sum(axis=1)
    partial = (filled > 0) & (filled < len(BOX))
    errors += row_faults(partial, "a box needs x, y, width and height; some are empty", raw["x"])
    for name in ("width", "height"):
        errors += row_faults(frame[name] <= 0, f"{name} must be above 0", raw[name])


def _convert_views(raw: pd.DataFrame, frame: pd.DataFrame, errors: list[str]) -> None:
    """Read views; a view that names its side, such as LCC, sets an empty laterality and must not contradict one."""
    read = {text: words.view_and_side(text) for text in raw["view"].unique()}
    frame["view"] = raw["view"].map(lambda text: read[text][0])
    side = raw["view"].map(lambda text: read[text][1])
    clash = (side != "") & (frame["laterality"] != "") & (side != frame["laterality"])
    errors += row_faults(clash, "view names another side than laterality", raw["view"])
    frame["laterality"] = frame["laterality"].where(frame["laterality"] != "", side)


def _convert_types(raw: pd.DataFrame, frame: pd.DataFrame, errors: list[str]) -> None:
    """Read lesion types; words for other types become `other`, words that resemble a known one are errors."""
    read = {text: words.lesion_type(text) for text in raw["lesion_type"].unique()}
    for text in (text for text, kind in read.items() if kind is None):
        rule = f"lesion_type must be one of {', '.join(LESION_TYPES)} (did you mean {words.near_lesion_type(text)}?)"
        errors += row_faults(raw["lesion_type"] == text, rule, raw["lesion_type"])
    frame["lesion_type"] = raw["lesion_type"].map(lambda text: read[text] or "")


def _lookup(table: dict, empty: object = "") -> Callable[[str], object]:
    """Return the function that looks a cell up in a table: `empty` if it is unknown, None if it is another word."""
    return lambda text: table.get(words.word(text), empty if words.is_unknown(text) else None)


def _read(
    raw: pd.DataFrame, name: str, read: Callable[[str], object], expected: str, errors: list[str], *, empty: object = ""
) -> pd.Series:
    """Read a column's cells; `read` returns None for a cell that is an error, which then counts as `empty`."""
    values = {text: read(text) for text in raw[name].unique()}
    wrong = raw[name].map(lambda text: values[text] is None)
    errors += row_faults(wrong, f"{name} must be {expected}", raw[name])
    return raw[name].map(lambda text: empty if values[text] is None else values[text])


def _numbers(raw: pd.DataFrame, name: str, errors: list[str]) -> pd.Series:
    numbers = to_numbers(raw[name])
    errors += row_faults((raw[name] != "") & numbers.isna(), f"{name} must be a number", raw[name])
    return numbers
