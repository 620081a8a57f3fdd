"""The report's charts and pictures: against scipy, against hand calculation, and on real prepared films."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.stats import binomtest

from mammo.errors import DataMissingError
from mammo.evaluation.judge import case_thresholds
from mammo.prepare.gather import PreparedSplit, gather_split, prepare_split
from mammo.report.charts.figures import CHARTS, draw_roc, wilson
from mammo.report.charts.learning import best_epoch
from mammo.report.charts.style import MOST_POINTS, rule_name, thin
from mammo.report.charts.svg import to_svg
from mammo.report.page.pictures import SIDE_PX, hardest_cases, make_pictures
from tests.report.page_sources import folds_source, full_source
from tests.tiny import tiny_settings, write_films


def test_all_charts_are_figures() -> None:
    drawn = {name: draw(full_source()) for name, draw in CHARTS.items()}
    assert [name for name, figure in drawn.items() if not isinstance(figure, Figure)] == []


def test_roc_names_its_operating_points() -> None:
    svg = to_svg(draw_roc(full_source()) or Figure(), "roc")
    for words in ("recall ≥ 0.90", "specificity ≥ 0.90", "Youden", "threshold 0.5", "约登指数"):
        assert words in svg
    assert "font-family" not in svg
    assert "<metadata" not in svg
    assert rule_name("recall>=0.90") == "recall ≥ 0.90"


def test_many_cases_stay_a_small_drawing() -> None:
    generator = np.random.default_rng(0)
    label = generator.integers(0, 2, 200_000)
    score = 1 / (1 + np.exp(-generator.normal(size=200_000) - label))
    source = full_source(scores=pd.DataFrame({"label": label, "score": score}))
    assert all(
        len(to_svg(CHARTS[name](source) or Figure(), name)) < 60_000 for name in ("roc", "precision_recall", "scores")
    )


def test_thinned_curve_keeps_its_ends_and_its_shape() -> None:
    x = np.linspace(0, 1, 1_000_000)
    thin_x, thin_y = thin(x, x**2)
    assert len(thin_x) <= MOST_POINTS
    assert (thin_x[0], thin_x[-1], thin_y[-1]) == (0, 1, 1)
    assert np.interp(0.5, thin_x, thin_y) == pytest.approx(0.25, abs=1e-4)


@pytest.mark.parametrize(("hits", "of"), [(0, 1), (3, 10), (10, 10), (250, 1000)])
def test_wilson_equals_scipys(hits: int, of: int) -> None:
    low, high = wilson(np.array([hits]), np.array([of]))
    expected = binomtest(hits, of).proportion_ci(method="wilson")
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_best_epoch_follows_the_runs_own_rule() -> None:
    stopping = "training:\n  early_stopping: {{monitor: {}, mode: {}, min_delta: {}}}\n"
    assert best_epoch(full_source(config="")) == 3
    assert best_epoch(full_source(config=stopping.format("validation/loss", "min", 0.0))) == 4
    assert best_epoch(full_source(config=stopping.format("validation/loss", "min", 0.02))) == 2
    assert best_epoch(full_source(config="{ broken")) == 3
    assert best_epoch(full_source(log=None)) is None


def test_hardest_cases_are_the_surest_mistakes() -> None:
    scores = pd.DataFrame({"label": [1, 1, 1, 0, 0, 0, 1], "score": [0.3, 0.1, 0.9, 0.6, 0.8, 0.2, 0.49]})
    assert hardest_cases(scores, np.full(7, 0.5), 2) == ([1, 0], [4, 3])
    assert hardest_cases(scores, np.full(7, 0.05), 9) == ([], [4, 3, 5])


def prepare_tiny(folder: Path, **changes: object) -> PreparedSplit:
    write_films(folder, patients=12)
    settings = tiny_settings(folder, **changes)
    return prepare_split(settings, gather_split(settings))


def scores_of(prepared: PreparedSplit) -> pd.DataFrame:
    cases = prepared.split.samples.cases
    return cases.assign(score=np.where(cases["label"] == 1, 0.1, 0.9))


def test_pictures_show_the_lesions_box(tmp_path: Path) -> None:
    prepared = prepare_tiny(tmp_path)
    scores = scores_of(prepared)
    pictures = make_pictures(scores, np.full(len(scores), 0.5), prepared, count=2)
    assert [picture.mistake for picture in pictures] == ["false negative"] * 2 + ["false positive"] * 2
    entry = prepared.entries[scores.index[scores["case_id"] == pictures[0].case_id][0]]
    assert entry.stored_box is not None
    picture = cv2.imdecode(np.frombuffer(pictures[0].jpeg, np.uint8), cv2.IMREAD_COLOR).astype(int)
    scale = picture.shape[0] / prepared.store.read(entry).shape[0]
    x, y, width, height = (value * scale for value in entry.stored_box)
    yellow = picture[..., 1] - picture[..., 0] > 80
    rows, columns = np.flatnonzero(yellow.any(axis=1)), np.flatnonzero(yellow.any(axis=0))
    assert (columns[0], rows[0], columns[-1], rows[-1]) == pytest.approx((x, y, x + width, y + height), abs=3)
    assert max(picture.shape) <= SIDE_PX
    assert "lesion type: mass; view: " in pictures[0].about


def test_pictures_of_a_breast_show_both_views(tmp_path: Path) -> None:
    prepared = prepare_tiny(tmp_path, data__task="breast")
    scores = scores_of(prepared)
    picture = make_pictures(scores, np.full(len(scores), 0.5), prepared, count=1)[0]
    shape = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR).shape
    first, second = (prepared.store.read(entry).shape for entry in prepared.entries[:2])
    assert shape[1] > shape[0]
    assert first == second
    assert shape[1] / shape[0] == pytest.approx(2 * first[1] / first[0], abs=0.03)


def test_picture_of_an_unknown_case_raises(tmp_path: Path) -> None:
    prepared = prepare_tiny(tmp_path)
    scores = scores_of(prepared).assign(case_id=lambda frame: "other" + frame["case_id"])
    with pytest.raises(DataMissingError, match="not among the prepared cases"):
        make_pictures(scores, np.full(len(scores), 0.5), prepared)


def test_pictures_take_each_folds_threshold() -> None:
    source = folds_source()
    thresholds = case_thresholds(source.scores, source.judgement.decisions, "lesion")[0]
    missed, _ = hardest_cases(source.scores, thresholds, 999)
    assert len(missed) == source.judgement.own.main.confusion.false_negative
