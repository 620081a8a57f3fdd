"""One person in two spellings: found, reported, and refused where a split separates them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo.cases.audit import audit_split, likely_same, refuse_leaks
from mammo.cases.manifest import read_manifest
from mammo.cases.samples import make_samples
from mammo.cases.splits import Split
from mammo.errors import CaseError, SplitError
from mammo.evaluation.scores import gather_level
from mammo.settings.schema import DataSettings

SAME = [
    ("007", "7"), ("7", "7.0"), ("7", "7.00"), ("P_007", "p_007"), ("P_007", "P7"), ("P 007", "P-007"), ("7", "P7"),
    ("P7", "PAT7"),
    ("PATIENT_07", "P7"), ("1.5E3", "1500"), ("12E2", "1200"), ("P_00001", "P_1"), ("ann", "Ann"), ("1-12", "01-12"),
    ("7", "٧"),
]  # fmt: skip
OTHER = [
    ("A7", "B7"), ("P7", "P70"), ("1-12", "11-2"), ("1-12", "112"), ("ann", "anna"), ("7", "8"), ("7.5", "75"),
    ("S1_001", "S2_001"),
    ("P7", "P8"),
    ("6c613a14b80a8591", "6c613a14b80a8592"), ("a00b1c", "a0b01c"), ("7e1", "70"), ("1", "1,000"), ("A7", "AB7"),
    ("C7", "CT7"),
    ("1.10", "1.1"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "two"), SAME)
def test_spellings_of_one_id_are_grouped(one: str, two: str) -> None:
    assert likely_same([one, two, "12345"]) == [tuple(sorted((one, two)))]


@pytest.mark.parametrize(("one", "two"), OTHER)
def test_other_ids_are_not_grouped(one: str, two: str) -> None:
    assert likely_same([one, two]) == []


def test_number_with_several_prefixes_says_nothing_of_the_bare_one() -> None:
    assert likely_same(["7", "A7", "B7"]) == []


@pytest.mark.parametrize("damaged", ["1.02938E+17", "1,02938E+17", "1E+12", "-1.5e+09"])
def test_id_that_a_spreadsheet_damaged_is_refused(tmp_path: Path, damaged: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(f'image,patient_id,label\na.png,P1,1\nb.png,"{damaged}",0\n', encoding="utf-8")
    with pytest.raises(
        CaseError, match=r"line 3: patient_id was damaged by a spreadsheet.*export the column again as text"
    ):
        read_manifest(path)


def split_of(tmp_path: Path, ids: list[str], parts: list[str]) -> Split:
    rows = [f"{number}.png,{name},{number % 2},4,4,9,9" for number, name in enumerate(ids)]
    (tmp_path / "m.csv").write_text(
        "\n".join(["image,patient_id,label,x,y,width,height", *rows]) + "\n", encoding="utf-8"
    )
    return Split(make_samples(read_manifest(tmp_path / "m.csv"), "lesion"), np.array(parts, object))


def test_split_that_separates_one_person_is_refused_until_settings_say_that_they_differ(tmp_path: Path) -> None:
    audit = audit_split(split_of(tmp_path, ["0007", "7", "08", "8"], ["train", "test", "train", "train"]))
    assert audit.likely_same == [("0007", "7"), ("08", "8")]
    assert audit.separated == [("0007", "7")]
    assert audit.leaks == []
    with pytest.raises(
        SplitError, match=r"1 patients are likely in more than one part.*\(0007 = 7\).*data.same_patients=differ"
    ):
        refuse_leaks(audit, split_name="holdout")
    refuse_leaks(audit, split_name="holdout", same_patients="differ")


def test_persons_on_one_side_are_reported_alone(tmp_path: Path) -> None:
    audit = audit_split(split_of(tmp_path, ["0007", "7", "9", "11"], ["train", "train", "test", "validation"]))
    assert (audit.likely_same, audit.separated) == ([("0007", "7")], [])
    refuse_leaks(audit, split_name="holdout")


def film_labels(tmp_path: Path, rows: list[str], task: str) -> tuple[dict[str, int], list[str]]:
    path = tmp_path / "m.csv"
    path.write_text("\n".join(["image,patient_id,laterality,view,label,image_label", *rows]) + "\n", encoding="utf-8")
    samples = make_samples(read_manifest(path), task)
    return dict(zip(samples.cases["case_id"], samples.cases["label"], strict=True)), sorted(
        samples.excluded["reason"].unique()
    )


def test_unlabelled_lesion_turns_no_film_benign(tmp_path: Path) -> None:
    rows = [
        "a.png,P1,LEFT,CC,0,", "a.png,P1,LEFT,CC,,",  # benign and unknown: unknown
        "b.png,P2,LEFT,CC,1,", "b.png,P2,LEFT,CC,,",  # malignant and unknown: malignant
        "c.png,P3,LEFT,CC,0,0", "c.png,P3,LEFT,CC,,0",  # the film's own label says
        "d.png,P4,LEFT,CC,0,",
    ]  # fmt: skip
    rows = [f"{row}" for row in rows]
    labels, reasons = film_labels(tmp_path, rows, "image")
    assert labels == {"b.png": 1, "c.png": 0, "d.png": 0}
    assert reasons == ["film has no label, or a lesion without one and none that is malignant"]


def test_unlabelled_film_turns_no_breast_benign(tmp_path: Path) -> None:
    rows = [
        "a.png,P1,LEFT,CC,0,", "b.png,P1,LEFT,MLO,,",  # benign and unknown
        "c.png,P2,LEFT,CC,1,", "d.png,P2,LEFT,MLO,,",  # malignant and unknown
        "e.png,P3,LEFT,CC,0,", "f.png,P3,LEFT,MLO,0,",
    ]  # fmt: skip
    labels, reasons = film_labels(tmp_path, rows, "breast")
    assert labels == {"P2_LEFT": 1, "P3_LEFT": 0}
    assert "breast has another film whose label is unknown" in reasons


def pilot(malignant: int, benign: int) -> pd.DataFrame:
    """Patients of one to three cases each, as a pilot study has them."""
    rows = []
    for number in range(malignant + benign):
        for case in range(1 + number % 3):
            rows.append({"patient_id": f"P{number:03d}", "label": int(number < malignant and case == 0)})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("malignant", "benign"), [(12, 28), (6, 60), (3, 30), (40, 5), (7, 7)])
def test_small_data_sets_have_both_classes_in_each_part(malignant: int, benign: int) -> None:
    from mammo.cases.splits import _holdout

    cases = pilot(malignant, benign)
    patients = cases.groupby("patient_id")["label"].max()
    for seed in range(100):
        part = pd.Series(_holdout(cases, (0.7, 0.15, 0.15), seed), index=cases["patient_id"]).groupby(level=0).first()
        held = patients.groupby(part).agg(["sum", "size"])
        for name in ("train", "validation", "test"):
            assert held.loc[name, "sum"] >= 1, (seed, name)
            assert held.loc[name, "size"] > held.loc[name, "sum"], (seed, name)
        target = malignant * 0.15
        assert abs(held.loc["validation", "sum"] - target) <= max(1, target / 2)


def test_large_data_sets_keep_the_parts_that_they_had() -> None:
    """The hash of a draw of 300 patients before small sets were drawn otherwise: published splits stay as they are."""
    import hashlib

    from mammo.cases.splits import _holdout

    part = _holdout(pilot(120, 180), (0.7, 0.15, 0.15), 0)
    assert hashlib.sha256("".join(part).encode()).hexdigest()[:16] == "2e11589c63a3d71b"


def test_too_few_patients_of_a_class_are_told_with_what_it_takes(tmp_path: Path) -> None:
    from mammo.cases.splits import check_trainable, make_split

    ids = [f"P{number}" for number in range(1, 20)]
    split = split_of(tmp_path, ids, ["train"] * len(ids))
    cases = split.samples.cases.assign(label=[1] + [0] * (len(ids) - 1))
    samples = type(split.samples)("lesion", cases, split.samples.views, split.samples.excluded)
    with pytest.raises(
        SplitError, match="each part needs a patient with a malignant case; there are 1 such patients in all"
    ):
        check_trainable(make_split(samples, DataSettings()), 4)


def test_level_of_benign_cases_beside_an_unknown_one_is_left_out(tmp_path: Path) -> None:
    rows = [
        "a.png,P1,LEFT,CC,0,", "a.png,P1,LEFT,CC,,", "b.png,P1,LEFT,MLO,0,",  # film, breast and patient: unknown
        "c.png,P2,LEFT,CC,1,", "c.png,P2,LEFT,CC,,",  # malignant all the same
        "d.png,P3,LEFT,CC,0,", "e.png,P3,RIGHT,CC,,",  # the other breast is unknown, so is the patient
        "f.png,P4,LEFT,CC,0,",
    ]  # fmt: skip
    path = tmp_path / "m.csv"
    rows = [f"{row},4,4,9,9,{number}" for number, row in enumerate(rows)]
    head = "image,patient_id,laterality,view,label,image_label,x,y,width,height,subtlety"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    cases = make_samples(read_manifest(path), "lesion").cases
    scores = cases[["case_id", "patient_id", "breast_id", "image_id", "label", "unsettled"]].assign(score=0.5)
    found = {
        level: dict(gather_level(scores, level, task="lesion", how="max")["label"])
        for level in ("image", "breast", "patient")
    }
    assert found == {
        "image": {"b.png": 0, "c.png": 1, "d.png": 0, "f.png": 0},
        "breast": {"P2_LEFT": 1, "P3_LEFT": 0, "P4_LEFT": 0},
        "patient": {"P2": 1, "P4": 0},
    }
    assert len(gather_level(scores.drop(columns="unsettled"), "patient", task="lesion", how="max")) == 4
