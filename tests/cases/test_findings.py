"""Findings: rows that are one abnormality in several views, their descriptors, and views that disagree."""

from pathlib import Path

import numpy as np
import pytest

from mammo.cases.cbis_ddsm import read_official_csvs
from mammo.cases.findings import count_views, descriptors, find_disagreements
from mammo.cases.manifest import read_manifest
from mammo.cases.samples import make_samples
from mammo.cases.table import LesionTable
from mammo.errors import CaseError
from tests.shared_data import SHARED, needs

HEAD = "image,patient_id,laterality,view,lesion_id,finding_id,label,shape,margins,x,y,width,height"
CSVS = SHARED / "cbis_ddsm_csv"


def write(folder: Path, *rows: str, head: str = HEAD) -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


def official_masses(part: str) -> LesionTable:
    frame = read_official_csvs(CSVS, ("mass",)).frame
    return LesionTable(frame[frame["split"] == part].reset_index(drop=True))


@needs("cbis_ddsm_csv")
def test_official_training_masses_are_782_findings_of_which_246_have_one_view() -> None:
    assert count_views(official_masses("train").frame) == {1: 246, 2: 536}


@needs("cbis_ddsm_csv")
def test_two_official_findings_have_two_labels_and_are_listed_exclusions() -> None:
    table = official_masses("train")
    listed = find_disagreements(table.frame)
    of_label = listed[listed["column"] == "label"]
    assert of_label["finding_id"].tolist() == ["mass_P_00419_LEFT_1", "mass_P_00419_LEFT_2"]
    assert of_label["values"].tolist() == ["0 / 1", "0 / 1"]
    boxed = LesionTable(table.frame.assign(x=1.0, y=1.0, width=5.0, height=5.0))
    samples = make_samples(boxed, "finding")
    assert len(samples) == 780
    reasons = samples.excluded["reason"].value_counts().to_dict()
    assert reasons == {"the views of its finding have two labels": 4}
    assert samples.cases["complete"].sum() == 534


@needs("cbis_ddsm_csv")
def test_official_descriptors_are_read_as_counted_in_the_file() -> None:
    frame = official_masses("train").frame
    assert (frame["margins"] == "SPICULATED").sum() == 281
    assert (frame["shape"] == "IRREGULAR-ARCHITECTURAL_DISTORTION").sum() == 45
    assert (frame["shape"] == "").sum() == 4
    assert (frame["margins"] == "").sum() == 43


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("IRREGULAR-ARCHITECTURAL_DISTORTION", "shape", "IRREGULAR-ARCHITECTURAL_DISTORTION"),
        ("ARCHITECTURAL_DISTORTION-irregular", "shape", "IRREGULAR-ARCHITECTURAL_DISTORTION"),
        ("ill-defined", "margins", "ILL_DEFINED"),
        ("ILL_DEFINED-SPICULATED", "margins", "ILL_DEFINED-SPICULATED"),
        ("n/a", "margins", ""),
        ("spiky", "margins", None),
        ("ROUND", "margins", None),
    ],
)
def test_descriptors_are_words_of_the_vocabulary(text: str, column: str, expected: str | None) -> None:
    assert descriptors(text, column) == expected


def test_finding_joins_two_views_and_keeps_one_view_marked(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "b.png,P1,LEFT,MLO,L2,F1,1,OVAL,SPICULATED,1,2,3,4",
        "a.png,P1,LEFT,CC,L1,F1,1,OVAL,SPICULATED,5,6,7,8",
        "c.png,P2,LEFT,CC,L3,F2,0,,,5,6,7,8",
        "d.png,P3,LEFT,CC,L4,,0,,,5,6,7,8",
    )
    samples = make_samples(read_manifest(path), "finding")
    assert samples.cases["case_id"].tolist() == ["F1", "F2", "L4"]
    assert samples.cases["complete"].tolist() == [True, False, False]
    assert samples.views["view"].tolist() == ["CC", "MLO", "CC", "CC"]
    assert samples.views["slot"].tolist() == [0, 1, 0, 0]
    assert samples.views["case"].tolist() == [0, 0, 1, 2]
    assert samples.slots == 2


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (("a.png,P1,LEFT,CC,L1,F1,1,,,1,2,3,4", "b.png,P1,RIGHT,MLO,L2,F1,1,,,1,2,3,4"), "the finding has two sides"),
        (("a.png,P1,LEFT,CC,L1,F1,1,,,1,2,3,4", "b.png,P1,,MLO,L2,F1,1,,,1,2,3,4"), "the finding has two sides"),
        (("a.png,P1,LEFT,CC,L1,F1,1,,,1,2,3,4", "b.png,P1,LEFT,MLO,L2,F1,0,,,1,2,3,4"), "the finding has two labels"),
        (("a.png,P1,LEFT,CC,L1,F1,1,,,1,2,3,4", "b.png,P2,LEFT,MLO,L2,F1,1,,,1,2,3,4"), "the finding has two patients"),
        (("a.png,P1,LEFT,CC,L1,F1,1,,,1,2,3,4", "b.png,P1,LEFT,MLO,L2,F1,1,,,,,,"), "has no box and no mask"),
        (("a.png,P1,LEFT,CC,L1,F1,1,BLOB,,1,2,3,4",), "line 2: shape must be of ROUND, OVAL, .*got 'BLOB'"),
        (("a.png,P1,LEFT,CC,L1,F1,1,,ROUND,1,2,3,4",), "line 2: margins must be of CIRCUMSCRIBED, .*got 'ROUND'"),
    ],
)
def test_contradictions_of_a_finding_are_refused(tmp_path: Path, rows: tuple[str, ...], words: str) -> None:
    with pytest.raises(CaseError, match=words):
        read_manifest(write(tmp_path, *rows))


@pytest.mark.parametrize("aspect", ["0", "-1", "9", "wide"])
def test_impossible_pixel_aspect_is_refused(tmp_path: Path, aspect: str) -> None:
    path = write(tmp_path, f"a.png,P1,1,{aspect}", head="image,patient_id,label,pixel_aspect")
    with pytest.raises(CaseError, match=r"line 2: pixel_aspect .*must be (from 0.2 to 5|a number)"):
        read_manifest(path)


def test_task_finding_without_findings_names_the_column(tmp_path: Path) -> None:
    path = write(tmp_path, "a.png,P1,LEFT,CC,1,1,2,3,4", head="image,patient_id,laterality,view,label,x,y,width,height")
    with pytest.raises(CaseError, match="no row has a finding_id"):
        make_samples(read_manifest(path), "finding")


def test_disagreements_are_listed_by_column(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "a.png,P1,LEFT,CC,L1,F1,1,OVAL,SPICULATED,1,2,3,4",
        "b.png,P1,LEFT,MLO,L2,F1,1,ROUND,,1,2,3,4",
        "c.png,P2,LEFT,CC,L3,,0,OVAL,,1,2,3,4",
    )
    listed = find_disagreements(read_manifest(path).frame)
    assert listed.to_numpy().tolist() == [["F1", "P1", "shape", "OVAL / ROUND"]]


def test_lesions_without_findings_have_none(tmp_path: Path) -> None:
    path = write(tmp_path, "a.png,P1,1,1,2,3,4", head="image,patient_id,label,x,y,width,height")
    samples = make_samples(read_manifest(path), "lesion")
    assert samples.cases["finding_id"].tolist() == [""]
    assert np.isnan(samples.views["pixel_aspect"]).all()
