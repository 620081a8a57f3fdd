"""Resampling patients: each resample's metric is that of its repeated rows, and where there is no interval."""

import numpy as np
import pytest
import sklearn.metrics
import statsmodels.api
from hypothesis import given, settings
from hypothesis import strategies as st

from mammo.evaluation.intervals import draw_patients, resample, with_interval
from mammo.evaluation.metrics import Metric, expected_calibration_error
from mammo.evaluation.scores import Cases
from mammo.evaluation.weighted import Calibration, Ranking
from tests.evaluation.tables import as_cases, both_classes, drawn_table


def repeated(cases: Cases, counts: np.ndarray) -> np.ndarray:
    """Row numbers, each as often as its patient was drawn."""
    return np.repeat(np.arange(len(cases)), counts[cases.patient].astype(int))


@settings(max_examples=60, deadline=None)
@given(both_classes, st.integers(0, 1000))
def test_a_resample_is_its_repeated_rows(rows: list[tuple[int, int, int]], seed: int) -> None:
    cases = as_cases(rows, thresholds=(0.5, 0.35))
    counts = next(draw_patients(cases.patients, 12, seed=seed))
    ranking = Ranking(cases).measure(counts)
    drawn = resample(cases, resamples=12, seed=seed, calibration=False)
    for number in range(12):
        chosen = repeated(cases, counts[:, number])
        labels, scores = cases.labels[chosen], cases.scores[chosen]
        assert drawn.ranking["brier"][number] == pytest.approx(
            sklearn.metrics.brier_score_loss(labels, scores), abs=1e-12
        )
        assert drawn.ranking["ece"][number] == pytest.approx(expected_calibration_error(labels, scores), abs=1e-12)
        assert drawn.points[1]["accuracy"][number] == pytest.approx(
            sklearn.metrics.accuracy_score(labels, scores >= 0.35), abs=1e-12
        )
        if len(set(labels)) < 2:
            assert np.isnan(ranking["auc"][number])
            assert np.isnan(ranking["average_precision"][number])
            continue
        assert ranking["auc"][number] == pytest.approx(sklearn.metrics.roc_auc_score(labels, scores), abs=1e-12)
        expected = sklearn.metrics.average_precision_score(labels, scores)
        assert ranking["average_precision"][number] == pytest.approx(expected, abs=1e-12)
        assert drawn.points[0]["recall"][number] == pytest.approx(
            sklearn.metrics.recall_score(labels, scores >= 0.5), abs=1e-12
        )
        assert drawn.ranking["auc"][number] == ranking["auc"][number]


def test_calibration_of_a_resample_is_statsmodels_on_its_rows() -> None:
    cases = Cases.of(drawn_table(600, 300, gain=1.5))
    counts = next(draw_patients(cases.patients, 6, seed=3))
    found = Calibration(cases).measure(counts)
    for number in range(6):
        chosen = repeated(cases, counts[:, number])
        labels, odds = cases.labels[chosen], cases.log_odds[chosen]
        family = statsmodels.api.families.Binomial()
        both = statsmodels.api.GLM(labels, statsmodels.api.add_constant(odds), family=family).fit()
        large = statsmodels.api.GLM(labels, np.ones(len(odds)), family=family, offset=odds).fit()
        assert found["calibration_slope"][number] == pytest.approx(both.params[1], abs=2e-5)
        assert found["calibration_intercept"][number] == pytest.approx(large.params[0], abs=2e-5)


def test_what_is_drawn_depends_on_the_seed_alone() -> None:
    whole = np.concatenate(list(draw_patients(37, 50, seed=4, at_once=64)), axis=1)
    in_parts = np.concatenate(list(draw_patients(37, 50, seed=4, at_once=7)), axis=1)
    np.testing.assert_array_equal(whole, in_parts)
    assert (whole.sum(axis=0) == 37).all()
    assert not np.array_equal(whole, np.concatenate(list(draw_patients(37, 50, seed=5)), axis=1))


def test_patients_with_many_like_cases_widen_the_interval() -> None:
    table = drawn_table(200, 200)
    tenfold = table.loc[table.index.repeat(10)].reset_index(drop=True)
    alone = tenfold.assign(patient_id=[str(number) for number in range(len(tenfold))])
    width = {}
    for name, frame in (("as patients", tenfold), ("as if alone", alone), ("once", table)):
        metric = with_interval(Metric(0.5), resample(Cases.of(frame), resamples=400, calibration=False).ranking["auc"])
        width[name] = metric.high - metric.low
    # Ten copies of each case say no more than one, and counting them as independent is wrong by the root of ten.
    assert width["as patients"] == pytest.approx(width["once"], rel=0.2)
    assert width["as if alone"] < 0.5 * width["as patients"]


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    # A patient's four cases have one label, a shared part of the logit (variance 0.9) and one of their own (0.1), so
    # the logits are normal with variance 1 and means 1 apart: the AUC is Φ(1/√2) = 0.7602. 200 samples of 60 patients.
    truth, covered, as_if_alone = 0.76025, 0, 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        label = np.repeat(generator.integers(0, 2, 60), 4)
        logit = label + np.repeat(generator.normal(0, np.sqrt(0.9), 60), 4) + generator.normal(0, np.sqrt(0.1), 240)
        scores, patient = 1 / (1 + np.exp(-logit)), np.repeat(np.arange(60), 4)
        for cluster in (patient, np.arange(240)):
            cases = Cases(label, scores, cluster, np.empty((0, 240)))
            metric = with_interval(
                Metric(0.5), resample(cases, resamples=200, seed=seed, calibration=False).ranking["auc"]
            )
            inside = metric.low <= truth <= metric.high
            covered, as_if_alone = (
                (covered + inside, as_if_alone) if cluster is patient else (covered, as_if_alone + inside)
            )
    assert 0.89 <= covered / 200 <= 0.99
    assert as_if_alone / 200 < 0.80


def test_many_undefined_resamples_give_a_reason_and_no_interval() -> None:
    values = np.array([np.nan] * 30 + [0.5] * 70)
    metric = with_interval(Metric(0.5), values)
    assert (metric.low, metric.no_interval) == (None, "it has no value in 30 of 100 resamples")
    assert metric.as_json() == {"value": 0.5, "no_interval": "it has no value in 30 of 100 resamples"}


def test_one_patient_has_no_interval() -> None:
    drawn = resample(Cases.of(drawn_table(40, 40).assign(patient_id="P1")), resamples=100)
    assert with_interval(Metric(0.7), drawn.ranking["auc"]).no_interval == "every resample has the same value"
