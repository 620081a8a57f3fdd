"""Tables as people have them: grades, spellings, paths, what spreadsheets leave behind."""

import math
import os
import unicodedata
from pathlib import Path

import pytest

from mammo.cases import words
from mammo.cases.manifest import read_manifest
from mammo.errors import CaseError

HEAD = "image,patient_id,label"
ROWS = ["a.png,P1,1", "b.png,P2,0"]


def manifest(folder: Path, text: str, *, encoding: str = "utf-8") -> Path:
    path = folder / "manifest.csv"
    path.write_bytes(text.encode(encoding))
    return path


def lines(*rows: str) -> str:
    return "\r\n".join(rows) + "\r\n"


DENSITIES = {"A": 1, "b": 2, "C": 3, "D": 4, "1": 1, "2.0": 2, "DENSITY C": 3, "ACR B": 2, "Density D": 4, "4": 4}
GRADES = {"4A": 4, "4b": 4, "4C": 4, "5": 5, "0": 0, "BI-RADS 4": 4, "BIRADS 2": 2, "bi-rads 4c": 4, "6": 6, "3.0": 3}


@pytest.mark.parametrize(("text", "value"), DENSITIES.items())
def test_density_is_read(text: str, value: float) -> None:
    assert words.density(text) == value


@pytest.mark.parametrize(("text", "value"), GRADES.items())
def test_assessment_is_read(text: str, value: float) -> None:
    assert words.assessment(text) == value


@pytest.mark.parametrize("text", ["", "-", "_", "NA", "n/a", "unknown", "?"])
def test_unknown_grades_are_no_number(text: str) -> None:
    assert math.isnan(words.density(text) or 0)
    assert math.isnan(words.assessment(text) or 0)


@pytest.mark.parametrize("text", ["E", "5", "2A", "II", "high", "A-B", "1,5"])
def test_what_is_no_density_is_not_read(text: str) -> None:
    assert words.density(text) is None


@pytest.mark.parametrize("column", ["label", "density", "assessment"])
@pytest.mark.parametrize("text", ["-1", "_1", "1-", "- 1"])
def test_minus_one_is_not_one(tmp_path: Path, column: str, text: str) -> None:
    cells = {"label": "1", column: text}
    rows = lines(",".join(["image", "patient_id", *cells]), ",".join(["a.png", "P1", *cells.values()]))
    with pytest.raises(CaseError, match=f"line 2: {column} must be"):
        read_manifest(manifest(tmp_path, rows))


@pytest.mark.parametrize("text", ["7", "2A", "4D", "A", "3$2", "malignant", "4.5"])
def test_what_is_no_assessment_is_not_read(text: str) -> None:
    assert words.assessment(text) is None


KINDS = {
    "Mass": "mass", "masses": "mass", "CALC": "calcification", "Suspicious Calcification": "calcification",
    "Focal Asymmetry": "asymmetry", "architectural distortion": "architectural_distortion",
    "Skin Thickening": "other", "": "", "-": "",
    "spiculated mass": "mass", "Mass (irregular)": "mass", "calcification cluster": "calcification",
    "No Finding": "", "CIRC": "mass",
}  # fmt: skip


@pytest.mark.parametrize(("text", "kind"), KINDS.items())
def test_kinds_of_lesion_are_read(text: str, kind: str) -> None:
    assert words.lesion_type(text) == kind


def test_mistyped_kind_of_lesion_names_the_near_one(tmp_path: Path) -> None:
    rows = lines(f"{HEAD},lesion_type", "a.png,P1,1,mas", "b.png,P2,0,mass")
    with pytest.raises(CaseError, match=r"line 2: lesion_type must be one of mass, .*did you mean mass\?.*got 'mas'"):
        read_manifest(manifest(tmp_path, rows))


PATHOLOGIES = {
    "Malignant": ("MALIGNANT", 1), "benign without callback": ("BENIGN_WITHOUT_CALLBACK", 0),
    "BENIGN-WITHOUT-CALLBACK": ("BENIGN_WITHOUT_CALLBACK", 0),
    " Benign ": ("BENIGN", 0), "Cancer": ("MALIGNANT", 1), "normal": ("NORMAL", 0),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), PATHOLOGIES.items())
def test_spellings_of_pathology_are_read(tmp_path: Path, text: str, expected: tuple[str, int]) -> None:
    frame = read_manifest(manifest(tmp_path, lines("image,patient_id,pathology", f"a.png,P1,{text}"))).frame
    assert (frame.pathology[0], frame.label[0]) == expected


def test_words_of_a_turkish_keyboard_are_read(tmp_path: Path) -> None:
    frame = read_manifest(
        manifest(
            tmp_path,
            lines("image,patient_id,pathology,laterality", "a.png,P1,BEN\u0130GN,r\u0131ght".replace("\u0131", "i")),
        )
    ).frame
    assert (frame.pathology[0], frame.laterality[0]) == ("BENIGN", "RIGHT")


def test_view_that_names_its_side_fills_in_the_side_or_contradicts_it(tmp_path: Path) -> None:
    frame = read_manifest(manifest(tmp_path, lines(f"{HEAD},view", "a.png,P1,1,LCC", "b.png,P2,0,R-MLO"))).frame
    assert frame[["view", "laterality"]].to_numpy().tolist() == [["CC", "LEFT"], ["MLO", "RIGHT"]]
    rows = lines(f"{HEAD},view,laterality", "a.png,P1,1,LCC,RIGHT")
    with pytest.raises(CaseError, match="line 2: view names another side than laterality, got 'LCC'"):
        read_manifest(manifest(tmp_path, rows))


LEFTOVERS = {
    "empty columns": lines(f"{HEAD},,,", *(f"{row},,," for row in ROWS)),
    "columns of blanks": lines(f"{HEAD}, , ", *(f"{row}, ,  " for row in ROWS)),
    "empty rows": lines(HEAD, *ROWS, *[",,"] * 40),
    "cells behind the last column": lines(HEAD, f"{ROWS[0]},,", ROWS[1]),
    "a separator line": lines("sep=,", HEAD, *ROWS),
    "a separator line of semicolons": lines("sep=;", HEAD.replace(",", ";"), *(row.replace(",", ";") for row in ROWS)),
    "row numbers of pandas": lines(f",{HEAD}", *(f"{number},{row}" for number, row in enumerate(ROWS))),
    "a byte order mark": "\ufeff" + lines(HEAD, *ROWS),
    "a byte order mark and a separator line": "\ufeff" + lines("SEP=,", HEAD, *ROWS),
}


@pytest.mark.parametrize("text", LEFTOVERS.values(), ids=LEFTOVERS)
def test_what_a_spreadsheet_leaves_behind_is_skipped(tmp_path: Path, text: str) -> None:
    frame = read_manifest(manifest(tmp_path, text)).frame
    assert frame[["patient_id", "label"]].to_numpy().tolist() == [["P1", 1], ["P2", 0]]


MISREAD = {
    "nameless column with content": (
        lines(f"{HEAD},", "a.png,P1,1,", "b.png,P2,0,7"),
        "utf-8",
        "column 4 has no name, but content in line 3",
    ),
    "UTF-16": (lines(HEAD, *ROWS), "utf-16", "is UTF-16 text .* save it as CSV UTF-8"),
    "semicolons": (lines(HEAD.replace(",", ";"), *ROWS), "utf-8", "separated by semicolons"),
    "line number behind a separator line": (
        lines("sep=,", HEAD, "a.png,P1,2"),
        "utf-8",
        "line 3: label must be 0 or 1, got '2'",
    ),
}


@pytest.mark.parametrize(("text", "encoding", "message"), MISREAD.values(), ids=MISREAD)
def test_table_of_another_form_is_one_clear_line(tmp_path: Path, text: str, encoding: str, message: str) -> None:
    with pytest.raises(CaseError, match=message) as caught:
        read_manifest(manifest(tmp_path, text, encoding=encoding))
    assert "\n" not in str(caught.value)


def test_paths_are_found_as_they_are_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    decomposed = unicodedata.normalize("NFD", "fé.png")
    for name in ("sub/a.png", "home/b.png", "home/d.png", f"sub/{decomposed}", "back\\slash.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    rows = [
        "sub\\a.png,P1,1",
        "~/b.png,P2,0",
        f"sub/{unicodedata.normalize('NFC', 'fé.png')},P3,1",
        "back\\slash.png,P4,0",
        "gone\\c.png,P5,0",
        "~\\d.png,P6,0",
    ]
    frame = read_manifest(manifest(tmp_path, lines(HEAD, *rows))).frame
    found = [os.path.relpath(image, tmp_path) for image in frame.image]
    assert found == ["sub/a.png", "home/b.png", f"sub/{decomposed}", "back\\slash.png", "gone/c.png", "home/d.png"]
