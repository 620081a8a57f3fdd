"""The store, the official tree and the glue between them: real files, real damage."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from mammo.cases.cbis_ddsm import CSV_FILES, read_official_csvs
from mammo.errors import CaseError, DataMissingError, ImageError, SplitError
from mammo.images.preprocess import PreprocessSettings
from mammo.phantom.draw import write_phantom
from mammo.prepare.contact_sheet import write_contact_sheet
from mammo.prepare.film_job import prepare_requests
from mammo.prepare.gather import check_split, gather_split, prepare_split, requests_of
from mammo.prepare.locate import locate_files
from mammo.prepare.readers import read_lesions
from mammo.prepare.records import StoreRequest
from mammo.prepare.store import Store
from mammo.settings.schema import PhantomSettings
from tests.tiny import tiny_settings, write_films

LESION = PreprocessSettings(task="lesion", image_size=(32, 32), context=2.0, margin=1.3, intensity="full")
COLUMNS = (
    "patient_id,breast_density,left or right breast,image view,abnormality id,abnormality type,mass shape,mass margins,"
    "assessment,pathology,subtlety,image file path,cropped image file path,ROI mask file path"
)
UID = "1.3.6.1.4.1.9590.100.1.2."


def write_kaggle_tree(folder: Path, *, mask_first: bool, mask_size: tuple[int, int] = (96, 80)) -> Path:
    """The Kaggle form: csv/ and jpeg/<SeriesInstanceUID>/, crop and mask in one series under either name."""
    (folder / "csv").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for (kind, part), name in CSV_FILES.items():
        lines = [COLUMNS]
        for number in range(10):
            label = "MALIGNANT" if number % 2 else "BENIGN"
            key = f"{['mass', 'calcification'].index(kind)}{['train', 'test'].index(part)}{number:02d}"
            film_uid, roi_uid = UID + f"71{key}", UID + f"72{key}"
            write_jpeg(folder / "jpeg" / film_uid / "1-1.jpg", gray_film(generator))
            mask = np.zeros(mask_size, np.uint8)
            mask[
                40 * mask_size[0] // 96 : 60 * mask_size[0] // 96, 20 * mask_size[1] // 80 : 50 * mask_size[1] // 80
            ] = 255
            crop = generator.integers(40, 200, (20, 30), np.uint8)
            files = (mask, crop) if mask_first else (crop, mask)
            write_jpeg(folder / "jpeg" / roi_uid / "1-1.jpg", files[0])
            write_jpeg(folder / "jpeg" / roi_uid / "2-1.jpg", files[1])
            case = f"{kind.title()}-{part}_P_{key}_LEFT_CC"
            roi = f"{case}_1/{UID}2/{roi_uid}"
            paths = f'{case}/{UID}1/{film_uid}/000000.dcm,"{roi}/000000.dcm\n","{roi}/000001.dcm\n"'
            lines.append(f"P_{key},3,LEFT,CC,1,{kind},ROUND,SPICULATED,4,{label},3,{paths}")
        (folder / "csv" / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def gray_film(generator: np.random.Generator) -> np.ndarray:
    canvas = np.zeros((96, 80), np.float32)
    cv2.ellipse(canvas, (0, 48), (66, 44), 0, -90, 90, 120.0, -1)
    return (canvas + generator.normal(0, 4, canvas.shape) * (canvas > 0)).clip(0, 255).astype(np.uint8)


def write_jpeg(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, 92])


@pytest.mark.parametrize("mask_first", [True, False])
def test_mask_is_found_by_content_whatever_its_name(tmp_path: Path, mask_first: bool) -> None:
    write_kaggle_tree(tmp_path / "data", mask_first=mask_first)
    settings = tiny_settings(
        tmp_path, data__kind="cbis_ddsm", data__root=str(tmp_path / "data"), data__split="official"
    )
    prepared = prepare_split(settings, gather_split(settings))
    assert len(prepared.entries) == 40
    for entry in prepared.entries:
        assert entry.film_box == pytest.approx((20, 40, 30, 20), abs=1.01)  # JPEG blurs the mask's edge by a pixel


def test_mask_of_another_size_is_mapped_and_of_another_shape_is_listed(tmp_path: Path) -> None:
    write_kaggle_tree(tmp_path / "half", mask_first=True, mask_size=(48, 40))
    settings = tiny_settings(
        tmp_path, data__kind="cbis_ddsm", data__root=str(tmp_path / "half"), data__split="official"
    )
    entry = prepare_split(settings, gather_split(settings)).entries[0]
    assert entry.film_box == pytest.approx((20, 40, 30, 20), abs=2.01)

    write_kaggle_tree(tmp_path / "odd", mask_first=True, mask_size=(96, 60))
    odd = tiny_settings(tmp_path, data__kind="cbis_ddsm", data__root=str(tmp_path / "odd"), data__split="official")
    with pytest.raises(CaseError, match=r"no case of task lesion is left.*does not have the shape of its film"):
        prepare_split(odd, gather_split(odd))
    half = tiny_settings(tmp_path, data__kind="cbis_ddsm", data__root=str(tmp_path / "half"), data__split="official")
    masks = sorted(
        path
        for path in (tmp_path / "half").rglob("*.jpg")
        if cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).shape == (48, 40)
    )
    for mask in masks[:3]:
        narrow = cv2.resize(cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE), (60, 96), interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(mask), narrow, [cv2.IMWRITE_JPEG_QUALITY, 95])
    left = prepare_split(half, gather_split(half)).split.samples
    assert len(left) == 37
    assert left.excluded["reason"].str.contains("does not have the shape of its film").sum() == 3


def test_series_in_folders_without_uids_are_found_by_their_headers(tmp_path: Path) -> None:
    root = write_phantom(tmp_path / "data", PhantomSettings(patients=8, film_size=(128, 96)), progress=False)
    plain = locate_files(read_official_csvs(root), root).frame
    series = sorted({path.parent for path in root.rglob("*.dcm")})
    for number, folder in enumerate(series):
        new = root / f"case {number}" / f"1.000000-series-{number}"
        new.parent.mkdir()
        folder.rename(new)
    found = locate_files(read_official_csvs(root), root).frame
    assert len(found) == len(plain)
    assert found["image"].map(Path).map(Path.is_file).all()
    settings = tiny_settings(tmp_path, data__kind="cbis_ddsm", data__root=str(root), data__split="official")
    assert len(prepare_split(settings, gather_split(settings)).entries) == len(plain)


def test_stray_and_broken_files_beside_a_mask_do_no_harm(tmp_path: Path) -> None:
    root = write_kaggle_tree(tmp_path / "data", mask_first=True)
    series = next((root / "jpeg").glob(UID + "72*"))
    (series / ".DS_Store").write_bytes(b"Bud1")
    (series / "3-1.jpg").write_bytes(b"no image")
    settings = tiny_settings(tmp_path, data__kind="cbis_ddsm", data__root=str(root), data__split="official")
    assert len(prepare_split(settings, gather_split(settings)).entries) == 40


def test_missing_masks_are_refused_and_not_needed_for_films(tmp_path: Path) -> None:
    root = write_kaggle_tree(tmp_path / "data", mask_first=True)
    shutil.rmtree(next((root / "jpeg").glob(UID + "72*")))
    settings = tiny_settings(tmp_path, data__kind="cbis_ddsm", data__root=str(root), data__split="official")
    with pytest.raises(DataMissingError, match="1 of 40 lesions have no film or no mask there"):
        read_lesions(settings)
    films = tiny_settings(
        tmp_path, data__kind="cbis_ddsm", data__root=str(root), data__split="official", data__task="image"
    )
    assert len(read_lesions(films).frame) == 40


def test_missing_films_are_refused_or_listed(tmp_path: Path) -> None:
    root = write_kaggle_tree(tmp_path / "data", mask_first=True)
    film = next((root / "jpeg").glob(UID + "7100*/1-1.jpg"))
    film.unlink()
    settings = tiny_settings(tmp_path, data__kind="cbis_ddsm", data__root=str(root), data__split="official")
    with pytest.raises(
        DataMissingError, match=r"1 of 40 lesions have no film or no mask there.*fetch these series again"
    ):
        read_lesions(settings)
    excluding = tiny_settings(tmp_path, data__kind="cbis_ddsm", data__root=str(root), data__bad_images="exclude")
    assert read_lesions(excluding).excluded["reason"].tolist() == ["film or mask is not on the disk"]


def filled(folder: Path) -> tuple[Store, list[StoreRequest]]:
    write_films(folder, patients=6)
    settings = tiny_settings(folder)
    requests = requests_of(gather_split(settings).samples)
    store = Store(folder / "store", LESION)
    store.fill(requests, workers=1)
    return store, requests


def test_second_run_prepares_nothing_again(tmp_path: Path) -> None:
    store, requests = filled(tmp_path)
    before = (store.folder / "index.jsonl").read_text(encoding="utf-8")
    again = Store(tmp_path / "store", LESION)
    assert len(again.usable(requests)) == len(requests)
    again.fill(requests, workers=1)
    assert (store.folder / "index.jsonl").read_text(encoding="utf-8") == before


def test_damaged_entry_is_rebuilt_alike(tmp_path: Path) -> None:
    store, requests = filled(tmp_path)
    good, _ = store.fill(requests)
    file = store.path(good[requests[0]])
    whole = file.read_bytes()
    file.write_bytes(whole[:-9] + b"x" + whole[-8:])
    again = Store(tmp_path / "store", LESION)
    assert len(again.usable(requests)) == len(requests) - 1
    again.fill(requests, workers=1)
    assert file.read_bytes() == whole


def test_film_that_changed_is_prepared_again(tmp_path: Path) -> None:
    store, requests = filled(tmp_path)
    old = store.fill(requests)[0][requests[0]]
    film = Path(requests[0].film)
    pixels = cv2.imread(str(film), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(film), pixels // 2)
    new = Store(tmp_path / "store", LESION).fill(requests, workers=1)[0][requests[0]]
    assert new.film_hash != old.film_hash
    assert new.file != old.file


def test_line_cut_by_a_kill_costs_one_image_only(tmp_path: Path) -> None:
    store, requests = filled(tmp_path)
    index = store.folder / "index.jsonl"
    index.write_bytes(index.read_bytes()[:-40])
    assert len(Store(tmp_path / "store", LESION).usable(requests)) == len(requests) - 1


def test_two_workers_make_what_one_makes(tmp_path: Path) -> None:
    write_films(tmp_path, patients=8)
    requests = requests_of(gather_split(tiny_settings(tmp_path)).samples)
    one, _ = Store(tmp_path / "one", LESION).fill(requests, workers=1)
    two, _ = Store(tmp_path / "two", LESION).fill(requests, workers=2)
    assert [one[request].crc32 for request in requests] == [two[request].crc32 for request in requests]
    assert all(
        json.loads(line)
        for line in (tmp_path / "two" / LESION.key / "index.jsonl").read_text(encoding="utf-8").splitlines()
    )


def test_unreadable_film_fails_its_own_requests_only(tmp_path: Path) -> None:
    write_films(tmp_path, patients=6)
    (tmp_path / "02_CC.png").write_bytes(b"no image")
    settings = tiny_settings(tmp_path)
    with pytest.raises(ImageError, match=r"02_CC\.png.*data\.bad_images=exclude"):
        prepare_split(settings, gather_split(settings))
    excluding = tiny_settings(tmp_path, data__bad_images="exclude")
    samples = prepare_split(excluding, gather_split(excluding)).split.samples
    assert len(samples) == 11
    assert samples.excluded["case"].tolist() == ["L02CC"]


def test_same_film_under_two_patients_in_two_parts_is_refused(tmp_path: Path) -> None:
    write_films(tmp_path)
    settings = tiny_settings(tmp_path)
    split = gather_split(settings)
    cases = split.samples.cases
    train, test = (cases["case_id"].iloc[split.rows(part)[0]] for part in ("train", "test"))
    names = {case: f"{case[1:3]}_{case[3:]}.png" for case in (train, test)}
    (tmp_path / names[test]).write_bytes((tmp_path / names[train]).read_bytes())
    with pytest.raises(SplitError, match=f"same film.*P{min(train[1:3], test[1:3])}, P{max(train[1:3], test[1:3])}"):
        prepare_split(settings, split)
    assert check_split(settings, split).leaks == []


def test_box_outside_its_film_is_reported(tmp_path: Path) -> None:
    ((_, error),) = prepare_requests([StoreRequest("nowhere.png", (0.0, 0.0, 2.0, 2.0))], LESION, tmp_path)
    assert "nowhere.png" in str(error)


def test_contact_sheet_is_a_picture_with_coloured_boxes(tmp_path: Path) -> None:
    write_films(tmp_path)
    settings = tiny_settings(tmp_path)
    write_contact_sheet(prepare_split(settings, gather_split(settings)), tmp_path / "sheet.png", count=8)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape == (2 * 242, 6 * 224, 3)
    assert (sheet == (60, 60, 235)).all(axis=2).any()
    assert (sheet == (120, 200, 90)).all(axis=2).any()
