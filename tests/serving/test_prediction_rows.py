"""Predictions: a row for each requested film or lesion, in the requested order, with the cells of the given table."""

import csv
import io
import os
import shutil
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mammo.errors import DataMissingError, ImageError
from mammo.images.decode import FILM, kind_of, read_film
from mammo.inference.load import load_run
from mammo.prepare.gather import gather_split, prepare_split
from mammo.prepare.readers import check_places
from mammo.runs import writing
from mammo.serving.score_file import as_bytes, header
from tests.images.dicom_files import film_dataset, ramp, saved
from tests.processes import call, command, refused, trained_run
from tests.tiny import add_findings, tiny_settings, write_films

SMALL = {
    "model__backbone": "vision:mobilenet_v3_small",
    "training__epochs": 1,
    "augmentation": [],
    "evaluation": {"resamples": 100},
}


@pytest.fixture(scope="module")
def exports(films: Path) -> dict[str, Path]:
    """An exported network for lesions, and one for films."""
    made = {}
    for task in ("lesion", "image"):
        run = trained_run(films, task, data__task=task, **SMALL)
        done = call(command("export", run, "--out", films / f"export_{task}", "--images", "8"))
        assert done.returncode == 0, done.stderr
        made[task] = films / f"export_{task}"
    return made


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_table_is_returned_row_by_row_with_its_columns(exports: dict[str, Path], films: Path, tmp_path: Path) -> None:
    table = tmp_path / "boxes.csv"
    lines = [
        "reader,image,x,y,width,height,score",
        "A,00_CC.png,20,20,16,16,9",
        "A,01_CC.png,20,20,16,16,8",
        "B, 00_CC.png ,30,20,16,16,7",
    ]
    table.write_text("\n".join([*lines, lines[2].replace("A,", "B,")]) + "\n", encoding="utf-8")
    for name in ("00_CC.png", "01_CC.png"):
        shutil.copy(films / name, tmp_path)
    done = call(command("predict", "--boxes", table, "--export", exports["lesion"], "--out", tmp_path / "scores.csv"))
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "scores.csv")
    assert [(row["reader"], Path(row["file"]).name, row["x"], row["given_score"]) for row in rows] == [
        ("A", "00_CC.png", "20", "9"),
        ("A", "01_CC.png", "20", "8"),
        ("B", "00_CC.png", "30", "7"),
        ("B", "01_CC.png", "20", "8"),
    ]
    assert rows[1]["score"] == rows[3]["score"] != rows[0]["score"]
    printed = call(command("predict", "--boxes", table, "--export", exports["lesion"], "--workers", "1"))
    assert printed.stdout.encode() == (tmp_path / "scores.csv").read_bytes()


def test_film_named_twice_has_two_rows(exports: dict[str, Path], films: Path) -> None:
    names = [films / "01_CC.png", films / "00_CC.png", films / "01_CC.png"]
    done = call(command("predict", *names, "--export", exports["image"], "--workers", "1"))
    assert [row["file"] for row in csv.DictReader(done.stdout.splitlines())] == list(map(str, names))


def test_one_box_is_not_used_for_several_films(exports: dict[str, Path], films: Path) -> None:
    two = (films / "00_CC.png", films / "01_CC.png", "--box", "20,20,16,16")
    refused(
        call(command("predict", *two, "--export", exports["lesion"])),
        "expected a box for each film, or --boxes CSV with a row for each lesion; got 2 films and 1 boxes",
    )
    refused(
        call(command("predict", *two, "--run", next((films / "lesion" / "lesion").glob("2*")))),
        "expected a box for each film",
    )


@pytest.fixture(scope="module")
def joined(films: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run and an export of a lesion network whose validation part had findings."""
    folder = tmp_path_factory.mktemp("findings")
    write_films(folder)
    add_findings(folder)
    run = trained_run(folder, "joined", **SMALL)
    done = call(command("export", run, "--out", folder / "export", "--images", "8"))
    assert done.returncode == 0, done.stderr
    return run, folder / "export"


def odds(score: str) -> float:
    return np.log(float(score)) - np.log1p(-float(score))


def test_views_of_a_finding_are_joined_in_tables(joined: tuple[Path, Path], tmp_path: Path) -> None:
    run, export = joined
    folder = export.parent
    lines = (folder / "manifest.csv").read_text(encoding="utf-8").splitlines()[:6]
    lines[5] = lines[5].replace(",FP02,", ",,")  # a lesion of no finding
    table = folder / "some.csv"
    table.write_text("\n".join([lines[0], lines[1], lines[3], lines[2], *lines[4:]]) + "\n", encoding="utf-8")
    done = call(command("predict", "--boxes", table, "--export", export, "--workers", "1"))
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["finding_id"] for row in rows] == ["FP00", "FP01", "FP00", "FP01", ""]
    assert [row["finding_views"] for row in rows] == ["2", "2", "2", "2", ""]
    decision = load_run(run).decision
    mean = (odds(rows[0]["score"]) + odds(rows[2]["score"])) / 2 / decision.finding_temperature
    assert odds(rows[0]["finding_score"]) == pytest.approx(mean, abs=1e-9)
    assert rows[0]["finding_score"] == rows[2]["finding_score"] != rows[1]["finding_score"]
    called = float(rows[0]["finding_score"]) >= decision.points[0].thresholds["finding"]
    assert rows[0]["finding_called"] == ("yes" if called else "no")


def test_old_finding_columns_of_a_table_are_kept_as_given(joined: tuple[Path, Path], tmp_path: Path) -> None:
    _, export = joined
    shutil.copy(export.parent / "00_CC.png", tmp_path)
    table = tmp_path / "boxes.csv"
    table.write_text("image,x,y,width,height,finding_id,finding_score\n00_CC.png,20,20,16,16,F,0.987\n")
    (row,) = csv.DictReader(io.StringIO(call(command("predict", "--boxes", table, "--export", export)).stdout))
    assert row["given_finding_score"] == "0.987"
    assert row["finding_score"] != "0.987"


def test_rows_of_two_patients_are_no_finding(joined: tuple[Path, Path], tmp_path: Path) -> None:
    _, export = joined
    table = tmp_path / "boxes.csv"
    rows = "a.png,20,20,16,16,1,P1\nb.png,20,20,16,16,1,P2\n"
    table.write_text("image,x,y,width,height,finding_id,patient_id\n" + rows)
    refused(
        call(command("predict", "--boxes", table, "--export", export)),
        "line 2: finding_id joins rows of different patient_id",
    )


def test_a_finding_with_an_unreadable_view_is_scored_by_the_other(joined: tuple[Path, Path], tmp_path: Path) -> None:
    _, export = joined
    shutil.copy(export.parent / "00_CC.png", tmp_path)
    (tmp_path / "bad.png").write_bytes(b"no image")
    table = tmp_path / "boxes.csv"
    table.write_text("image,x,y,width,height,finding_id\n00_CC.png,20,20,16,16,F\nbad.png,20,20,16,16,F\n")
    done = call(command("predict", "--boxes", table, "--export", export))
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(row["finding_views"], row["error"] == "") for row in rows] == [("1", True), ("1", False)]


def test_films_and_boxes_in_turn_are_views_of_one_finding(joined: tuple[Path, Path]) -> None:
    run, export = joined
    films = export.parent
    asked = (films / "00_CC.png", "--box", "20,20,16,16", films / "00_MLO.png", "--box", "25,30,16,16")
    by_run = call(command("predict", *asked, "--run", run))
    assert by_run.returncode == 0, by_run.stderr
    line = next(line for line in by_run.stdout.splitlines() if line.startswith("the finding, by 2 views"))
    by_export = call(command("predict", *asked, "--export", export))
    rows = list(csv.DictReader(io.StringIO(by_export.stdout)))
    assert f"probability of malignancy {float(rows[0]['finding_score']):.3f}; " in line
    assert ("not called" in line) == (rows[0]["finding_called"] == "no")


def test_pixel_aspect_is_honoured_by_option_and_column(joined: tuple[Path, Path], tmp_path: Path) -> None:
    _, export = joined
    shutil.copy(export.parent / "00_CC.png", tmp_path)
    table = tmp_path / "boxes.csv"
    table.write_text("image,x,y,width,height,pixel_aspect\n00_CC.png,20,20,16,16,0.6\n")
    by_column = call(command("predict", "--boxes", table, "--export", export))
    film = (tmp_path / "00_CC.png", "--box", "20,20,16,16", "--export", export)
    by_option = call(command("predict", *film, "--pixel-aspect", "0.6"))
    square = call(command("predict", *film))
    scores = [next(csv.DictReader(io.StringIO(done.stdout)))["score"] for done in (by_column, by_option, square)]
    assert scores[0] == scores[1] != scores[2]
    refused(call(command("predict", *film, "--pixel-aspect", "0")), "expected a pixel's width over its height")
    table.write_text("image,x,y,width,height,pixel_aspect\n00_CC.png,20,20,16,16,0\n")
    refused(
        call(command("predict", "--boxes", table, "--export", export)), "line 2: pixel_aspect must be from 0.2 to 5"
    )


def test_replaced_film_is_scored_again_when_a_prediction_continues(
    exports: dict[str, Path], films: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    for name in ("00_CC.png", "01_CC.png"):
        shutil.copy(films / name, folder)
    line = command("predict", folder, "--export", exports["image"], "--out", tmp_path / "scores.csv", "--workers", "1")
    (folder / "02.png").write_bytes(b"no image")
    assert call(line).returncode == 2
    before = {Path(row["file"]).name: row["score"] for row in rows_of(tmp_path / "scores.csv")}
    part = tmp_path / "scores.csv"  # a killed command leaves rows with stamps, and the network that made them
    stamps = {name: "-".join(str(number) for number in looks(folder / name)) for name in ("00_CC.png", "01_CC.png")}
    kept = [[*list(row.values())[:10], stamps.get(Path(row["file"]).name, "")] for row in rows_of(part)]
    part.unlink()
    with (tmp_path / "scores.csv.part").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(kept[:2])
    network = (
        (exports["image"] / "export_description.json")
        .read_text(encoding="utf-8")
        .split('"network_sha256": "')[1]
        .split('"')[0]
    )
    (tmp_path / "scores.csv.part.of").write_text(f'{{"made_by": "{network} auto"}}', encoding="utf-8")
    shutil.copy(films / "05_MLO.png", folder / "01_CC.png")
    (folder / "02.png").unlink()
    done = call(line)
    assert done.returncode == 0, done.stderr
    assert "1 of 2 films are scored already" in done.stderr
    after = {Path(row["file"]).name: row["score"] for row in rows_of(tmp_path / "scores.csv")}
    assert after["00_CC.png"] == before["00_CC.png"]
    assert after["01_CC.png"] != before["01_CC.png"]


def looks(path: Path) -> tuple[int, int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


@pytest.mark.parametrize("task", ["lesion", "image"])
def test_predictions_are_judged_with_the_labels_of_a_manifest(
    exports: dict[str, Path], films: Path, tmp_path: Path, task: str
) -> None:
    asked = ("--boxes", films / "manifest.csv") if task == "lesion" else sorted(films.glob("*.png"))
    out = tmp_path / "scores.csv"
    assert call(command("predict", *asked, "--export", exports[task], "--out", out)).returncode == 0
    refused(
        call(command("eval", "--scores", out, "--task", task)),
        "is a table of mammo predict",
        "--labels manifest.csv",
    )
    done = call(
        command(
            "eval", "--scores", out, "--task", task, "--labels", films / "manifest.csv", "--out", tmp_path / "judged"
        )
    )
    assert done.returncode == 0, done.stderr
    assert f"{task}" in done.stdout
    assert "48 (24)" in done.stdout


def test_folder_of_many_kinds_of_files_is_predicted(exports: dict[str, Path], films: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cd"
    (folder / "deep").mkdir(parents=True)
    shutil.copy(films / "00_CC.png", folder / "deep" / "a.png")
    film = cv2.imread(str(films / "00_CC.png"), cv2.IMREAD_UNCHANGED)
    Image.fromarray(film).save(folder / "b.tif")
    report = film_dataset(ramp(), Rows=None, Columns=None, PixelData=None, PhotometricInterpretation=None)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.50"
    saved(report, folder / "SR0001")
    (folder / "notes.txt").write_text("no film", encoding="utf-8")
    np.save(folder / "c.npy", film)
    os.symlink(tmp_path / "cd", folder / "deep" / "loop")
    os.symlink(films / "lesion", folder / "linked")
    done = call(command("predict", folder, "--export", exports["image"], "--workers", "1"))
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [row["file"] for row in rows][:2] == [str(folder / "b.tif"), str(folder / "deep" / "a.png")]
    assert rows[0]["score"] == rows[1]["score"]
    for line in (
        "skipped: 1 × DICOM structured report",
        "skipped: 1 × NumPy array (a film? convert it",
        "loop: a link to a folder that was",
    ):
        assert line in done.stderr


def test_tiff_in_which_zero_is_white_is_inverted(tmp_path: Path) -> None:
    pixels = (np.arange(64, dtype=np.uint16) * 1000).reshape(8, 8)
    Image.fromarray(pixels).save(tmp_path / "black.tif")
    Image.fromarray(65535 - pixels).save(tmp_path / "white.tif", tiffinfo={262: 0})
    assert np.array_equal(read_film(tmp_path / "black.tif").pixels, pixels)
    assert np.array_equal(read_film(tmp_path / "white.tif").pixels, pixels)


def test_tiff_without_polarity_or_cut_short_is_refused(tmp_path: Path) -> None:
    pixels = np.arange(10_000, dtype=np.uint16).reshape(100, 100)
    Image.fromarray(pixels).save(tmp_path / "whole.tif", tiffinfo={278: 10})
    whole = bytearray((tmp_path / "whole.tif").read_bytes())
    for tag, words in ((262, "PhotometricInterpretation .tag 262. is missing"), (273, "damaged or cut short")):
        content = whole.copy()
        at = content.index(struct.pack("<H", tag), struct.unpack("<I", content[4:8])[0])
        if tag == 262:
            content[at : at + 2] = struct.pack("<H", 65_000)
        else:
            content[at + 4 : at + 8] = struct.pack("<I", 5)
        (tmp_path / "a.tif").write_bytes(content)
        with pytest.raises(ImageError, match=words):
            read_film(tmp_path / "a.tif")


def test_cell_with_a_lone_carriage_return_stays_one_cell() -> None:
    text = as_bytes([["a\rb", "c"], ["d", "e"]]).decode()
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["a\rb", "c"], ["d", "e"]]


def test_columns_of_an_earlier_prediction_get_other_names() -> None:
    names = header(["image", "x", "given_x", "score"])
    assert len(names) == len(set(names))
    assert names[-4:] == ["image", "given_x", "given_given_x", "given_score"]


def test_file_with_the_ending_of_a_film_has_a_row_whatever_its_content(tmp_path: Path) -> None:
    for name, content in (
        ("a.dcm", b"PK\x03\x04" + bytes(200)),
        ("b.png", b"BM" + bytes(200)),
        ("c.zip", b"PK\x03\x04" + bytes(200)),
    ):
        (tmp_path / name).write_bytes(content)
    assert [kind_of(tmp_path / name) for name in ("a.dcm", "b.png", "c.zip")] == [FILM, FILM, "ZIP"]


def test_complete_store_of_another_user_is_read(tmp_path: Path) -> None:
    write_films(tmp_path)
    settings = tiny_settings(tmp_path, data__store=str(tmp_path / "store"))
    prepare_split(settings, gather_split(settings))
    os.chmod(tmp_path / "store", 0o555)
    try:
        check_places(settings)
        assert len(prepare_split(settings, gather_split(settings)).entries) == 48
    finally:
        os.chmod(tmp_path / "store", 0o755)


def test_colour_picture_has_a_warning(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (200, 90, 40)).save(tmp_path / "photo.png")
    Image.new("RGB", (64, 64), (90, 90, 90)).save(tmp_path / "gray.png")
    assert read_film(tmp_path / "photo.png").remarks == ("colour",)
    assert read_film(tmp_path / "gray.png").remarks == ()


EARLY = {
    "weights": (("-o", "model.pretrained=/nowhere/w.pdparams"), "/nowhere/w.pdparams: the weight file is not there"),
    "backbone": (("-o", "model.backbone=ResNet51_vd"), "unknown name 'ResNet51_vd'; did you mean ResNet50_vd?"),
    "stages": (("-o", "training.freeze.until_epoch=[1,1,1,1,1,1,1,1]"), "has 5 stages, got 8 values"),
    "output": (("-o", "output=/proc/nonexistent/out"), "/proc/nonexistent/out: cannot be written"),
    "store": (("-o", "data.store=/proc/nonexistent/store"), "/proc/nonexistent/store: cannot be written"),
    "cluster": (("-o", "data.cluster=nowhere"), "expected dask://HOST:PORT"),
}


@pytest.mark.parametrize(("options", "words"), EARLY.values(), ids=EARLY)
def test_wrong_settings_are_refused_before_a_film_is_drawn(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    where = () if any("output=" in option for option in options) else ("-o", f"output={tmp_path / 'out'}")
    done = call(command("train", "-c", "configs/quickstart.yaml", *where, *options))
    refused(done, words)
    assert "phantom" not in done.stdout
    assert not list(tmp_path.glob("out/store/phantom*"))


def test_unfinished_run_has_no_network_to_load(films: Path, tmp_path: Path) -> None:
    run = tmp_path / "quickstart" / "now"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("{}", encoding="utf-8")
    with pytest.raises(
        DataMissingError, match=r"holds no network yet: it was stopped before its first epoch ended; go on with"
    ):
        load_run(run)
    with (
        writing(run),
        pytest.raises(
            DataMissingError, match=r"holds no network yet: it is being trained \(\d+ on .*\); wait for its first"
        ),
    ):
        load_run(run)


def test_tilde_in_settings_and_options_is_the_home_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_films(tmp_path / "data")
    (tmp_path / "mine.yaml").write_text(
        "data: {kind: manifest, manifest: ~/data/manifest.csv}\noutput: ~/runs\n", encoding="utf-8"
    )
    done = call(command("audit", "-c", tmp_path / "mine.yaml"), environment={"HOME": str(tmp_path)}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = call(command("audit", "--config=~/mine.yaml"), environment={"HOME": str(tmp_path)}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "~").exists()
