"""Reads any data set given as one manifest CSV to a lesion table; all faults of the file come in one message."""

import difflib
import posixpath
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from mammo.cases.table import BOX, LATERALITIES, LESION_TYPES, PATHOLOGY_LABELS, LesionTable, check, complete, no_exclusions
from mammo.errors import CaseError, in_one_line
from mammo.tables import line_of, read_table, row_faults, to_numbers

REQUIRED = ("image", "patient_id")
ONE_OF = ("pathology", "label", "image_label")
OPTIONAL = ("lesion_id", "laterality", "view", "lesion_type", "density", "assessment", "subtlety", *BOX, "mask", "split", "source")
KNOWN = (*REQUIRED, *ONE_OF, *OPTIONAL)
EXPECTED = f"a CSV with the columns {', '.join(REQUIRED)} and {' or '.join(ONE_OF)}"
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "": "",
}


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
    faults: list[str] = []
    frame = _convert(raw, faults)
    if faults:
        raise CaseError(in_one_line(str(path), faults))
    frame["image_id"] = frame["image"].map(posixpath.normpath)  # a.png and ./a.png are one film
    folder = path.resolve().parent
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
    _report(~raw["patient_id"].map(str.isprintable), raw["patient_id"], "patient_id holds a sign that cannot be seen", faults)
    frame["laterality"] = _mapped(raw, "laterality", LATERALITIES, "LEFT or RIGHT", faults)
    frame["view"] = raw["view"].str.upper() if "view" in raw else ""
    frame["split"] = _mapped(raw, "split", SPLITS, "train, validation or test", faults, change=str.lower)
    kinds = {kind: kind for kind in LESION_TYPES}
    frame["lesion_type"] = _mapped(raw, "lesion_type", kinds, "mass or calcification", faults, change=str.lower)
    for name in ("label", "image_label"):
        frame[name] = _mapped(raw, name, {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0}, "0 or 1", faults, empty=np.nan)
    frame["pathology"] = raw["pathology"].str.upper() if "pathology" in raw else ""
    from_pathology = _mapped(raw, "pathology", PATHOLOGY_LABELS, " or ".join(PATHOLOGY_LABELS), faults, empty=np.nan)
    clash = frame["label"].notna() & from_pathology.notna() & (frame["label"] != from_pathology)
    _report(clash, frame["pathology"], "label contradicts pathology", faults)
    frame["label"] = frame["label"].fillna(from_pathology)
    for name in ("density", "assessment", "subtlety"):
        frame[name] = _numbers(raw, name, faults)
    _convert_boxes(raw, frame, faults)
    _report(raw.duplicated(), raw["image"], "the same row stands there a second time", faults)
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


def _mapped(
    raw: pd.DataFrame, name: str, table: dict, expected: str, faults: list[str], *, empty: object = "", change: Callable = str.upper
) -> pd.Series:
    if name not in raw:
        return pd.Series(empty, index=raw.index)
    text = raw[name].map(change)
    _report(~text.isin([*table, ""]), raw[name], f"{name} must be {expected}", faults)
    return text.map(lambda value: table.get(value, empty) if value else empty)


def _numbers(raw: pd.DataFrame, name: str, faults: list[str]) -> pd.Series:
    if name not in raw:
        return pd.Series(np.nan, index=raw.index)
    numbers = to_numbers(raw[name])
    _report((raw[name] != "") & numbers.isna(), raw[name], f"{name} must be a number", faults)
    return numbers


def _report(bad: pd.Series, values: pd.Series, rule: str, faults: list[str]) -> None:
    faults += row_faults(bad, rule, values)
