"""From logit to probability: fits, slope, intercept, ECE and reliability, against other libraries."""

import numpy as np
import pytest
import sklearn.calibration
import sklearn.metrics
import statsmodels.api
from hypothesis import given, settings
from hypothesis import strategies as st

from mammo.errors import ScoreError
from mammo.evaluation.calibration import Calibrator, fit_calibrator, measure_calibration, reliability, to_probability
from mammo.evaluation.metrics import ECE_BINS, cross_entropy, expected_calibration_error
from mammo.evaluation.scores import Cases
from tests.evaluation.published import CT_ABNORMAL, CT_NORMAL, rated
from tests.evaluation.tables import as_cases, both_classes, cases_of_patients

GENERATOR = np.random.default_rng(8)
LABELS = (GENERATOR.random(400) < 0.5).astype(int)
LOGITS = 3 * (GENERATOR.normal(size=400) + LABELS - 0.5)  # three times too confident


def test_temperature_is_the_one_of_least_cross_entropy() -> None:
    fitted = fit_calibrator(LABELS, LOGITS, "temperature")
    # One parameter, the inverse temperature: statsmodels' logistic regression without a constant has the same maximum.
    expected = statsmodels.api.Logit(LABELS, LOGITS[:, None]).fit(disp=0).params[0]
    assert fitted.temperature == pytest.approx(1 / expected, rel=1e-5)
    assert cross_entropy(LABELS, LOGITS / fitted.temperature) < cross_entropy(LABELS, LOGITS)


def test_temperature_stays_finite_with_complete_separation() -> None:
    assert fit_calibrator(
        np.array([0, 0, 1, 1]), np.array([-2.0, -1, 1, 2]), "temperature"
    ).temperature == pytest.approx(0.05, rel=1e-3)
    assert fit_calibrator(
        np.array([1, 1, 0, 0]), np.array([-2.0, -1, 1, 2]), "temperature"
    ).temperature == pytest.approx(20, rel=1e-3)


@pytest.mark.parametrize("method", ["temperature", "isotonic", "none"])
def test_ranking_survives_calibration(method: str) -> None:
    scores = fit_calibrator(LABELS, LOGITS, method).apply(LOGITS)
    order = np.argsort(LOGITS)
    assert (np.diff(scores[order]) > 0).all()
    assert scores.min() > 0
    assert scores.max() < 1
    expected = sklearn.metrics.roc_auc_score(LABELS, LOGITS)
    assert sklearn.metrics.roc_auc_score(LABELS, scores) == pytest.approx(expected)


def test_isotonic_gives_the_share_of_each_step() -> None:
    logits, labels = np.array([-2.0, -1, 0, 1]), np.array([0, 1, 0, 1])
    # The middle two break the order and are pooled to a half.
    assert fit_calibrator(labels, logits, "isotonic").apply(logits) == pytest.approx([0, 0.5, 0.5, 1], abs=3e-3)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_one_class_cannot_be_calibrated(method: str) -> None:
    with pytest.raises(
        ScoreError, match=f"calibration {method}: expected logits of both classes, got 3 cases of one class"
    ):
        fit_calibrator(np.ones(3, int), np.array([0.1, 0.2, 0.3]), method)


def test_slope_and_intercept_of_ct_ratings() -> None:
    labels, ratings = rated(CT_NORMAL, CT_ABNORMAL)
    cases = Cases(labels, ratings / 6, np.arange(len(labels)), np.empty((0, len(labels))))
    measured = measure_calibration(cases)
    # Both R's glm and statsmodels' GLM say so.
    assert measured["calibration_slope"].value == pytest.approx(1.474974438249, abs=1e-8)
    assert measured["calibration_intercept"].value == pytest.approx(-0.295030554168, abs=1e-8)


def test_ece_of_ct_ratings_by_hand() -> None:
    labels, ratings = rated(CT_NORMAL, CT_ABNORMAL)
    # Ratings of a sixth, a third, … lie in bins of their own:
    # |3 - 36/6| + |2 - 8/3| + |2 - 8/2| + |11 - 44/3| + |33 - 175/6| of 109.
    by_hand = (abs(3 - 6) + abs(2 - 8 / 3) + abs(2 - 4) + abs(11 - 44 / 3) + abs(33 - 175 / 6)) / 109
    assert expected_calibration_error(labels, ratings / 6) == pytest.approx(by_hand)


@settings(max_examples=60, deadline=None)
@given(cases_of_patients)
def test_reliability_equals_scikit_learns(rows: list[tuple[int, int, int]]) -> None:
    cases = as_cases(rows)
    bins = reliability(cases.labels, cases.scores)
    share, mean = sklearn.calibration.calibration_curve(cases.labels, cases.scores, n_bins=ECE_BINS)
    assert [one.malignant / one.cases for one in bins] == pytest.approx(share.tolist())
    assert [one.mean_score for one in bins] == pytest.approx(mean.tolist())
    assert sum(one.cases for one in bins) == len(cases)


@settings(max_examples=40, deadline=None)
@given(both_classes)
def test_slope_equals_statsmodels_or_says_why_not(rows: list[tuple[int, int, int]]) -> None:
    cases = as_cases([(label, 1 + score * 18 // 20, patient) for label, score, patient in rows])
    measured = measure_calibration(cases)["calibration_slope"]
    low, high = cases.scores[cases.malignant], cases.scores[~cases.malignant]
    separable = low.min() >= high.max() or high.min() >= low.max()
    if separable or len(np.unique(cases.scores)) == 1:
        assert measured.value is None
        assert measured.undefined == "complete separation, or all scores are equal"
        return
    fitted = statsmodels.api.GLM(
        cases.labels, statsmodels.api.add_constant(cases.log_odds), family=statsmodels.api.families.Binomial()
    ).fit()
    assert measured.value == pytest.approx(fitted.params[1], abs=1e-4)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-800, 800), min_size=1, max_size=20), st.floats(0.05, 20))
def test_probabilities_stay_in_their_range(logits: list[float], temperature: float) -> None:
    scores = Calibrator("temperature", temperature).apply(np.array(logits))
    assert ((scores >= 0) & (scores <= 1)).all()
    assert to_probability(np.array([0.0]))[0] == 0.5
