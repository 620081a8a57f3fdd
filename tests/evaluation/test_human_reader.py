"""The radiologists' assessments beside a system: by hand, against scikit-learn, on CBIS-DDSM's own table."""

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from mammo.cases.cbis_ddsm import read_official_csvs
from mammo.errors import ScoreError
from mammo.evaluation.human_reader import TOO_FEW, ReaderLevel, compare_with_reader
from mammo.evaluation.intervals import auc_covariance, draw_patients
from mammo.evaluation.judge import judge
from mammo.evaluation.scores import Cases, check_scores, gather_level
from mammo.evaluation.weighted_reader import BothSides
from mammo.settings.schema import EvaluationSettings
from tests.evaluation.tables import decision, drawn_table, table
from tests.shared_data import SHARED, needs

QUICK = EvaluationSettings(resamples=200)
# Label, score in twentieths, patient of six, assessment.
assessed_cases = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 20), st.integers(0, 5), st.integers(0, 5)), min_size=4, max_size=60
).filter(lambda rows: len({label for label, *_ in rows}) == 2)
# Four malignant and five benign cases, worked through by hand below.
LABELS = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0])
ASSESSMENTS = np.array([5, 4, 4, 2, 4, 3, 2, 1, 0], float)
SCORES = np.array([0.9, 0.7, 0.4, 0.2, 0.8, 0.5, 0.3, 0.1, 0.05])


def as_cases(
    labels: np.ndarray, scores: np.ndarray, *, threshold: float = 0.5, patient: np.ndarray | None = None
) -> Cases:
    patient = np.arange(len(labels)) if patient is None else patient
    return Cases(labels, scores, patient, np.full((1, len(labels)), threshold))


def compared(cases: Cases, assessments: np.ndarray, *, resamples: int = 200) -> ReaderLevel:
    found = compare_with_reader(cases, assessments, resamples=resamples, seed=0)
    assert found is not None
    return found


def assessed_table(n: int, patients: int, *, seed: int = 0) -> pd.DataFrame:
    """A drawn table with assessments 0 to 5, higher where malignant."""
    frame = drawn_table(n, patients, seed=seed)
    noise = np.random.default_rng(seed + 100).normal(size=n)
    return frame.assign(assessment=np.clip(np.round(3 + frame["label"] + noise), 0, 5))


def best_specificity(fpr: np.ndarray, tpr: np.ndarray, recall: float) -> float:
    """The best specificity of all points of the curve with a recall, from scikit-learn's points."""
    found = []
    for (x, y), (next_x, next_y) in pairwise(zip(fpr, tpr, strict=True)):
        if y - 1e-12 <= recall <= next_y + 1e-12:
            found.append(x if next_y == y else x + (recall - y) / (next_y - y) * (next_x - x))
    return 1 - min(found)


def best_recall(fpr: np.ndarray, tpr: np.ndarray, specificity: float) -> float:
    return best_specificity(1 - tpr[::-1], 1 - fpr[::-1], specificity)


def test_both_sides_by_hand() -> None:
    found = compared(as_cases(LABELS, SCORES, threshold=0.4), ASSESSMENTS)
    # The reader wins 5 + 4.5 + 4.5 + 2.5 of 20 pairs; with 0 between 3 and 4, the case with 2 wins only 1.5.
    assert (found.auc.value, found.auc_recalled.value) == (pytest.approx(16.5 / 20), pytest.approx(15.5 / 20))
    assert found.delong.value == pytest.approx(16.5 / 20)
    # The system wins 5 + 4 + 3 + 2.
    assert found.system_auc.value == pytest.approx(14 / 20)
    assert found.auc_difference.value == pytest.approx(-2.5 / 20)
    three, four, five = found.points
    # Three malignant and one benign case have 4 or 5. The system calls three malignant ones with two benign ones, at
    # 0.4, and two with one, at 0.7.
    assert (four.recall.value, four.specificity.value) == (3 / 4, 4 / 5)
    assert (four.system_specificity.value, four.system_recall.value) == (pytest.approx(3 / 5), pytest.approx(2 / 4))
    assert four.specificity_difference.value == pytest.approx(-1 / 5)
    assert four.recall_difference.value == pytest.approx(-1 / 4)
    assert (three.recall.value, three.specificity.value) == (3 / 4, 3 / 5)
    assert (three.specificity_difference.value, three.recall_difference.value) == (0, 0)
    assert (five.recall.value, five.specificity.value) == (1 / 4, 1)
    assert (five.system_specificity.value, five.system_recall.value) == (1, 1 / 4)
    # At 0.4 it calls three malignant and two benign cases.
    assert (found.recall.value, found.specificity.value) == (3 / 4, 3 / 5)
    assert (found.recall_difference.value, found.specificity_difference.value) == (0, pytest.approx(-1 / 5))
    assert found.curve[0] == (0, 0)
    assert found.curve[1:4] == ((0, 0.25), (pytest.approx(0.2), 0.75), (pytest.approx(0.4), 0.75))
    assert found.curve[-1] == (1, 1)


def test_a_recall_between_two_thresholds_lies_on_a_straight_line() -> None:
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    scores = np.array([0.9, 0.5, 0.5, 0.5, 0.5, 0.5, 0.1, 0.1])
    assessments = np.array([4, 4, 2, 2, 4, 2, 2, 2], float)
    four = compared(as_cases(labels, scores), assessments).points[1]
    # The system calls 1 malignant case, or at 0.5 four with two benign ones. For two, a third of the way: 2/3 of 4.
    assert four.system_specificity.value == pytest.approx(1 - (2 / 3) / 4)
    # One benign case is half of the way: 2.5 malignant ones.
    assert four.system_recall.value == pytest.approx(2.5 / 4)


@settings(max_examples=30, deadline=None)
@given(assessed_cases, st.integers(0, 1000))
def test_a_resample_is_measured_as_scikit_learn_measures_its_rows(
    rows: list[tuple[int, int, int, int]], seed: int
) -> None:
    labels, scores, patients, assessments = (np.array(column) for column in zip(*rows, strict=True))
    patient = np.unique(patients, return_inverse=True)[1]
    cases = as_cases(labels, scores / 20, patient=patient)
    counts = next(draw_patients(cases.patients, 4, seed=seed))
    found = BothSides(cases, assessments.astype(float)).measure(counts)
    for number in range(4):
        chosen = np.repeat(np.arange(len(rows)), counts[patient, number].astype(int))
        label, score, assessment = labels[chosen], scores[chosen] / 20, assessments[chosen]
        if len(set(label)) < 2:
            assert np.isnan(found["auc_difference"][number])
            assert np.isnan(found["specificity_difference at 4"][number])
            continue
        auc = sklearn.metrics.roc_auc_score(label, assessment)
        assert found["auc"][number] == pytest.approx(auc)
        recalled = np.where(assessment == 0, 3.5, assessment)
        assert found["auc_recalled"][number] == pytest.approx(sklearn.metrics.roc_auc_score(label, recalled))
        assert found["auc_difference"][number] == pytest.approx(sklearn.metrics.roc_auc_score(label, score) - auc)
        fpr, tpr, _ = sklearn.metrics.roc_curve(label, score, drop_intermediate=False)
        for category in (3, 4, 5):
            recall = sklearn.metrics.recall_score(label, assessment >= category)
            specificity = sklearn.metrics.recall_score(1 - label, assessment < category)
            assert found[f"reader_recall at {category}"][number] == pytest.approx(recall)
            assert found[f"reader_specificity at {category}"][number] == pytest.approx(specificity)
            expected = best_specificity(fpr, tpr, recall)
            assert found[f"system_specificity at {category}"][number] == pytest.approx(expected)
            assert found[f"specificity_difference at {category}"][number] == pytest.approx(expected - specificity)
            expected = best_recall(fpr, tpr, specificity)
            assert found[f"system_recall at {category}"][number] == pytest.approx(expected)
            assert found[f"recall_difference at {category}"][number] == pytest.approx(expected - recall)
        recall = sklearn.metrics.recall_score(label, score >= 0.5)
        assert found["recall"][number] == pytest.approx(recall)
        expected = recall - sklearn.metrics.recall_score(label, assessment >= 4)
        assert found["recall_difference"][number] == pytest.approx(expected)


def test_interval_of_the_auc_difference_is_near_delongs() -> None:
    frame = assessed_table(800, 800)
    scores, assessments = frame["score"].to_numpy(), frame["assessment"].to_numpy()
    found = compared(Cases.of(frame, np.full((1, 800), 0.5)), assessments, resamples=2000).auc_difference
    aucs, covariance = auc_covariance(frame["label"].to_numpy(), np.stack([assessments, scores]), np.arange(800))
    half = 1.96 * np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert found.value == pytest.approx(aucs[1] - aucs[0])
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.15 * half)


def test_a_system_that_says_what_the_reader_says_differs_by_nothing() -> None:
    frame = assessed_table(200, 100)
    frame["score"] = frame["assessment"] / 5
    judgement = judge(frame, decision(4 / 5), how=QUICK)
    reader = judgement.reader
    assert reader is not None
    assert list(reader.levels) == list(judgement.levels)
    for level in reader.levels.values():
        differences = [level.auc_difference, level.recall_difference, level.specificity_difference]
        for point in level.points:
            differences += [point.recall_difference, point.specificity_difference]
        assert [one.value for one in differences] == pytest.approx([0] * len(differences), abs=1e-12)
        assert level.auc.low is not None


@needs("cbis_ddsm_csv")
def test_radiologists_of_the_mass_training_file() -> None:
    frame = read_official_csvs(SHARED / "cbis_ddsm_csv", ["mass"]).frame
    frame = frame[frame["split"] == "train"].assign(score=0.5)
    found = compared(Cases.of(frame, np.full((1, len(frame)), 0.5)), frame["assessment"].to_numpy(), resamples=2000)
    assert (found.n, found.n_positive, found.n_patients, found.incomplete) == (1318, 637, 691, 129)
    ordered = sklearn.metrics.roc_auc_score(frame["label"], frame["assessment"])
    assert found.auc.value == pytest.approx(ordered)
    # Measured independently before: 0.845 (0.816-0.869), at 4 and above recall 0.898 and specificity 0.618.
    assert (found.auc.value, found.auc.low, found.auc.high) == pytest.approx((0.845, 0.816, 0.869), abs=0.0015)
    assert (found.delong.low, found.delong.high) == pytest.approx((0.816, 0.869), abs=0.004)
    assert found.main.recall.value == pytest.approx(572 / 637)
    assert found.main.specificity.value == pytest.approx(421 / 681)
    assert found.auc_recalled.value == pytest.approx(0.8465, abs=5e-5)


def test_cases_without_a_reading_are_left_out_and_counted() -> None:
    labels, assessments = np.append(LABELS, [1, 0, 1]), np.append(ASSESSMENTS, [6, np.nan, np.nan])
    found = compared(as_cases(labels, np.append(SCORES, [0.1, 0.9, 0.1]), threshold=0.4), assessments)
    alone = compared(as_cases(LABELS, SCORES, threshold=0.4), ASSESSMENTS)
    assert (found.n, found.of, found.unknown, found.proven, found.incomplete) == (9, 12, 2, 1, 1)
    assert (found.auc, found.points, found.recall) == (alone.auc, alone.points, alone.recall)
    nobody = as_cases(LABELS, SCORES)
    assert compare_with_reader(nobody, np.full(9, np.nan), resamples=100, seed=0) is None
    assert compare_with_reader(nobody, np.full(9, 6.0), resamples=100, seed=0) is None


@pytest.mark.parametrize(("label", "missing"), [(0, "no malignant case"), (1, "no benign case")])
def test_one_class_says_so(label: int, missing: str) -> None:
    frame = assessed_table(40, 20).assign(label=label)
    judgement = judge(frame, decision(), how=QUICK)
    assert judgement.reader is not None
    level = judgement.reader.levels["lesion"]
    assert level.auc.undefined == level.auc_difference.undefined == "one class only"
    assert level.main.specificity_difference.undefined == "one class only"
    undefined = level.recall_difference if label == 0 else level.specificity_difference
    assert undefined.undefined == missing
    assert level.curve == ()
    json.dumps(judgement.as_json(), allow_nan=False)


def test_a_recall_of_one_has_the_exact_bound() -> None:
    assessments = np.where(LABELS == 1, 5.0, 1.0)
    four = compared(as_cases(LABELS, SCORES), assessments).main
    # Clopper and Pearson's lower bound of 4 of 4: 0.025^(1/4).
    assert (four.recall.value, four.recall.low, four.recall.high) == (1, pytest.approx(0.025**0.25), 1)


def test_levels_have_the_highest_assessment_of_their_cases() -> None:
    rows = [
        ("a", "P1", "P1_L", "i1", 0, 0.2),
        ("b", "P1", "P1_L", "i1", 1, 0.4),
        ("c", "P1", "P1_R", "i2", 0, 0.7),
        ("d", "P2", "P2_L", "i3", 0, 0.1),
        ("e", "P3", "P3_L", "i4", 1, 0.1),
    ]
    frame = table(rows).assign(assessment=["0", "4.0", "2", "", "6"])
    gathered = {
        level: gather_level(frame, level, task="lesion", how="max")["assessment"].to_dict()
        for level in ("lesion", "image", "breast", "patient")
    }
    unknown = pytest.approx(np.nan, nan_ok=True)
    assert gathered["lesion"] == {"a": 0, "b": 4, "c": 2, "d": unknown, "e": 6}
    assert gathered["image"] == {"i1": 4, "i2": 2, "i3": unknown, "i4": 6}
    assert gathered["breast"] == {"P1_L": 4, "P1_R": 2, "P2_L": unknown, "P3_L": 6}
    assert gathered["patient"] == {"P1": 4, "P2": unknown, "P3": 6}
    frame.loc[2, "assessment"] = ""
    # What is not known could be the highest.
    assert gather_level(frame, "patient", task="lesion", how="noisy_or")["assessment"].isna().tolist()[:2] == [True] * 2
    assert "assessment" not in gather_level(table(rows), "patient", task="lesion", how="mean")


def test_groups_are_compared_where_both_classes_have_enough_cases() -> None:
    frame = assessed_table(300, 150)
    subtlety = np.where(np.arange(300) < 15, "1", "5")
    groups = judge(frame.assign(subtlety=subtlety, density=3, view="CC"), decision(), how=QUICK).reader.groups
    assert [(group.column, group.value, group.n) for group in groups] == [("subtlety", "1", 15), ("subtlety", "5", 285)]
    small, large = groups
    assert small.few
    assert small.auc.undefined == small.auc_difference.undefined == TOO_FEW
    kept = frame[subtlety == "5"]
    expected = [sklearn.metrics.roc_auc_score(kept["label"], kept[name]) for name in ("assessment", "score")]
    assert [large.auc.value, large.system_auc.value] == pytest.approx(expected)
    assert large.auc_difference.value == pytest.approx(expected[1] - expected[0])
    assert large.auc_difference.low is not None


def test_folds_are_called_at_their_own_thresholds() -> None:
    frame = assessed_table(200, 100).assign(fold=lambda rows: rows["patient_id"].str[-1].astype(int) % 2)
    level = judge(frame, {0: decision(0.3), 1: decision(0.7)}, how=QUICK).reader.levels["lesion"]
    called = frame["score"] >= np.where(frame["fold"] == 0, 0.3, 0.7)
    recall = sklearn.metrics.recall_score(frame["label"], called)
    assert level.recall.value == pytest.approx(recall)
    expected = recall - sklearn.metrics.recall_score(frame["label"], frame["assessment"] >= 4)
    assert level.recall_difference.value == pytest.approx(expected)


def test_json_has_the_reader_or_null() -> None:
    plain = judge(assessed_table(100, 50), decision(), how=QUICK).as_json()["reader"]
    lesion = plain["levels"]["lesion"]
    assert {"n", "of", "unknown", "proven", "incomplete", "auc", "auc_difference", "points", "curve"} <= set(lesion)
    assert [point["category"] for point in lesion["points"]] == [3, 4, 5]
    assert {"value", "low", "high"} == set(lesion["points"][1]["specificity_difference"])
    assert judge(drawn_table(40, 20), decision(), how=QUICK).as_json()["reader"] is None
    unknown = judge(drawn_table(40, 20).assign(assessment=""), decision(), how=QUICK)
    assert unknown.reader is None


@pytest.mark.parametrize("cell", ["7", "four", "-1", "4.5", "2A", "3,4", "1e999"])
def test_what_is_no_assessment_is_refused(cell: str) -> None:
    frame = table([("a", "P1", "B1", "i1", 0, 0.2), ("b", "P2", "B2", "i2", 1, 0.3)]).assign(assessment=["3", cell])
    rule = r"assessment must be a BI-RADS category 0 to 6 \(4A to 4C count as 4\), or empty where it is unknown"
    with pytest.raises(ScoreError, match=f"line 3: {rule}, got '{cell}'"):
        check_scores(frame, "scores.csv")


def test_assessments_of_a_score_table_are_read() -> None:
    cells = ["4", " 4.0", "4a", "4C", "", "NaN", "unknown", "0", "6"]
    rows = [(f"c{n}", f"P{n}", f"B{n}", f"i{n}", n % 2, 0.2) for n in range(len(cells))]
    read = check_scores(table(rows).assign(assessment=cells), "scores.csv")["assessment"].tolist()
    assert read == pytest.approx([4, 4, 4, 4, np.nan, np.nan, np.nan, 0, 6], nan_ok=True)
    numbers = check_scores(table(rows[:2]).assign(assessment=[3.0, np.nan]), "scores.csv")["assessment"].tolist()
    assert numbers == pytest.approx([3, np.nan], nan_ok=True)
