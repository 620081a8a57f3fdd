"""DeLong's variance: against published examples, another library, and where it is undefined."""

import confidenceinterval
import numpy as np
import pytest
from hypothesis import given, settings

from mammo.evaluation.compare import delong_test
from mammo.evaluation.intervals import auc_covariance, auc_interval
from tests.evaluation.published import (
    ARTERIES,
    CT_ABNORMAL,
    CT_NORMAL,
    S100B_GOOD,
    S100B_POOR,
    WFNS_GOOD,
    WFNS_POOR,
    rated,
)
from tests.evaluation.tables import as_cases, both_classes


def test_hanley_and_mcneils_ct_ratings() -> None:
    labels, ratings = rated(CT_NORMAL, CT_ABNORMAL)
    metric = auc_interval(labels, ratings, np.arange(len(labels)))
    # As Stata's and R's pROC print it: AUC 0.8932, standard error 0.0307, 0.8330 to 0.9534.
    assert (round(metric.value, 4), round(metric.low, 4), round(metric.high, 4)) == (0.8932, 0.833, 0.9534)


def test_obuchowskis_arteries_several_of_a_patient() -> None:
    patient, labels, scores = ARTERIES[:, 0] - 1, ARTERIES[:, 1], ARTERIES[:, 2:].T.astype(float)
    aucs, covariance = auc_covariance(labels, scores, patient)
    # Table 3's readers: areas 0.9837 and 0.9852, standard errors 0.0108 and 0.0097; difference 0.0014, its error
    # 0.0066, p 0.8271.
    assert np.round(aucs, 4).tolist() == [0.9837, 0.9852]
    assert np.round(np.sqrt(np.diag(covariance)), 4).tolist() == [0.0108, 0.0097]
    difference = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert round(float(np.sqrt(difference)), 4) == 0.0066
    assert round(delong_test(labels, scores[0], scores[1], patient)[1], 4) == 0.8271


def test_interval_is_cut_at_one() -> None:
    patient, labels = ARTERIES[:, 0] - 1, ARTERIES[:, 1]
    metric = auc_interval(labels, ARTERIES[:, 2].astype(float), patient)
    assert (round(metric.low, 4), metric.high) == (0.9625, 1.0)  # 1.005 in the paper's own figures


def test_two_markers_of_one_haemorrhage_study() -> None:
    labels = np.repeat([0, 1], [72, 41])
    wfns, s100b = np.array(WFNS_GOOD + WFNS_POOR, float), np.array(f"{S100B_GOOD} {S100B_POOR}".split(), float)
    z, p = delong_test(labels, s100b, wfns, np.arange(113))
    # pROC's own test of the same comparison: Z 2.20898359144091, p 0.0271757822291882.
    assert z == pytest.approx(2.20898359144091, abs=1e-10)
    assert p == pytest.approx(0.0271757822291882, abs=1e-10)


@settings(max_examples=50, deadline=None)
@given(both_classes)
def test_single_cases_give_the_plain_form(rows: list[tuple[int, int, int]]) -> None:
    cases = as_cases(rows)
    if min(cases.malignant.sum(), (~cases.malignant).sum()) < 2:
        return
    metric = auc_interval(cases.labels, cases.scores, np.arange(len(cases)))
    area, (low, high) = confidenceinterval.roc_auc_score(
        cases.labels, cases.scores, confidence_level=0.95, method="delong"
    )
    if np.isnan(low) or metric.low is None:
        assert low == high or np.isnan(low)
        return
    # The library's ranks are of single precision.
    assert (metric.value, metric.low, metric.high) == pytest.approx((area, max(low, 0), min(high, 1)), abs=1e-5)


def test_the_order_of_cases_is_ignored() -> None:
    order = np.random.default_rng(0).permutation(len(ARTERIES))
    _, before = auc_covariance(ARTERIES[:, 1], ARTERIES[:, 2:].T.astype(float), ARTERIES[:, 0])
    _, after = auc_covariance(ARTERIES[order, 1], ARTERIES[order, 2:].T.astype(float), ARTERIES[order, 0])
    np.testing.assert_allclose(before, after, rtol=1e-10)


@pytest.mark.parametrize(
    ("labels", "patient", "reason"),
    [
        ([1, 1, 1], [0, 1, 2], "one class only"),
        ([1, 0, 0], [0, 1, 2], "fewer than two patients with malignant"),
        ([1, 0, 1], [0, 0, 0], "fewer"),
    ],
)
def test_no_variance_is_said(labels: list[int], patient: list[int], reason: str) -> None:
    metric = auc_interval(np.array(labels), np.array([0.2, 0.4, 0.6]), np.array(patient))
    assert (metric.low, metric.high) == (None, None)
    assert (metric.undefined or metric.no_interval).startswith(reason)
    assert (metric.value is None) == (len(set(labels)) == 1)


def test_perfect_and_equal_scores_have_no_interval() -> None:
    labels, patient = np.array([0, 0, 1, 1]), np.arange(4)
    for scores, area in ((np.array([0.1, 0.2, 0.8, 0.9]), 1.0), (np.full(4, 0.5), 0.5)):
        metric = auc_interval(labels, scores, patient)
        assert (metric.value, metric.low, metric.no_interval) == (area, None, "the estimated variance is zero")


def test_systems_that_rank_alike_have_no_p() -> None:
    scores = np.array([0.1, 0.4, 0.3, 0.9])
    assert delong_test(np.array([0, 1, 0, 1]), scores, scores / 2, np.arange(4)) == (None, None)
