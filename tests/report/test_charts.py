"""The report's charts, the epoch that it names, and its pictures, on real prepared films."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score, roc_curve

from mammo.errors import DataMissingError
from mammo.evaluation.compare import System
from mammo.evaluation.judge import case_thresholds
from mammo.plots.style import as_picture
from mammo.prepare.gather import PreparedSplit, gather_split, prepare_split
from mammo.report.charts import CHARTS, draw_charts, draw_overlaid
from mammo.report.page.pictures import SIDE_PX, hardest_cases, make_pictures
from mammo.report.page.svg import to_svg
from mammo.settings.load import check_settings
from tests.report.page_sources import drawn_scores, folds_source, full_source, outside_source
from tests.tiny import tiny_settings, write_films


def chart(name: str, **changes: object) -> Figure:
    figure = CHARTS[name].draw(full_source(**changes))
    assert isinstance(figure, Figure)
    return figure


def test_a_full_run_has_every_chart() -> None:
    assert [name for name, drawn in draw_charts(full_source()).items() if isinstance(drawn, str)] == []


def test_missing_charts_say_why() -> None:
    drawn = draw_charts(outside_source(drawn_scores(1).query("label == 0")))
    reasons = {name: why for name, why in drawn.items() if isinstance(why, str)}
    assert reasons == {
        "roc": "one class only",
        "precision_recall": "one class only",
        "confusion_half": "",
        "reliability_before": "",
        "subgroups": "the score table has no column to group by, or the same value everywhere",
        **dict.fromkeys(
            ("learning_auc", "learning_gap", "learning_loss", "learning_recall"),
            "no training log belongs to these scores",
        ),
    }
    without_loss = full_source(log=full_source().log.drop(columns="train/loss"))
    assert draw_charts(without_loss)["learning_loss"] == "the training log does not have it"


def test_charts_draw_the_judgement() -> None:
    own = full_source().judgement.own
    (roc,) = chart("roc").axes
    marks = {line.get_label(): line.get_xydata()[0] for line in roc.lines if len(line.get_xydata()) == 1}
    for point, label in zip(
        own.points, ("recall ≥ 0.90", "specificity ≥ 0.90", "Youden", "threshold 0.5"), strict=True
    ):
        at = point.metrics
        assert marks[label] == pytest.approx((1 - at["specificity"].value, at["recall"].value))
    assert roc.get_title() == f"AUC {own.ranking['auc'].with_bounds()}"
    counts = own.main.confusion
    (confusion,) = chart("confusion_main").axes
    written = [int(text.get_text()) for text in confusion.texts if "%" not in text.get_text()]
    expected = [counts.true_negative, counts.false_positive, counts.false_negative, counts.true_positive]
    assert written == expected
    assert f"threshold {own.main.threshold:.3f}" in confusion.get_title()
    (learning,) = chart("learning_auc").axes
    assert "best epoch 3" in learning.get_legend_handles_labels()[1]


def test_charts_of_folds_have_a_line_and_a_threshold_for_each() -> None:
    source = folds_source()
    roc, scores = (CHARTS[name].draw(source).axes[0] for name in ("roc", "scores"))
    curves = [line for line in roc.lines if len(line.get_xydata()) > 2]
    tables = [*(fold for _, fold in source.scores.groupby("fold")), source.scores]
    expected = [len(roc_curve(table["label"], table["score"])[0]) for table in tables]
    assert [len(curve.get_xydata()) for curve in curves] == expected
    assert [curves[0].get_label(), curves[-1].get_label()] == ["each fold", "pooled"]
    thresholds = [decision.threshold for decision in source.judgement.decisions.values()]
    drawn = {line.get_xdata()[0] for line in scores.lines if len(line.get_xdata())}
    assert set(thresholds) <= drawn


def test_svg_has_both_languages_and_no_style_of_its_own() -> None:
    svg = to_svg(chart("roc"), "roc")
    for words in ("recall ≥ 0.90", "specificity ≥ 0.90", "Youden", "threshold 0.5", "约登指数"):
        assert words in svg
    assert "font-family" not in svg
    assert "<metadata" not in svg


def test_many_cases_stay_a_small_drawing() -> None:
    generator = np.random.default_rng(0)
    label = generator.integers(0, 2, 200_000)
    score = 1 / (1 + np.exp(-generator.normal(size=200_000) - label))
    scores = pd.DataFrame({"label": label, "score": score})
    for name in ("roc", "precision_recall", "scores"):
        assert len(to_svg(chart(name, scores=scores), name)) < 60_000


def test_best_epoch_follows_the_runs_own_rule() -> None:
    def best(**rule: object) -> int | None:
        settings = check_settings({"training": {"early_stopping": rule}}, "test")
        return full_source(settings=settings).best_epoch

    assert full_source(settings=None).best_epoch == 3
    assert best(monitor="validation/loss", mode="min") == 4
    assert best(monitor="validation/loss", mode="min", min_delta=0.02) == 2
    assert best(monitor="validation/f1") is None
    assert full_source(log=None).best_epoch is None


def test_pictures_of_figures_have_the_figures_size() -> None:
    picture = as_picture(chart("confusion_main"))
    assert picture.dtype == np.uint8
    assert picture.shape == (290, 320, 3)
    assert picture.min() < 50 < picture.max() == 255


def test_compared_systems_are_drawn_over_each_other() -> None:
    scores, decision = drawn_scores(1), full_source().judgement.decision
    one_class = scores.assign(label=1)
    figure = draw_overlaid((System("one", scores, decision), System("$two", one_class, decision)), "lesion")
    roc, precision_recall, calibration = figure.axes
    auc = roc_auc_score(scores["label"], scores["score"])
    labels = ["chance", f"one: AUC {auc:.3f}", r"\$two: AUC - (one class only)"]
    assert roc.get_legend_handles_labels()[1] == labels
    assert [len(line.get_xdata()) > 2 for line in roc.lines] == [False, True, False]
    assert [axes.get_title() for axes in figure.axes] == ["ROC", "precision-recall", "calibration"]
    assert len(calibration.collections) == 4
    assert precision_recall.get_xlabel() == "recall (sensitivity)"


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
