"""Judgement: against scikit-learn, against hand calculation, and where a metric is undefined."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from mammo.errors import DataMissingError, ScoreError
from mammo.evaluation.calibration import Calibrator
from mammo.evaluation.intervals import draw_patients
from mammo.evaluation.judge import judge
from mammo.evaluation.metrics import count_confusion, cross_entropy, measure_at, measure_ranking, per_thousand
from mammo.evaluation.operating_point import Decision, Point, choose_threshold, in_words, make_decision
from mammo.evaluation.scores import Cases, check_scores, gather_level, levels_of, read_scores
from mammo.evaluation.weighted import Ranking
from mammo.settings.schema import EvaluationSettings
from tests.evaluation.tables import decision, drawn_table, table

LABELS = np.array([0, 0, 1, 0, 1, 1, 0, 1])
SCORES = np.array([0.1, 0.3, 0.35, 0.4, 0.6, 0.7, 0.8, 0.9])
QUICK = EvaluationSettings(resamples=200)
both_classes = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20)), min_size=4, max_size=60).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)


def with_rules(main: str, *others: str) -> EvaluationSettings:
    return EvaluationSettings(operating_point=main, also_report=others)


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
    assert (at["precision"].value or 0) == pytest.approx(
        sklearn.metrics.precision_score(labels, called, zero_division=0)
    )


def test_loss_equals_scikit_learns() -> None:
    logits = np.array([-2.0, 0.0, 0.5, 3.0, -1.0, 4.0, 2.0, -0.3])
    assert cross_entropy(LABELS, logits) == pytest.approx(sklearn.metrics.log_loss(LABELS, 1 / (1 + np.exp(-logits))))


def test_one_class_is_named_as_the_reason() -> None:
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
    # Benign scores are 0.1, 0.3, 0.4, 0.8: three of four lie below 0.6, the lowest such score.
    assert choose_threshold(LABELS, SCORES, "specificity>=0.75") == 0.6


def test_youden_takes_the_best_sum() -> None:
    # At 0.6: recall 3/4, specificity 3/4. At 0.35: 1 and 1/2. Equal sums take the lower threshold.
    assert choose_threshold(LABELS, SCORES, "youden") == 0.35
    assert choose_threshold(LABELS, SCORES, "0.42") == 0.42


@settings(max_examples=60, deadline=None)
@given(both_classes, st.floats(0, 1))
def test_chosen_threshold_reaches_its_bound(rows: list[tuple[int, int]], bound: float) -> None:
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
    levels = judge(table(rows), decision(), how=QUICK).levels
    assert [level.n for level in levels.values()] == [4, 4, 3, 2]
    assert [level.n_positive for level in levels.values()] == [1, 1, 1, 1]
    assert levels["patient"].main.confusion == count_confusion(np.array([1, 0]), np.array([0.7, 0.1]), 0.5)
    assert levels["patient"].ranking["auc"].value == 1.0


def test_a_level_without_a_known_label_is_left_out_and_patients_without_one_are_refused() -> None:
    frame = drawn_table(20, 10).assign(label=0, unsettled="breast")
    frame.loc[0, "unsettled"] = ""
    frame.loc[0, "patient_id"] = "P"
    assert list(judge(frame, decision(), how=QUICK).levels) == ["lesion", "image", "patient"]
    with pytest.raises(ScoreError, match="no patient has a known label"):
        judge(frame.iloc[1:], decision(), how=QUICK)


def findings_table() -> pd.DataFrame:
    """Three findings: two views of 0.8 and 0.5, one view of 0.2, and two views with two labels."""
    rows = [("a", "P1", "B1", "I1", 1, 0.8), ("b", "P1", "B1", "I2", 1, 0.5), ("c", "P2", "B2", "I3", 0, 0.2)]
    rows += [("d", "P3", "B3", "I4", 1, 0.9), ("e", "P3", "B3", "I5", 0, 0.9)]
    return table(rows).assign(finding_id=["F1", "F1", "F2", "F3", "F3"])


def test_a_finding_has_the_mean_log_odds_of_its_views() -> None:
    found = gather_level(findings_table(), "finding", task="lesion", how="max")
    # The odds of 0.8 and 0.5 are 4 and 1; their geometric mean is 2, which is a probability of 2/3.
    assert found["score"].to_dict() == pytest.approx({"F1": 2 / 3, "F2": 0.2})
    assert found["label"].to_dict() == {"F1": 1, "F2": 0}
    assert found["finding_views"].to_dict() == {"F1": 2, "F2": 1}


def test_the_temperature_of_findings_divides_their_log_odds() -> None:
    found = gather_level(findings_table(), "finding", task="lesion", how="max", temperature=0.5)
    assert found["score"].to_dict() == pytest.approx({"F1": 4 / 5, "F2": 1 / 17})


def test_findings_are_a_level_only_where_a_table_names_them() -> None:
    assert levels_of("lesion", findings_table()) == ["lesion", "finding", "image", "breast", "patient"]
    assert levels_of("lesion", table([])) == ["lesion", "image", "breast", "patient"]
    assert levels_of("finding") == ["finding", "breast", "patient"]


def test_findings_are_judged_for_two_views_one_view_and_all() -> None:
    generator = np.random.default_rng(3)
    lesions = [(f"{number}{view}", number, view) for number in range(60) for view in ("a", "b")[: 1 + number % 2]]
    rows = [
        (case, f"P{number}", f"B{number}", case, number % 4 // 2, 1 / (1 + np.exp(-generator.normal(number % 4 // 2))))
        for case, number, _ in lesions
    ]
    scores = table(rows).assign(finding_id=[f"F{number}" for _, number, _ in lesions])
    scores["logit"] = np.log(scores["score"] / (1 - scores["score"]))
    chosen, scored = make_decision(scores, EvaluationSettings(), task="lesion")
    judged = judge(scored, chosen, how=EvaluationSettings(resamples=100))
    assert list(judged.levels) == ["lesion", "finding", "image", "breast", "patient"]
    assert judged.levels["finding"].n == 60
    groups = {group.value: group.n for group in judged.subgroups if group.column == "finding_views"}
    assert groups == {"1": 30, "2": 30}
    found = gather_level(scored, "finding", task="lesion", how="max")
    labels, odds = found["label"].to_numpy(), np.log(found["score"] / (1 - found["score"])).to_numpy()
    fitted, near = chosen.finding_temperature, (0.95, 1.05)
    assert all(cross_entropy(labels, odds / fitted) < cross_entropy(labels, odds / fitted / by) for by in near)
    again = Decision.of_json(json.loads(json.dumps(chosen.as_json())))
    assert again == chosen


def test_a_finding_in_two_breasts_is_an_error() -> None:
    scores = findings_table().assign(finding_id=["F1", "F1", "F1", "F3", "F3"])
    with pytest.raises(ScoreError, match="finding_id belongs to another breast above"):
        check_scores(scores, "scores.csv")


def test_findings_of_two_labels_only_leave_the_level_out() -> None:
    rows = [("a", "P1", "B1", "I1", 1, 0.9), ("b", "P1", "B1", "I2", 0, 0.2)]
    rows += [("c", "P2", "B2", "I3", 1, 0.8), ("d", "P2", "B2", "I4", 0, 0.1)]
    scores = table(rows).assign(finding_id=["F1", "F1", "F2", "F2"], fold=[0, 0, 1, 1])
    point = Point("recall>=0.90", dict.fromkeys(levels_of("lesion"), 0.5))
    one = Decision((point,), Calibrator("temperature", 1.0), "lesion", "max", "validation", 10, 5, "")
    judged = judge(scores, {0: one, 1: one}, how=EvaluationSettings(resamples=100))
    assert list(judged.levels) == ["lesion", "image", "breast", "patient"]


def test_folds_of_which_one_knows_no_findings_are_judged_without() -> None:
    scores = findings_table().assign(fold=[0, 0, 1, 1, 1])
    with_findings = Point("recall>=0.90", dict.fromkeys(levels_of("lesion"), 0.5))
    how = (Calibrator("temperature", 1.0), "lesion", "max", "validation", 10, 5, "")
    judged = judge(scores, {0: Decision((with_findings,), *how), 1: decision()}, how=EvaluationSettings(resamples=100))
    assert "finding" not in judged.levels
    with pytest.raises(ScoreError, match="column fold: expected one of 0, got 1"):
        judge(scores, {0: decision()}, how=EvaluationSettings(resamples=100))


def test_noisy_or_is_one_minus_the_product() -> None:
    rows = [("a", "P1", "P1_L", "i1", 0, 0.2), ("b", "P1", "P1_L", "i2", 1, 0.5)]
    gathered = gather_level(table(rows), "patient", task="lesion", how="noisy_or")
    assert gathered["score"].tolist() == pytest.approx([1 - 0.8 * 0.5])
    assert gather_level(table(rows), "patient", task="lesion", how="mean")["score"].tolist() == pytest.approx([0.35])


def test_json_has_the_documented_form() -> None:
    rows = [("a", "P1", "P1_L", "i1", 0, 0.2), ("b", "P2", "P2_L", "i2", 1, 0.4)]
    plain = judge(table(rows), decision(), how=QUICK).as_json()
    lesion = plain["levels"]["lesion"]
    names = {
        "n",
        "n_positive",
        "n_patients",
        "auc",
        "average_precision",
        "accuracy",
        "recall",
        "specificity",
        "precision",
        "f1",
    }
    assert names | {
        "balanced_accuracy",
        "brier",
        "ece",
        "npv",
        "auc_delong",
        "threshold",
        "confusion",
        "points",
    } <= set(lesion)
    assert lesion["auc"]["value"] == 1.0
    assert lesion["precision"] == {"value": None, "undefined": "no case called malignant"}
    assert plain["operating_point"]["threshold"] == 0.5
    assert {"subgroups", "calibration", "sweep", "intervals"} <= set(plain)
    json.dumps(plain, allow_nan=False)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_judged_as_far_as_it_goes(label: int) -> None:
    judgement = judge(drawn_table(30, 10).assign(label=label), decision(), how=QUICK)
    assert judgement.own.ranking["auc"].undefined == "one class only"
    assert judgement.own.delong.undefined == "one class only"
    assert judgement.own.ranking["brier"].low is not None
    json.dumps(judgement.as_json(), allow_nan=False)


def test_equal_scores_and_one_patient_are_judged() -> None:
    frame = drawn_table(30, 10).assign(score=0.5, logit=0.0)
    alike = judge(frame, decision(), how=QUICK).own
    assert (alike.ranking["auc"].value, alike.ranking["auc"].low) == (0.5, None)
    assert alike.ranking["auc"].no_interval == "every resample has the same value"
    assert alike.ranking["calibration_slope"].undefined == "complete separation, or all scores are equal"
    one = judge(drawn_table(30, 30).assign(patient_id="P", breast_id="P_L", image_id="P_L_CC"), decision(), how=QUICK)
    assert one.levels["patient"].ranking["auc"].undefined == "one class only"
    assert one.own.delong.no_interval.startswith("fewer than two patients")


def test_a_million_cases_are_measured_as_scikit_learn_does() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 1_000_000)
    scores = np.round(generator.random(1_000_000) * 0.7 + 0.3 * labels, 4)
    cases = Cases(labels, scores, generator.integers(0, 400_000, 1_000_000), np.full((1, 1_000_000), 0.5))
    counts = next(draw_patients(cases.patients, 1, seed=1))
    found = Ranking(cases).measure(counts)
    weights = counts[cases.patient, 0]
    assert found["auc"][0] == pytest.approx(
        sklearn.metrics.roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12
    )
    expected = sklearn.metrics.average_precision_score(labels, scores, sample_weight=weights)
    assert found["average_precision"][0] == pytest.approx(expected, abs=1e-12)
    assert measure_at(count_confusion(labels, scores, 0.5))["npv"].value == pytest.approx(
        sklearn.metrics.precision_score(1 - labels, scores < 0.5)
    )


@pytest.mark.parametrize(("rules", "halves"), [(("0.5", "youden"), 1), (("youden", "0.5"), 1), (("youden",), 1)])
def test_calls_at_half_are_at_half_whatever_the_rules(rules: tuple[str, ...], halves: int) -> None:
    frame = drawn_table(80, 40)
    made, _ = make_decision(drawn_table(80, 40, seed=1), with_rules(*rules), task="lesion")
    own = judge(frame, made, how=QUICK).own
    assert [point.rule for point in own.points].count("0.5") == halves
    assert own.half.threshold == 0.5
    assert own.half.confusion == count_confusion(frame["label"].to_numpy(), frame["score"].to_numpy(), 0.5)


def test_a_perfect_recall_is_bounded_by_the_number_of_patients() -> None:
    frame = drawn_table(60, 60).assign(label=[1] * 30 + [0] * 30, score=[0.9] * 30 + [0.1] * 30)
    recall = judge(frame, decision(), how=QUICK).own.main.metrics["recall"]
    # Clopper and Pearson's bound of 30 of 30, as statsmodels gives it.
    expected = proportion_confint(30, 30, method="beta")
    assert (recall.value, recall.low, recall.high) == (1.0, pytest.approx(expected[0]), 1.0)


def test_scores_of_exactly_0_or_1_have_no_slope() -> None:
    frame = drawn_table(40, 20)
    frame.loc[0, "score"] = 1.0
    assert judge(frame, decision(), how=QUICK).own.ranking["calibration_slope"].undefined == (
        "1 scores are exactly 0 or 1, which have no log-odds"
    )


def test_a_level_where_validation_has_one_class_borrows_the_threshold() -> None:
    validation = drawn_table(40, 4, seed=3).assign(label=[1, 0] * 20)
    made, _ = make_decision(validation, with_rules("youden"), task="lesion")
    assert made.points[0].borrowed == ("image", "breast", "patient")
    assert len(set(made.points[0].thresholds.values())) == 1


def test_thresholds_are_chosen_on_validation_for_each_level() -> None:
    validation = drawn_table(300, 60, seed=1)
    rules = with_rules("recall>=0.90", "specificity>=0.80", "youden", "0.4")
    made, scored = make_decision(validation, rules, task="lesion")
    assert [point.rule for point in made.points] == ["recall>=0.90", "specificity>=0.80", "youden", "0.4"]
    for level, threshold in made.points[0].thresholds.items():
        frame = gather_level(scored, level, task="lesion", how="max")
        recall = measure_at(count_confusion(frame["label"].to_numpy(), frame["score"].to_numpy(), threshold))[
            "recall"
        ].value
        assert recall >= 0.90
    assert set(made.points[3].thresholds.values()) == {0.4}
    assert Decision.of_json(json.loads(json.dumps(made.as_json()))) == made


def test_validation_with_one_class_is_refused() -> None:
    with pytest.raises(ScoreError, match="expected logits of both classes"):
        make_decision(drawn_table(20, 10).assign(label=0), with_rules("youden"), task="lesion")


def test_folds_are_called_at_their_own_thresholds() -> None:
    frame = drawn_table(40, 20).assign(fold=lambda rows: rows["patient_id"].str[-1].astype(int) % 2)
    both = judge(frame, {0: decision(0.3), 1: decision(0.7)}, how=QUICK).own.main
    own = np.where(frame["fold"] == 0, 0.3, 0.7)
    assert both.threshold is None
    assert both.confusion == count_confusion(frame["label"].to_numpy(), frame["score"].to_numpy(), own)


def test_sweep_goes_from_all_called_to_none() -> None:
    swept = judge(drawn_table(200, 100), decision(), how=QUICK).sweep
    assert swept[0].metrics["recall"].value == 1.0
    assert swept[-1].metrics["specificity"].value == 1.0
    recalls = [point.metrics["recall"].value for point in swept]
    assert recalls == sorted(recalls, reverse=True)
    assert swept[-1].metrics["precision"].undefined == "no case called malignant"
    assert swept[0].metrics["recalled_per_1000"].value == 1000
    assert swept[-1].metrics["recalled_per_1000"].value == 0


def test_a_thousand_screened_women_by_hand() -> None:
    # Lehman et al. 2017: sensitivity 0.869 and specificity 0.889 at 5.9 cancers per 1,000; they print a PPV of 4.4 %.
    found = per_thousand(np.array(0.869), np.array(0.889), 0.0059)
    assert round(float(found["ppv_at_prevalence"]), 3) == 0.044
    assert round(float(found["recalled_per_1000"]) / 10, 1) == 11.5
    assert round(float(found["missed_per_1000"]), 1) == 0.8
    nobody = per_thousand(np.array(0.0), np.array(1.0), 0.006)
    assert np.isnan(nobody["ppv_at_prevalence"])


def test_subgroups_are_counted_marked_and_named() -> None:
    frame = drawn_table(200, 100)
    density = np.where(np.arange(200) < 30, "4.0", "2")
    pathology = np.where(
        frame["label"] == 1, "MALIGNANT", np.where(np.arange(200) % 2, "BENIGN", "BENIGN_WITHOUT_CALLBACK")
    )
    groups = judge(
        frame.assign(density=density, view="CC", subtlety="", pathology=pathology), decision(), how=QUICK
    ).subgroups
    assert [(group.column, group.value, group.n) for group in groups[:2]] == [
        ("density", "2", 170),
        ("density", "4", 30),
    ]
    assert [group.few for group in groups[:2]] == [False, True]
    last = groups[-1]
    assert (last.column, last.value) == ("pathology", "without BENIGN_WITHOUT_CALLBACK")
    assert last.n == int((pathology != "BENIGN_WITHOUT_CALLBACK").sum())
    assert {group.column for group in groups} == {"density", "pathology"}
    kept = frame[density == "2"]
    expected = sklearn.metrics.roc_auc_score(kept["label"], kept["score"])
    assert groups[0].metrics["auc"].value == pytest.approx(expected)


def test_every_error_of_a_score_table_is_named() -> None:
    rows = [("a", "P1", "B", "i", 0, 1.2), ("a", "P1", "B", "i", 2, float("nan"))]
    with pytest.raises(
        ScoreError, match=r"4 errors.*line 2: score.*1\.2.*line 3: score.*line 3: label.*line 3: case_id.*another label"
    ):
        check_scores(table(rows), "scores.csv")


def test_broken_logits_folds_and_owners_are_errors() -> None:
    rows = [("a", "P1", "B", "i", 0, 0.2), ("b", "P2", "B", "j", 1, 0.3), ("a", "P1", "C", "k", 0, 0.4)]
    frame = table(rows).assign(logit=[0.1, float("inf"), 0.3], fold=["0", "1.5", "x"])
    with pytest.raises(ScoreError) as caught:
        check_scores(frame, "scores.csv")
    for error in (
        "line 4: case_id is duplicated",
        "line 3: breast_id belongs to another patient above",
        "line 3: logit must be a finite number",
        "line 3: fold must be a whole number",
        "line 4: fold must be a whole number",
    ):
        assert error in str(caught.value)


def test_empty_ids_of_a_score_table_are_errors_and_na_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(
        "case_id,patient_id,breast_id,image_id,label,score\nNA,P1,B1,i1,0,0.2\nb,P2,,i2,1,0.3\n", encoding="utf-8"
    )
    with pytest.raises(ScoreError, match=r"line 3: breast_id is empty") as caught:
        read_scores(path)
    assert "line 2" not in str(caught.value)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.floats(allow_nan=True, allow_infinity=True), st.integers(0, 3)),
        min_size=1,
        max_size=12,
    )
)
def test_any_number_is_a_score_or_an_error_and_never_a_crash(rows: list[tuple[int, float, int]]) -> None:
    frame = table(
        [
            (f"c{number}", f"P{owner}", f"B{owner}", f"i{owner}", label, score)
            for number, (label, score, owner) in enumerate(rows)
        ]
    )
    wrong = [number for number, (_, score, _) in enumerate(rows) if not 0 <= score <= 1]
    if wrong:
        with pytest.raises(ScoreError) as caught:
            check_scores(frame, "scores.csv")
        assert all(f"line {number + 2}: score must be a probability" in str(caught.value) for number in wrong)
        return
    plain = judge(check_scores(frame, "scores.csv"), decision(), how=EvaluationSettings(resamples=100)).as_json()
    json.dumps(plain, allow_nan=False)


def test_lines_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    text = 'case_id,patient_id,breast_id,image_id,label,score\n\n"a\nb",P1,B1,i1,0,0.2\n\nc,P2,B2,i2,1,high\n'
    (tmp_path / "scores.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ScoreError, match=r"scores\.csv: line 6: score must be a probability in 0-1, got 'high'"):
        read_scores(tmp_path / "scores.csv")


def test_missing_columns_of_a_score_table_are_named(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("case_id,score\na,0.2\n", encoding="utf-8")
    with pytest.raises(ScoreError, match=r"column patient_id is missing.*column label is missing"):
        read_scores(tmp_path / "scores.csv")
    with pytest.raises(DataMissingError, match="there is no such file"):
        read_scores(tmp_path / "none.csv")


def test_operating_point_is_worded() -> None:
    assert in_words(0.6, decision(0.5)).startswith("called malignant: 0.600 is at or above the threshold 0.500")
    assert "chosen for recall>=0.90 on 10 validation cases" in in_words(0.4, decision(0.5))
