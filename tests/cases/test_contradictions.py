"""Manifests that contradict themselves: what is refused, and what is counted; each through a real file."""

from pathlib import Path

import pytest

from mammo.cases.audit import audit_split, refuse_leaks
from mammo.cases.manifest import read_manifest
from mammo.cases.splits import Split, check_trainable, split_lesions
from mammo.errors import CaseError, SplitError
from mammo.prepare.readers import read_lesions
from mammo.settings.schema import DataSettings, Settings
from tests.cases.test_cases import write_manifest


def split_of(path: Path, task: str = "lesion", kind: str = "manifest") -> Split:
    data = DataSettings(kind="manifest", manifest=path, split=kind, task=task)
    return split_lesions(read_lesions(Settings(data=data)), data)


@pytest.mark.parametrize("task", ["lesion", "image", "breast"])
def test_patient_on_two_sides_is_refused_under_every_task(tmp_path: Path, task: str) -> None:
    rows = [f"{n}.png,P{n},LEFT,CC,L{n},{n % 2},1,2,3,4,{'train' if n < 8 else 'test'}" for n in range(12)]
    rows.append("other.png,P3,LEFT,MLO,L99,1,1,2,3,4,test")
    split = split_of(write_manifest(tmp_path, rows), task)
    with pytest.raises(
        SplitError,
        match=r"split manifest leaks: 1 patients are in more than one part \(P3\); give each patient one part",
    ):
        refuse_leaks(audit_split(split), split_name="manifest")


@pytest.mark.parametrize("task", ["lesion", "image", "breast"])
def test_one_film_whose_lesions_stand_on_two_sides_is_refused(tmp_path: Path, task: str) -> None:
    rows = [f"{n}.png,P{n},LEFT,CC,L{n},{n % 2},1,2,3,4,{'train' if n < 8 else 'test'}" for n in range(12)]
    rows.append("2.png,P2,LEFT,CC,L99,1,9,9,3,4,test")
    split = split_of(write_manifest(tmp_path, rows), task)
    with pytest.raises(SplitError, match=r"more than one part \(P2\)"):
        refuse_leaks(audit_split(split), split_name="manifest")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["a.png,P1,LEFT,CC,L1,MALIGNANT,0,,"], "line 2: label contradicts pathology, got 'MALIGNANT'"),
        (["a.png,P1,LEFT,CC,L1,BENIGN,1,,"], "line 2: label contradicts pathology, got 'BENIGN'"),
        (["a.png,P1,LEFT,CC,L1,BENIGN,,0,", "a.png,P1,LEFT,CC,L2,BENIGN,,1,"],
         "image 'a.png' has more than one image_label: 0.0, 1.0"),
        (["a.png,P1,LEFT,CC,L1,BENIGN,,,", "a.png,P1,RIGHT,CC,L2,BENIGN,,,"],
         "image 'a.png' has more than one laterality: LEFT, RIGHT"),
        (["a.png,P1,LEFT,CC,L1,BENIGN,,,", "./a.png,P2,LEFT,CC,L2,BENIGN,,,"],
         "image 'a.png' has more than one patient_id: P1, P2"),
        (["a.png,P1,LEFT,CC,L1,BENIGN,,,", "b.png,P1,LEFT,CC,L1,BENIGN,,,"],
         "line 3: lesion_id is duplicated, got 'L1'"),
        (["a.png,P1,LEFT,CC,L1,BENIGN,,,", "a.png,P1,LEFT,CC,L1,BENIGN,,,"], "line 3: the row is duplicated"),
        (["a.png,P1,LEFT,CC,L1,BENIGN,,,exam"], "line 2: split must be train, validation or test, got 'exam'"),
        ([",P1,LEFT,CC,L1,BENIGN,,,", "a.png,,LEFT,CC,L2,BENIGN,,,"],
         "line 2: image is empty.* line 3: patient_id is empty"),
        (["a.png,P1\u200b,LEFT,CC,L1,BENIGN,,,"], r"line 2: patient_id has an invisible character, got 'P1\\u200b'"),
    ],
)  # fmt: skip
def test_rows_that_contradict_each_other_are_refused(tmp_path: Path, rows: list[str], words: str) -> None:
    head = "image,patient_id,laterality,view,lesion_id,pathology,label,image_label,split\n"
    with pytest.raises(CaseError, match=words) as caught:
        read_manifest(write_manifest(tmp_path, rows, head))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("task", ["lesion", "image", "breast"])
def test_lesions_of_both_classes_on_one_film_are_counted_as_mixed(tmp_path: Path, task: str) -> None:
    rows = [
        "a.png,P1,LEFT,CC,L1,0,1,2,3,4,train",
        "a.png,P1,LEFT,CC,L2,1,5,6,3,4,train",
        "b.png,P2,LEFT,CC,L3,0,1,2,3,4,test",
    ]
    split = split_of(write_manifest(tmp_path, rows), task)
    assert audit_split(split).conflicts == ["P1_LEFT" if task == "breast" else "a.png"]
    labels = split.samples.cases.groupby("patient_id")["label"].max().to_dict()
    assert labels == {"P1": 1, "P2": 0}


def test_second_film_of_a_view_is_counted_and_its_label_kept(tmp_path: Path) -> None:
    rows = [
        f"{name}.png,P1,LEFT,{view},L{name},{label},1,2,3,4,train"
        for name, view, label in (("a", "CC", 0), ("b", "CC", 1), ("c", "MLO", 0))
    ]
    samples = split_of(write_manifest(tmp_path, rows), "breast", "holdout").samples
    assert samples.cases[["case_id", "label", "complete"]].to_numpy().tolist() == [["P1_LEFT", 1, True]]
    assert samples.excluded.to_numpy().tolist() == [["b.png", "P1", "a second film of the same view of the breast"]]
    assert samples.views["image"].map(lambda path: Path(path).name).tolist() == ["a.png", "c.png"]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"train": [0, 1, 0, 1, 0, 1], "validation": [0, 1]}, "part test is empty; expected cases of both classes"),
        ({"test": [0, 1, 0, 1]}, "2 errors: .*part train is empty.*part validation is empty"),
        (
            {"train": [0] * 8, "validation": [0, 1], "test": [0, 1]},
            r"part train has one class only \(8 cases, all benign\); expected both",
        ),
        (
            {"train": [0, 1] * 4, "validation": [1, 1], "test": [0, 1]},
            r"part validation has one class only \(2 cases, all malignant\)",
        ),
        ({"train": [0, 1], "validation": [0, 1], "test": [0, 1]}, "part train has 2 cases, fewer than one batch of 4"),
    ],
)
def test_manifest_whose_split_teaches_nothing_is_refused(
    tmp_path: Path, parts: dict[str, list[int]], words: str
) -> None:
    cases = [(part, label) for part, labels in parts.items() for label in labels]
    rows = [f"{n}.png,P{n},LEFT,CC,L{n},{label},1,2,3,4,{part}" for n, (part, label) in enumerate(cases)]
    with pytest.raises(SplitError, match=words):
        check_trainable(split_of(write_manifest(tmp_path, rows)), 4)


def test_test_part_of_one_class_can_be_judged(tmp_path: Path) -> None:
    cases = [("train", 0), ("train", 1), ("validation", 0), ("validation", 1), ("test", 0), ("test", 0)]
    rows = [f"{n}.png,P{n},LEFT,CC,L{n},{label},1,2,3,4,{part}" for n, (part, label) in enumerate(cases)]
    split = split_of(write_manifest(tmp_path, rows))
    check_trainable(split, 2)
    assert split.rows("test").tolist() == [4, 5]


def test_manifest_with_an_empty_place_in_its_split_is_refused(tmp_path: Path) -> None:
    rows = ["a.png,P1,LEFT,CC,L1,0,1,2,3,4,train", "b.png,P2,LEFT,CC,L2,1,1,2,3,4,"]
    with pytest.raises(
        SplitError, match=r"1 cases have no split, such as L2; fill the column or use data\.split=holdout"
    ):
        split_of(write_manifest(tmp_path, rows))


def test_one_patient_written_in_two_unicode_forms_is_one(tmp_path: Path) -> None:
    rows = ["a.png,Ren\u00e9,1", "b.png,Rene\u0301,0"]
    assert read_manifest(write_manifest(tmp_path, rows, "image,patient_id,label\n")).frame["patient_id"].nunique() == 1


def test_more_faults_than_are_shown_are_counted(tmp_path: Path) -> None:
    rows = [f"{n}.png,P{n},maybe" for n in range(5000)]
    with pytest.raises(
        CaseError, match=r"5000 errors: .*line 13: label must be 0 or 1, got 'maybe'; and 4988 more$"
    ) as caught:
        read_manifest(write_manifest(tmp_path, rows, "image,patient_id,label\n"))
    assert len(str(caught.value)) < 1000


def test_mixed_line_ends_lose_no_cell(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_bytes(b"image,patient_id,label\na.png,P1,1\r\n\r\nb.png,P2,0\r\r\n\n,P3,1\n")
    with pytest.raises(CaseError, match=r"manifest\.csv: line 7: image is empty, got ''"):
        read_manifest(tmp_path / "manifest.csv")


def test_numbers_are_the_floats_nearest_to_their_digits(tmp_path: Path) -> None:
    wanted = [0.1 + 0.2, 1 / 3, 2.5000000000000004, 123456.78901234567]
    rows = [f"{n}.png,P{n},1,{x!r},0,1,1" for n, x in enumerate(wanted)]
    frame = read_manifest(write_manifest(tmp_path, rows, "image,patient_id,label,x,y,width,height\n")).frame
    assert frame["x"].tolist() == wanted
