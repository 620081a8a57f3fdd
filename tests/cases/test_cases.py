"""Cases: the official CSVs, manifests, samples, splits and the audit, against real files and hand-made ones."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammo.cases.audit import audit_split, audit_table, refuse_leaks
from mammo.cases.cbis_ddsm import read_official_csvs
from mammo.cases.manifest import read_manifest
from mammo.cases.samples import make_samples
from mammo.cases.splits import (
    check_trainable,
    make_folds,
    make_split,
    patients_on_two_sides,
    source_leaks,
    split_lesions,
)
from mammo.errors import CaseError, DataMissingError, SplitError
from mammo.settings.schema import DataSettings
from tests.shared_data import SHARED, needs

CSV = SHARED / "cbis_ddsm_csv"
MANIFEST = SHARED / "cbis_ddsm_mass_800" / "manifest.csv"
OWN_SPLIT = DataSettings(kind="manifest", split="manifest")
HEAD = "image,patient_id,laterality,view,lesion_id,label,x,y,width,height,split\n"


def write_manifest(folder: Path, rows: list[str], head: str = HEAD) -> Path:
    path = folder / "manifest.csv"
    path.write_text(head + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def two_breasts(folder: Path, patients: int = 40) -> Path:
    rows = []
    for number in range(patients):
        for view in ("CC", "MLO"):
            part = "train" if number % 4 else "test"
            rows.append(f"{number}_{view}.png,P{number},LEFT,{view},L{number}{view},{number % 2},1,2,3,4,{part}")
    return write_manifest(folder, rows)


@needs("cbis_ddsm_csv")
def test_official_files_have_their_published_numbers() -> None:
    frame = read_official_csvs(CSV).frame
    counts = frame.groupby(["lesion_type", "split"]).size()
    assert counts.to_dict() == {
        ("mass", "train"): 1318,
        ("mass", "test"): 378,
        ("calcification", "train"): 1546,
        ("calcification", "test"): 326,
    }
    assert frame["patient_id"].nunique() == 1566
    assert frame["image_id"].nunique() == 3032
    assert (frame["pathology"] == "BENIGN_WITHOUT_CALLBACK").sum() == 682


@needs("cbis_ddsm_csv")
def test_pooled_official_split_shares_31_patients() -> None:
    audit = audit_table(read_official_csvs(CSV))
    assert len(audit.leaks) == 31
    assert len(audit.conflicts) == 33
    with pytest.raises(SplitError, match=r"31 patients .*P_00016.*official_clean"):
        refuse_leaks(audit, split_name="official")


@needs("cbis_ddsm_csv")
@pytest.mark.parametrize("kind", ["mass", "calcification"])
def test_each_lesion_type_alone_is_patient_disjoint(kind: str) -> None:
    assert audit_table(read_official_csvs(CSV, (kind,))).leaks == []


@needs("cbis_ddsm_csv")
def test_official_clean_leaves_318_patients_in_test() -> None:
    data = DataSettings(split="official_clean", clean_from="test")
    split = split_lesions(read_official_csvs(CSV), data)
    test = split.samples.cases[split.part == "test"]
    assert (test["patient_id"].nunique(), test["image_id"].nunique(), len(test)) == (318, 591, 644)
    assert audit_split(split).leaks == []
    assert split.samples.excluded["reason"].str.contains("dropped from test").sum() == 60


@needs("cbis_ddsm_csv")
@pytest.mark.parametrize("task", ["lesion", "image", "breast"])
def test_31_patients_leak_under_every_task_and_none_when_cleaned(task: str) -> None:
    table = read_official_csvs(CSV)
    assert len(audit_split(split_lesions(table, DataSettings(split="official", task=task))).leaks) == 31
    shared = set(source_leaks(table))
    for side, kept in (("train", "test"), ("test", "train")):
        split = split_lesions(table, DataSettings(split="official_clean", task=task, clean_from=side))
        parts = set(split.part[split.samples.cases["patient_id"].isin(shared)])
        assert parts == ({"test"} if kept == "test" else {"train", "validation"})
        assert audit_split(split).leaks == []


@needs("cbis_ddsm_csv")
def test_audit_counts_films_lesions_and_mixed_breasts() -> None:
    audit = audit_split(split_lesions(read_official_csvs(CSV), DataSettings(split="official", task="breast")))
    whole = audit.parts[audit.parts["part"] == "all"].iloc[0]
    assert (whole["patients"], whole["breasts"], whole["views"], whole["lesions"]) == (1566, 1708, 3032, 3568)
    assert len(audit.conflicts) == 20


@needs("cbis_ddsm_csv")
@pytest.mark.parametrize(("task", "cases", "both"), [("image", 3032, 0), ("breast", 1708, 0)])
def test_label_of_film_and_breast_is_the_maximum(task: str, cases: int, both: int) -> None:
    table = read_official_csvs(CSV)
    samples = make_samples(table, task)
    assert len(samples) == cases
    key = "image_id" if task == "image" else "breast_id"
    frame = table.frame.assign(breast_id=table.frame["patient_id"] + "_" + table.frame["laterality"])
    expected = frame.groupby(key)["label"].max().astype(int)
    assert samples.cases.set_index(key)["label"].to_dict() == expected.to_dict()


@needs("cbis_ddsm_mass_800")
def test_real_manifest_lists_lesions_without_label() -> None:
    samples = make_samples(read_manifest(MANIFEST), "lesion")
    assert len(samples) == 1304
    assert samples.excluded["reason"].tolist() == ["lesion has no label of its own"] * 14


@needs("cbis_ddsm_mass_800")
def test_real_manifest_keeps_films_by_image_label() -> None:
    assert len(make_samples(read_manifest(MANIFEST), "image")) == 1231


def test_missing_columns_are_named_together(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, ["a.png,1"], head="image,patientid\n")
    with pytest.raises(
        CaseError,
        match=r"2 errors.*column patient_id is missing.*patientid.*one of the columns pathology, label, image_label",
    ):
        read_manifest(path)


def test_bad_values_are_named_with_their_lines(tmp_path: Path) -> None:
    rows = ["a.png,P1,SIDE,CC,L1,1,1,2,3,4,train", "b.png,P1,LEFT,CC,L2,maybe,1,2,0,4,train"]
    with pytest.raises(
        CaseError, match=r"line 2: laterality.*'SIDE'.*line 3: label.*'maybe'.*line 3: width must be above 0"
    ):
        read_manifest(write_manifest(tmp_path, rows))


def test_windows_line_ends_and_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "manifest 乳腺.csv"
    path.write_bytes(b"\xef\xbb\xbfimage,patient_id,label\r\na.png,P1,1\r\nb.png,P2,0\r\n")
    assert read_manifest(path).frame["label"].tolist() == [1.0, 0.0]


def test_one_image_of_two_patients_is_refused(tmp_path: Path) -> None:
    rows = ["a.png,P1,LEFT,CC,L1,1,1,2,3,4,train", "a.png,P2,LEFT,CC,L2,0,1,2,3,4,test"]
    with pytest.raises(CaseError, match="more than one patient_id: P1, P2"):
        read_manifest(write_manifest(tmp_path, rows))


def test_absent_csv_says_where_to_get_the_data(tmp_path: Path) -> None:
    with pytest.raises(DataMissingError, match=r"get CBIS-DDSM .*set data.root"):
        read_official_csvs(tmp_path)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_holdout_has_three_patient_disjoint_stratified_parts(tmp_path: Path, seed: int) -> None:
    split = make_split(make_samples(read_manifest(two_breasts(tmp_path, 200)), "lesion"), DataSettings(split_seed=seed))
    cases = split.samples.cases.assign(part=split.part)
    assert patients_on_two_sides(cases["patient_id"], split.part) == []
    assert cases.groupby("part")["patient_id"].nunique().to_dict() == {"train": 140, "validation": 30, "test": 30}
    assert cases.groupby("part")["label"].mean().to_dict() == {"train": 0.5, "validation": 0.5, "test": 0.5}


def test_holdout_is_the_same_for_a_seed_and_another_for_another(tmp_path: Path) -> None:
    samples = make_samples(read_manifest(two_breasts(tmp_path)), "lesion")
    first, again, other = (make_split(samples, DataSettings(split_seed=seed)).sha256 for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_validation_comes_out_of_training_patients(tmp_path: Path) -> None:
    samples = make_samples(read_manifest(two_breasts(tmp_path)), "lesion")
    split = make_split(samples, OWN_SPLIT)
    before = samples.cases["split"].to_numpy()
    assert set(before[split.part == "validation"]) == {"train"}
    assert set(before[split.part == "test"]) == {"test"}


def test_leaking_manifest_is_refused_with_the_patients_named(tmp_path: Path) -> None:
    rows = [f"{n}.png,P{n % 7},LEFT,CC,L{n},{n % 2},1,2,3,4,{'train' if n < 8 else 'test'}" for n in range(12)]
    split = make_split(make_samples(read_manifest(write_manifest(tmp_path, rows)), "lesion"), OWN_SPLIT)
    with pytest.raises(SplitError, match=r"P1, P2, P3, P4"):
        refuse_leaks(audit_split(split), split_name="manifest")


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 7), st.integers(0, 5))
def test_folds_keep_patients_together_and_differ_by_one_patient_at_most(k: int, seed: int) -> None:
    frame = pd.DataFrame({"patient_id": [f"P{n // 3}" for n in range(90)], "label": [(n // 3) % 2 for n in range(90)]})
    samples = type("Samples", (), {"cases": frame})()
    folds = make_folds(samples, k, seed=seed)
    assert patients_on_two_sides(frame["patient_id"], folds) == []
    sizes = np.bincount(folds, minlength=k) // 3
    assert sizes.max() - sizes.min() <= 1


def test_every_case_is_tested_in_exactly_one_fold(tmp_path: Path) -> None:
    samples = make_samples(read_manifest(two_breasts(tmp_path)), "lesion")
    splits = [make_split(samples, DataSettings(split_seed=1, folds=5, fold=fold)) for fold in range(5)]
    tested = np.concatenate([split.rows("test") for split in splits])
    assert sorted(tested) == list(range(len(samples)))
    assert all(patients_on_two_sides(samples.cases["patient_id"], split.part) == [] for split in splits)
    assert all(len(split.rows("validation")) > 0 for split in splits)


def test_breast_with_one_view_is_kept_and_marked(tmp_path: Path) -> None:
    rows = [
        "a.png,P1,LEFT,CC,L1,1,1,2,3,4,train",
        "b.png,P1,LEFT,MLO,L2,0,1,2,3,4,train",
        "c.png,P2,RIGHT,MLO,L3,0,1,2,3,4,test",
    ]
    samples = make_samples(read_manifest(write_manifest(tmp_path, rows)), "breast")
    assert samples.cases[["case_id", "label", "complete"]].to_numpy().tolist() == [
        ["P1_LEFT", 1, True],
        ["P2_RIGHT", 0, False],
    ]
    assert samples.views["view"][samples.views["case"] == 0].tolist() == ["CC", "MLO"]


def test_breast_label_counts_films_that_the_task_leaves_out(tmp_path: Path) -> None:
    views = (("a", "CC", 0), ("b", "CC", 1), ("c", "MLO", 0), ("d", "ML", 0))
    rows = [f"{name}.png,P1,LEFT,{view},L{name},{label},1,2,3,4,train" for name, view, label in views]
    samples = make_samples(read_manifest(write_manifest(tmp_path, rows)), "breast")
    assert samples.cases["label"].tolist() == [1]
    assert sorted(samples.excluded["reason"]) == [
        "a second film of the same view of the breast",
        "view is neither CC nor MLO",
    ]


def test_film_of_an_unknown_side_is_left_out_of_task_breast(tmp_path: Path) -> None:
    rows = ["a.png,P1,,CC,L1,1,1,2,3,4,train", "b.png,P1,LEFT,CC,L2,0,1,2,3,4,train"]
    samples = make_samples(read_manifest(write_manifest(tmp_path, rows)), "breast")
    assert samples.cases["case_id"].tolist() == ["P1_LEFT"]
    assert samples.excluded["reason"].tolist() == ["film has no laterality"]


def test_row_longer_than_the_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="more cells than the header"):
        read_manifest(write_manifest(tmp_path, ["a.png,P1,1,x"], head="image,patient_id,label\n"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,patient_id,label\na.png,P1,1\na.png,P1,1\n", "line 3: the row is duplicated"),
        ("image,patient_id,label,label\na.png,P1,1,0\n", "column label is there more than once"),
        ("image;patient_id;label\na.png;P1;1\n", "separated by semicolons"),
        ("image,patient_id,label,Split\na.png,P1,1,train\n", "column 'Split' is not known; did you mean 'split'?"),
        ("", "is empty; expected a CSV with the columns image, patient_id"),
    ],
)
def test_table_that_would_be_misread_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "manifest.csv").write_text(text, encoding="utf-8")
    with pytest.raises(CaseError, match=words):
        read_manifest(tmp_path / "manifest.csv")


def test_table_in_another_encoding_is_told_to_be_saved_as_utf_8(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_bytes("image,patient_id,label\n乳腺.png,P1,1\n".encode("gbk"))
    with pytest.raises(CaseError, match=r"is not UTF-8 text .*save it as CSV UTF-8"):
        read_manifest(tmp_path / "manifest.csv")


def test_image_label_below_its_lesions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="line 2: image_label is 0 beside a malignant lesion"):
        read_manifest(write_manifest(tmp_path, ["a.png,P1,1,0"], head="image,patient_id,label,image_label\n"))


@pytest.mark.parametrize(
    ("labels", "parts", "words"),
    [
        ([0, 1, 0], ["train", "train", "test"], "part validation is empty"),
        (
            [1, 1, 0, 1, 0],
            ["train", "train", "validation", "validation", "test"],
            r"part train has one class only \(2 cases, all malignant\)",
        ),
        ([0, 1, 0, 1, 0], ["train", "train", "validation", "validation", "test"], "fewer than one batch of 8"),
    ],
)
def test_split_without_anything_to_learn_is_refused(
    tmp_path: Path, labels: list[int], parts: list[str], words: str
) -> None:
    rows = [f"{n}.png,P{n},LEFT,CC,L{n},{label},1,2,3,4," for n, label in enumerate(labels)]
    split = make_split(make_samples(read_manifest(write_manifest(tmp_path, rows)), "lesion"), DataSettings())
    object.__setattr__(split, "part", np.array(parts, object))
    with pytest.raises(SplitError, match=words):
        check_trainable(split, 8)


def test_lines_of_a_manifest_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    text = 'image,patient_id,label,view\n\n"a\nb.png",P1,0,CC\n\nc.png,P2,7,CC\n'
    (tmp_path / "manifest.csv").write_text(text, encoding="utf-8")
    with pytest.raises(CaseError, match=r"manifest\.csv: line 6: label must be .*, got '7'"):
        read_manifest(tmp_path / "manifest.csv")
