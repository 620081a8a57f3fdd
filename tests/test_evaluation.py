"""Judgement: against scikit-learn, against hand calculation, and on what has no answer."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from mammo.errors import DataMissingError, ScoreError
from mammo.evaluation.judge import gather_level, judge, table_rows
from mammo.evaluation.metrics import count_confusion, cross_entropy, measure_at, measure_ranking
from mammo.evaluation.operating_point import Decision, choose_threshold, in_words
from mammo.evaluation.scores import check_scores, read_scores

LABELS = np.array([0, 0, 1, 0, 1, 1, 0, 1])
SCORES = np.array([0.1, 0.3, 0.35, 0.4, 0.6, 0.7, 0.8, 0.9])
both_classes = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20)), min_size=4, max_size=60).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)


def decision(threshold: float = 0.5) -> Decision:
    return Decision("recall>=0.90", threshold, 1.0, "validation", 10, 5, "")


def table(rows: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["case_id", "patient_id", "breast_id", "image_id", "label", "score"])


@settings(max_examples=60, deadline=None)
@given(both_classes)
def test_metrics_equal_scikit_learns(rows: list[tuple[int, int]]) -> None:
    labels, scores = np.array([label for label, _ in rows]), np.array([score / 20 for _, score in rows])
    ranking = measure_ranking(labels, scores)
    at = measure_at(count_confusion(labels, scores, 0.5))
    called = scores >= 0.5
    assert ranking["auc"].value == pytest.approx(sklearn.metrics.roc_auc_score(labels, scores))
    assert ranking["brier"].value == pytest.approx(sklearn.metrics.brier_score_loss(labels, scores))
    assert at["recall"].value == pytest.approx(sklearn.metrics.recall_score(labels, called))
    assert at["balanced_accuracy"].value == pytest.approx(sklearn.metrics.balanced_accuracy_score(labels, called))
    assert (at["f1"].value or 0) == pytest.approx(sklearn.metrics.f1_score(labels, called, zero_division=0))
    assert (at["precision"].value or 0) == pytest.approx(sklearn.metrics.precision_score(labels, called, zero_division=0))


def test_loss_equals_scikit_learns() -> None:
    logits = np.array([-2.0, 0.0, 0.5, 3.0, -1.0, 4.0, 2.0, -0.3])
    assert cross_entropy(LABELS, logits) == pytest.approx(sklearn.metrics.log_loss(LABELS, 1 / (1 + np.exp(-logits))))


def test_one_class_is_said_and_is_no_number() -> None:
    ranking = measure_ranking(np.ones(3, int), np.array([0.2, 0.5, 0.9]))
    at = measure_at(count_confusion(np.ones(3, int), np.array([0.2, 0.5, 0.9]), 0.5))
    assert (ranking["auc"].value, ranking["auc"].undefined) == (None, "one class only")
    assert (at["specificity"].value, at["specificity"].undefined) == (None, "no benign case")
    assert at["recall"].value == pytest.approx(2 / 3)


def test_threshold_for_recall_is_the_highest_that_reaches_it() -> None:
    # Malignant scores are 0.35, 0.6, 0.7, 0.9: three of four need the threshold at 0.6 or below.
    assert choose_threshold(LABELS, SCORES, "recall>=0.75") == 0.6
    assert choose_threshold(LABELS, SCORES, "recall>=0.76") == 0.35


def test_threshold_for_specificity_is_the_lowest_that_reaches_it() -> None:
    # Benign scores are 0.1, 0.3, 0.4, 0.8: three of four lie below 0.6, and below everything up to 0.8; 0.6 is the first seen.
    assert choose_threshold(LABELS, SCORES, "specificity>=0.75") == 0.6


def test_youden_takes_the_best_sum() -> None:
    # At 0.6: recall 3/4, specificity 3/4. At 0.35: 1 and 1/2. Equal sums take the lower threshold.
    assert choose_threshold(LABELS, SCORES, "youden") == 0.35
    assert choose_threshold(LABELS, SCORES, "0.42") == 0.42


@settings(max_examples=60, deadline=None)
@given(both_classes, st.floats(0, 1))
def test_chosen_threshold_keeps_its_promise(rows: list[tuple[int, int]], bound: float) -> None:
    labels, scores = np.array([label for label, _ in rows]), np.array([score / 20 for _, score in rows])
    for name in ("recall", "specificity"):
        threshold = choose_threshold(labels, scores, f"{name}>={bound}")
        assert measure_at(count_confusion(labels, scores, threshold))[name].value >= bound - 1e-9


def test_rule_with_one_class_is_refused() -> None:
    with pytest.raises(ScoreError, match="expected scores of both classes"):
        choose_threshold(np.ones(3, int), np.array([0.1, 0.2, 0.3]), "recall>=0.9")


def test_levels_take_the_maximum_of_their_cases() -> None:
    rows = [
        ("a", "P1", "P1_L", "i1", 0, 0.2),
        ("b", "P1", "P1_L", "i2", 1, 0.4),
        ("c", "P1", "P1_R", "i3", 0, 0.7),
        ("d", "P2", "P2_L", "i4", 0, 0.1),
    ]
    levels = judge(table(rows), decision()).levels
    assert [level.n for level in levels.values()] == [4, 4, 3, 2]
    assert [level.n_positive for level in levels.values()] == [1, 1, 1, 1]
    assert levels["patient"].confusion == count_confusion(np.array([1, 0]), np.array([0.7, 0.1]), 0.5)
    assert levels["patient"].ranking["auc"].value == 1.0


def test_noisy_or_is_one_minus_the_product() -> None:
    rows = [("a", "P1", "P1_L", "i1", 0, 0.2), ("b", "P1", "P1_L", "i2", 1, 0.5)]
    assert gather_level(table(rows), "patient_id", "noisy_or")["score"].tolist() == pytest.approx([1 - 0.8 * 0.5])
    assert gather_level(table(rows), "patient_id", "mean")["score"].tolist() == pytest.approx([0.35])


def test_json_has_the_promised_form() -> None:
    rows = [("a", "P1", "P1_L", "i1", 0, 0.2), ("b", "P2", "P2_L", "i2", 1, 0.4)]
    plain = judge(table(rows), decision()).as_json()
    lesion = plain["levels"]["lesion"]
    names = {"n", "n_positive", "n_patients", "auc", "average_precision", "accuracy", "recall", "specificity", "precision", "f1"}
    assert names | {"balanced_accuracy", "brier", "threshold", "confusion"} <= set(lesion)
    assert lesion["auc"] == {"value": 1.0}
    assert lesion["precision"] == {"value": None, "undefined": "no case called malignant"}
    assert plain["operating_point"]["threshold"] == 0.5


def test_table_has_two_lines_a_level() -> None:
    rows = [("a", "P1", "P1_L", "i1", 0, 0.2), ("b", "P2", "P2_L", "i2", 1, 0.4)]
    lines = table_rows(judge(table(rows), decision(0.3)))
    assert len(lines) == 8
    assert lines[0][:4] == ("lesion", "2 (1)", "1.000", "0.300")


def test_every_fault_of_a_score_table_is_named() -> None:
    rows = [("a", "P1", "B", "i", 0, 1.2), ("a", "P1", "B", "i", 2, float("nan"))]
    with pytest.raises(ScoreError, match=r"4 faults.*line 2: score.*1\.2.*line 3: score.*line 3: label.*line 3: case_id"):
        check_scores(table(rows), "scores.csv")


def test_empty_ids_of_a_score_table_are_faults_and_na_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("case_id,patient_id,breast_id,image_id,label,score\nNA,P1,B1,i1,0,0.2\nb,P2,,i2,1,0.3\n", encoding="utf-8")
    with pytest.raises(ScoreError, match=r"line 3: breast_id is empty") as caught:
        read_scores(path)
    assert "line 2" not in str(caught.value)


def test_missing_columns_of_a_score_table_are_named(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("case_id,score\na,0.2\n", encoding="utf-8")
    with pytest.raises(ScoreError, match=r"column patient_id is missing.*column label is missing"):
        read_scores(tmp_path / "scores.csv")
    with pytest.raises(DataMissingError, match="there is no such file"):
        read_scores(tmp_path / "none.csv")


def test_operating_point_is_told_in_words() -> None:
    assert in_words(0.6, decision(0.5)).startswith("called malignant: 0.600 is at or above the threshold 0.500")
    assert "chosen for recall>=0.90 on 10 validation cases" in in_words(0.4, decision(0.5))
