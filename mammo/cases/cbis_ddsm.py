"""Reads the official case-description CSVs of CBIS-DDSM and returns a lesion table that names series, not files."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from mammo.cases.findings import VOCABULARY, descriptors
from mammo.cases.table import LATERALITIES, PATHOLOGY_LABELS, DataSetWords, LesionTable, check, complete
from mammo.errors import CaseError, DataMissingError, in_one_line
from mammo.settings.schema import DataSettings
from mammo.settings.types import CROPPED
from mammo.tables import read_table, row_faults, to_numbers

CSV_FILES = {
    ("mass", "train"): "mass_case_description_train_set.csv",
    ("mass", "test"): "mass_case_description_test_set.csv",
    ("calcification", "train"): "calc_case_description_train_set.csv",
    ("calcification", "test"): "calc_case_description_test_set.csv",
}
# Two of the files have `breast_density`, two `breast density`; spaces are replaced by underscores first.
SOURCE_COLUMNS = {
    "patient_id": "patient_id",
    "breast_density": "density",
    "left_or_right_breast": "laterality",
    "image_view": "view",
    "abnormality_id": "abnormality",
    "pathology": "pathology",
    "assessment": "assessment",
    "subtlety": "subtlety",
    "mass_shape": "shape",
    "mass_margins": "margins",
    "image_file_path": "image",
    "cropped_image_file_path": "crop",
    "ROI_mask_file_path": "mask",
}
WORDS = DataSetWords(
    data="CBIS-DDSM (Lee et al., Scientific Data 2017;4:170177); licence CC BY 3.0. It is retrospective: films of "
    "known outcome, among which cancers are far more frequent than in screening.",
    films="screen films of about 1988 to 1999 from sites in the United States, scanned: no digital mammograms, no "
    "tomosynthesis.",
    reference_standard="malignant is what pathology proved; benign is so by pathology, in some cases by other means. "
    "BENIGN_WITHOUT_CALLBACK was held benign on the screening films alone.",
)
LESION_TYPES = ("mass", "calcification")
WHERE_TO_GET = (
    "get CBIS-DDSM (163.5 GB) from The Cancer Imaging Archive or the NCI Imaging Data Commons, or its JPEG form from "
    "Kaggle (cbis-ddsm-breast-cancer-image-dataset), and put it, with its four case_description CSVs, there or set "
    "data.root"
)


def read_cbis_ddsm(data: DataSettings, root: Path) -> LesionTable:
    """Read the CSVs that settings ask for. Tasks image and breast need both types: all lesions label a film.

    Raises:
        DataMissingError: CSVs are missing.
        CaseError: A file breaks the official form, or no wanted lesion type is in CBIS-DDSM.
    """
    wanted = tuple(kind for kind in LESION_TYPES if kind in data.lesion_types or data.task not in CROPPED)
    if not wanted:
        given = ", ".join(data.lesion_types)
        raise CaseError(f"data.lesion_types: CBIS-DDSM has only {' and '.join(LESION_TYPES)}, got {given}")
    return read_official_csvs(root, wanted)


def _csv_folder(root: Path) -> Path:
    """Find the folder of the four CSVs: `root` itself or its `csv/` (Kaggle).

    Raises:
        DataMissingError: They are in neither; the message says where to get the data.
    """
    for folder in (root, root / "csv"):
        if any((folder / name).is_file() for name in CSV_FILES.values()):
            return folder
    searched = "searched for mass_case_description_train_set.csv and similar names, also in csv/"
    endings = (".dcm", ".jpg", ".jpeg", ".png")
    if root.is_dir() and any(path.is_dir() or path.suffix.lower() in endings for path in root.iterdir()):
        advice = "fetch them from The Cancer Imaging Archive, or set data.root to the folder that has them"
        raise DataMissingError(f"{root}: has files, but not the CSVs of CBIS-DDSM ({searched}); {advice}")
    there = "no CBIS-DDSM there" if root.is_dir() else "there is no such folder, and so no CBIS-DDSM"
    raise DataMissingError(f"{root}: {there} ({searched}); {WHERE_TO_GET}")


def read_official_csvs(root: Path, lesion_types: Iterable[str] = LESION_TYPES) -> LesionTable:
    """Read the CSVs of the wanted lesion types.

    `image`, `crop` and `mask` of the table are the CSV's paths without line breaks. `image_id` is patient, side and
    view, because 29 views are in both the mass and the calcification files under different series.

    Raises:
        DataMissingError: CSVs are missing.
        CaseError: A file breaks the official form.
    """
    folder = _csv_folder(root)
    wanted = ((kind, part) for kind in lesion_types for part in ("train", "test"))
    frame = pd.concat([_read_one(folder / CSV_FILES[one], *one) for one in wanted], ignore_index=True)
    check(frame, str(folder))
    return LesionTable(frame)


def _read_one(path: Path, kind: str, part: str) -> pd.DataFrame:
    if not path.is_file():
        advice = "fetch it from The Cancer Imaging Archive, or set data.lesion_types"
        raise DataMissingError(f"{path}: missing beside the other CSVs; {advice}")
    raw = read_table(path, "a case-description CSV of CBIS-DDSM", error=CaseError)
    raw.columns = raw.columns.str.strip().str.replace(" ", "_")
    if kind != "mass":  # the calcification files have other descriptors
        raw[["mass_shape", "mass_margins"]] = ""
    missing = [name for name in SOURCE_COLUMNS if name not in raw]
    if missing:
        raise CaseError(in_one_line(str(path), [f"column {name} is missing" for name in missing]))
    frame = raw[list(SOURCE_COLUMNS)].rename(columns=SOURCE_COLUMNS)
    frame = frame.apply(lambda column: column.str.strip())
    frame.attrs = raw.attrs  # the lines of the rows
    _check_values(frame, path)
    frame["laterality"] = frame["laterality"].map(LATERALITIES)
    frame["label"] = frame["pathology"].map(PATHOLOGY_LABELS)
    frame["lesion_type"], frame["split"] = kind, part
    frame["source"] = f"CBIS-DDSM {kind} {part}"
    frame["image_id"] = frame["patient_id"] + "_" + frame["laterality"] + "_" + frame["view"]
    frame["lesion_id"] = kind + "_" + frame["image_id"] + "_" + frame["abnormality"]
    breast = frame["patient_id"] + "_" + frame["laterality"]
    frame["finding_id"] = kind + "_" + breast + "_" + frame["abnormality"]
    frame["image"] = frame["image"].str.replace("\\", "/")
    for column in ("density", "assessment", "subtlety"):
        frame[column] = to_numbers(frame[column])
    for column in VOCABULARY:
        frame[column] = frame[column].map(lambda text, column=column: descriptors(text, column))
    return complete(frame)


def _check_values(frame: pd.DataFrame, path: Path) -> None:
    errors = []
    for column, allowed in (("laterality", LATERALITIES), ("pathology", PATHOLOGY_LABELS), ("view", ("CC", "MLO"))):
        rule = f"{column} must be one of {', '.join(allowed)}"
        errors += row_faults(~frame[column].isin(list(allowed)), rule, frame[column])
    for column, known in VOCABULARY.items():
        unknown = frame[column].map(lambda text, column=column: descriptors(text, column) is None)
        rule = f"{column} must be of {', '.join(known)}, several joined by hyphens"
        errors += row_faults(unknown, rule, frame[column])
    errors += row_faults(frame["patient_id"] == "", "patient_id is empty", frame["patient_id"])
    broken = (frame["assessment"] != "") & ~to_numbers(frame["assessment"]).isin(range(7))
    errors += row_faults(broken, "assessment must be a BI-RADS category 0 to 6", frame["assessment"])
    if errors:
        raise CaseError(in_one_line(str(path), errors))
