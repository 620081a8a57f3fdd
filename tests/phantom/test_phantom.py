"""Tests the phantom: DICOM files, official CSVs, the same bytes for a seed, a task too hard for a linear model."""

import csv
import hashlib
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pydicom
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mammo.cases.cbis_ddsm import CSV_FILES, read_official_csvs
from mammo.errors import SettingsError
from mammo.phantom.draw import MARKER, write_phantom
from mammo.phantom.patients import plan_patients
from mammo.settings.schema import PhantomSettings

SMALL = PhantomSettings(patients=12, film_size=(160, 120), seed=3)
COMMON_TAIL = [
    "assessment",
    "pathology",
    "subtlety",
    "image file path",
    "cropped image file path",
    "ROI mask file path",
]
SIDE_AND_VIEW = ["left or right breast", "image view", "abnormality id", "abnormality type"]
OFFICIAL_COLUMNS = {
    "mass": ["patient_id", "breast_density", *SIDE_AND_VIEW, "mass shape", "mass margins", *COMMON_TAIL],
    "calcification": ["patient_id", "breast density", *SIDE_AND_VIEW, "calc type", "calc distribution", *COMMON_TAIL],
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom(tmp_path_factory.mktemp("phantom") / "small", SMALL, progress=False)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom(tmp_path_factory.mktemp("phantom") / "full", PhantomSettings(patients=100), progress=False)


def _hashes(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


def _films(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(folder / path) for path in read_official_csvs(folder).frame.image.unique()]


def _mask_and_crop(folder: Path, row: pd.Series) -> tuple[pydicom.Dataset, pydicom.Dataset]:
    """Return mask and crop by content: the mask has eight bits."""
    files = sorted(
        (pydicom.dcmread(folder / row.crop), pydicom.dcmread(folder / row["mask"])), key=lambda file: file.BitsAllocated
    )
    return files[0], files[1]


def test_films_are_twelve_bit_mammograms(small: Path) -> None:
    for film in _films(small):
        assert (film.BitsAllocated, film.BitsStored, film.HighBit, film.PixelRepresentation) == (16, 12, 11, 0)
        assert (film.Rows, film.Columns) == SMALL.film_size
        assert (film.Modality, film.Manufacturer, film.SeriesDescription) == (
            "MG",
            "mammo phantom",
            "full mammogram images",
        )
        assert film.PixelData == film.pixel_array.astype("<u2").tobytes()
        assert 1000 < film.pixel_array.max() <= 4095


def test_every_file_states_that_it_is_a_phantom(small: Path) -> None:
    files = [pydicom.dcmread(path) for path in small.rglob("*.dcm")]
    assert all(file.PatientID.startswith("PHANTOM-") for file in files)
    assert {file.ImageComments for file in files} == {"generated phantom, not a patient"}
    assert "phantom" in (small / MARKER).read_text()


def test_uids_are_valid_and_unique_and_name_the_folders(small: Path) -> None:
    paths = list(small.rglob("*.dcm"))
    files = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    assert len({file.SOPInstanceUID for file in files}) == len(files)
    assert all(
        file.SOPInstanceUID.is_valid and file.SeriesInstanceUID.is_valid and file.StudyInstanceUID.is_valid
        for file in files
    )
    assert all(
        path.parts[-3:-1] == (file.StudyInstanceUID, file.SeriesInstanceUID)
        for path, file in zip(paths, files, strict=True)
    )


def test_some_films_are_monochrome1_with_dark_tissue(full: Path) -> None:
    films = _films(full)
    inverted = [film.pixel_array for film in films if film.PhotometricInterpretation == "MONOCHROME1"]
    assert 0.02 < len(inverted) / len(films) < 0.2
    assert all(np.median(pixels[:20]) > 3000 for pixels in inverted)


@pytest.mark.parametrize(("lesion_type", "part"), list(CSV_FILES))
def test_csv_has_the_official_columns_and_path_form(small: Path, lesion_type: str, part: str) -> None:
    with (small / CSV_FILES[lesion_type, part]).open(newline="") as file:
        header, *rows = list(csv.reader(file))
    assert header == OFFICIAL_COLUMNS[lesion_type]
    assert rows
    broken = header.index("ROI mask file path" if lesion_type == "mass" else "cropped image file path")
    for row in rows:
        assert row[broken].endswith(".dcm\n")
        assert all(len(cell.split("/")) == 4 and (small / cell.strip()).is_file() for cell in row[-3:])


def test_crop_and_mask_share_a_series_and_the_csv_swaps_some(full: Path) -> None:
    frame = read_official_csvs(full).frame
    swapped = [
        pydicom.dcmread(full / row.crop, stop_before_pixels=True).BitsAllocated == 8 for _, row in frame.iterrows()
    ]
    assert 0.1 < np.mean(swapped) < 0.3
    assert (frame.crop.str.rsplit("/", n=1).str[0] == frame["mask"].str.rsplit("/", n=1).str[0]).all()
    first = frame.crop.str.endswith("000000.dcm")
    assert first[frame.lesion_type == "mass"].all()
    assert not first[frame.lesion_type == "calcification"].any()


def test_masks_have_two_values_and_crops_are_cut_from_the_film_at_the_mask(full: Path) -> None:
    for _, row in read_official_csvs(full).frame.iloc[::9].iterrows():
        mask, crop = _mask_and_crop(full, row)
        film = pydicom.dcmread(full / row.image)
        assert np.unique(mask.pixel_array).tolist() == [0, 255]
        assert crop.BitsStored == 16
        if film.PhotometricInterpretation == "MONOCHROME2" and mask.Rows == film.Rows:
            rows, columns = np.nonzero(mask.pixel_array)
            cut = film.pixel_array[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            np.testing.assert_array_equal(crop.pixel_array, cut * 16)


def test_few_masks_have_another_size_of_the_same_aspect(full: Path) -> None:
    shapes = [_mask_and_crop(full, row)[0].pixel_array.shape for _, row in read_official_csvs(full).frame.iterrows()]
    other = [shape for shape in shapes if shape != (512, 384)]
    assert 0 < len(other) / len(shapes) < 0.05
    assert set(other) == {(256, 192)}


def test_each_finding_is_seen_in_both_views_and_patients_stay_in_one_part(full: Path) -> None:
    frame = read_official_csvs(full).frame
    finding = frame.groupby(["patient_id", "laterality", "lesion_id"]).size()
    assert (frame.groupby(frame.lesion_id.str.replace("_CC_|_MLO_", "_", regex=True)).view.nunique() == 2).all()
    assert len(finding) == len(frame)
    assert (frame.groupby("patient_id").split.nunique() == 1).all()
    assert frame.groupby("split").patient_id.nunique()["test"] / 100 == pytest.approx(0.2, abs=0.05)
    assert frame.label.mean() == pytest.approx(0.45, abs=0.03)


def test_smallest_plan_fills_every_csv() -> None:
    for seed in range(20):
        kinds = {
            (finding.lesion_type, patient.part) for patient in plan_patients(8, seed) for finding in patient.findings
        }
        assert kinds == set(CSV_FILES)


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(small: Path, tmp_path: Path) -> None:
    again = write_phantom(tmp_path / "again", SMALL, progress=False)
    other = write_phantom(tmp_path / "other", SMALL.model_copy(update={"seed": 4}), progress=False)
    assert _hashes(again) == _hashes(small)
    assert not set(_hashes(other).values()) & set(_hashes(small).values())


def test_complete_phantom_is_kept_and_a_damaged_or_other_one_is_rewritten(tmp_path: Path) -> None:
    folder = write_phantom(tmp_path / "deep" / "phantom", SMALL, progress=False)
    before, written = _hashes(folder), (folder / MARKER).stat().st_mtime_ns
    write_phantom(folder, SMALL, progress=False)
    assert (folder / MARKER).stat().st_mtime_ns == written
    victim = next(folder.rglob("*.dcm"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"\x01")
    write_phantom(folder, SMALL, progress=False)
    assert _hashes(folder) == before
    write_phantom(folder, SMALL.model_copy(update={"seed": 5}), progress=False)
    assert _hashes(folder) != before
    assert [path.name for path in folder.parent.iterdir() if path.name != ".phantom.lock"] == ["phantom"]


def test_folder_of_other_files_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match=r"expected a phantom .* found other files"):
        write_phantom(tmp_path, SMALL, progress=False)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_too_small_film_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"expected at least \[96, 72\], got \[64, 64\]"):
        write_phantom(tmp_path / "p", SMALL.model_copy(update={"film_size": (64, 64)}), progress=False)


@cache
def _lesion_crops(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return crops [n, 64, 64] of twice the box's longer side, box statistics [n, 5], labels and patients."""
    frame = read_official_csvs(folder).frame
    crops, boxes = [], []
    for _, row in frame.iterrows():
        film = pydicom.dcmread(folder / row.image)
        pixels = film.pixel_array.astype(np.float32)
        pixels = 4095 - pixels if film.PhotometricInterpretation == "MONOCHROME1" else pixels
        mask = cv2.resize(
            _mask_and_crop(folder, row)[0].pixel_array, pixels.shape[::-1], interpolation=cv2.INTER_NEAREST
        )
        x, y, width, height = cv2.boundingRect(mask)
        side = 2 * max(width, height)
        padded = cv2.copyMakeBorder(pixels, side, side, side, side, cv2.BORDER_REFLECT)
        square = cv2.getRectSubPix(padded, (side, side), (x + width / 2 + side, y + height / 2 + side))
        crops.append(cv2.resize(square, (64, 64), interpolation=cv2.INTER_AREA))
        boxes.append((square.mean(), square.std(), width, height, width / height))
    return np.stack(crops), np.array(boxes), frame.label.to_numpy(int), frame.patient_id.to_numpy(str)


@pytest.mark.parametrize("kind", ["64 px", "32 px", "statistics"])
@pytest.mark.parametrize("strength", [1e-4, 1.0])
def test_linear_model_stays_below_auc_075_on_held_out_patients(full: Path, kind: str, strength: float) -> None:
    crops, boxes, labels, patients = _lesion_crops(full)
    pixels = (
        crops
        if kind == "64 px"
        else np.stack([cv2.resize(crop, (32, 32), interpolation=cv2.INTER_AREA) for crop in crops])
    )
    features = boxes if kind == "statistics" else pixels.reshape(len(pixels), -1)
    order = np.random.default_rng(0).permutation(np.unique(patients))
    train = np.isin(patients, order[: int(0.7 * len(order))])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300, tol=1e-3)).fit(
        features[train], labels[train]
    )
    assert roc_auc_score(labels[~train], model.decision_function(features[~train])) < 0.75
