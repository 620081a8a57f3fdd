"""Comparison of systems on the same cases: published tests, other libraries, and what cannot be compared."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from mammo.errors import ScoreError
from mammo.evaluation.compare import System, compare, mcnemar_test
from mammo.evaluation.judge import judge
from mammo.evaluation.operating_point import half_decision
from mammo.evaluation.scores import check_scores
from mammo.settings.schema import EvaluationSettings
from tests.evaluation.published import THYROIDS
from tests.evaluation.tables import decision, drawn_table

QUICK = EvaluationSettings(resamples=200)


def other_system(frame: pd.DataFrame, *, gain: float, seed: int = 9) -> pd.DataFrame:
    logit = frame["logit"] + np.random.default_rng(seed).normal(size=len(frame)) * 0.7 + gain * frame["label"]
    return frame.assign(logit=logit, score=1 / (1 + np.exp(-logit)))


def test_obuchowskis_thyroid_glands() -> None:
    first, second, patient = [], [], []
    outcomes = ((True, True), (True, False), (False, True), (False, False))
    for number, counts in enumerate(THYROIDS.T):
        for count, (one, two) in zip(counts, outcomes, strict=True):
            first += [one] * count
            second += [two] * count
            patient += [number] * count
    statistic, p = mcnemar_test(np.array(first), np.array(second), np.array(patient))
    # Durkalski et al. 2003 print 2.86 for Obuchowski's test of these data; R's clust.bin.pair 2.8571, p 0.09097.
    assert round(statistic, 4) == 2.8571
    assert round(p, 5) == 0.09097


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60))
def test_single_cases_give_mcnemars_own(rows: list[tuple[bool, bool]]) -> None:
    first, second = (np.array(column) for column in zip(*rows, strict=True))
    statistic, _ = mcnemar_test(first, second, np.arange(len(rows)))
    if (first == second).all():
        assert statistic is None
        return
    cells = [[(first & second).sum(), (first & ~second).sum()], [(~first & second).sum(), (~first & ~second).sum()]]
    plain = mcnemar(np.array(cells), exact=False, correction=False).statistic
    assert statistic == pytest.approx(plain * (len(rows) - 1) / len(rows))


def test_the_same_system_differs_by_nothing() -> None:
    frame = drawn_table(120, 60)
    pair = compare(
        [System("A", frame, decision()), System("B", frame.sample(frac=1, random_state=1), decision())], how=QUICK
    )[0]
    assert {(one.difference.value, one.difference.low, one.difference.high) for one in pair.differences} == {
        (0.0, None, None)
    }
    assert all(one.p is None for one in pair.differences)


def test_a_better_system_is_found_better() -> None:
    frame = drawn_table(800, 400)
    pair = compare([System("A", frame, decision()), System("B", other_system(frame, gain=2.0), decision())], how=QUICK)[
        0
    ]
    auc = next(one for one in pair.differences if one.metric == "auc")
    assert auc.difference.value == pytest.approx(auc.second.value - auc.first.value)
    assert auc.difference.low > 0
    assert auc.p < 0.001
    assert auc.test == "DeLong, clustered"
    recall = next(one for one in pair.differences if one.metric == "recall")
    assert recall.difference.low > 0
    assert recall.p < 0.001


def test_paired_interval_is_narrower_than_that_of_two_samples() -> None:
    frame = drawn_table(400, 200)
    pair = compare([System("A", frame, decision()), System("B", other_system(frame, gain=0.0), decision())], how=QUICK)[
        0
    ]
    one = next(row for row in pair.differences if row.metric == "brier")
    widths = [
        judge(table, decision(), how=QUICK).own.ranking["brier"] for table in (frame, other_system(frame, gain=0.0))
    ]
    apart = np.sqrt(sum((metric.high - metric.low) ** 2 for metric in widths))
    assert one.difference.high - one.difference.low < apart


def test_several_systems_share_the_error_by_holms_method() -> None:
    frame = drawn_table(300, 150)
    systems = [
        System(name, other_system(frame, gain=gain, seed=seed), decision())
        for seed, (name, gain) in enumerate([("B", 0.3), ("C", 0.5)])
    ]
    pairs = compare([System("A", frame, decision()), *systems], how=QUICK)
    rows = [next(one for one in pair.differences if one.metric == "auc") for pair in pairs]
    expected = multipletests([row.p for row in rows], method="holm")[1]
    assert [row.p_holm for row in rows] == pytest.approx(expected.tolist())


def test_other_cases_labels_and_patients_are_refused_together() -> None:
    frame = drawn_table(20, 10)
    fewer = frame.iloc[1:]
    relabelled = frame.assign(label=1 - frame["label"])
    systems = [System(name, table, decision()) for name, table in (("A", frame), ("B", fewer), ("C", relabelled))]
    with pytest.raises(
        ScoreError,
        match=r"A and the others.*2 errors.*B: judged on other cases: 1 of the first are missing.*"
        r"C: label differs in 20",
    ):
        compare(systems)


def test_a_level_can_be_chosen() -> None:
    frame = drawn_table(60, 20)
    pair = compare(
        [System("A", frame, decision()), System("B", other_system(frame, gain=1.0), decision())],
        level="patient",
        how=QUICK,
    )[0]
    assert (pair.level, pair.n) == ("patient", 20)


def test_other_names_of_films_and_breasts_are_ignored() -> None:
    frame = drawn_table(80, 30)
    renamed = frame.assign(image_id="f" + frame["image_id"].str[::-1], breast_id="b" + frame["breast_id"].str[::-1])
    for level in ("image", "breast"):
        pair = compare([System("A", frame, decision()), System("B", renamed, decision())], level=level, how=QUICK)[0]
        assert {one.difference.value for one in pair.differences} == {0.0}


def test_each_systems_operating_point_is_reported() -> None:
    frame = drawn_table(40, 20)
    pair = compare(
        [
            System("A", frame, decision(0.3)),
            System("B", frame, half_decision("lesion")),
        ]
    )[0]
    assert pair.rules == ("recall>=0.90", "0.5")
    assert pair.thresholds == (0.3, 0.5)
    assert pair.as_json()["how"]["resamples"] == 2000


def test_one_class_is_compared_as_far_as_it_goes() -> None:
    frame = check_scores(drawn_table(20, 10).assign(label=1), "scores.csv")
    pair = compare([System("A", frame, decision()), System("B", other_system(frame, gain=1.0), decision())], how=QUICK)[
        0
    ]
    rows = {one.metric: one for one in pair.differences}
    assert rows["auc"].difference.undefined == "one class only"
    assert rows["specificity"].difference.undefined == "no benign case"
    assert rows["recall"].difference.value is not None
