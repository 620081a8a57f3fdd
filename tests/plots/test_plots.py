"""The plots: their lines, labels and counts, against scikit-learn, scipy and calculation by hand."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_curve, roc_curve

from mammo.evaluation.calibration import reliability
from mammo.evaluation.judge import PointResult
from mammo.evaluation.metrics import Confusion, Metric, count_confusion, measure_at
from mammo.evaluation.subgroups import Subgroup
from mammo.plots.curves import (
    Curve,
    draw_calibration,
    draw_confusion,
    draw_epoch,
    draw_precision_recall,
    draw_roc,
    draw_scores,
    draw_sweep,
    wilson,
)
from mammo.plots.learning import draw_learning, write_curves
from mammo.plots.style import MOST_POINTS, as_figure, literal, rule_name, thin
from mammo.plots.subgroups import draw_subgroups

LABELS = np.array([0, 0, 1, 0, 1, 1])
SCORES = np.array([0.1, 0.2, 0.3, 0.6, 0.7, 0.9])


def point(rule: str, threshold: float | None) -> PointResult:
    confusion = count_confusion(LABELS, SCORES, 0.5 if threshold is None else threshold)
    return PointResult(rule, threshold, measure_at(confusion), confusion)


def lines_of(figure: Figure) -> dict[str, np.ndarray]:
    """The points of each labelled line, float [n, 2]."""
    return {line.get_label(): line.get_xydata() for line in figure.axes[0].lines}


def test_roc_is_scikit_learns_with_the_points_marked() -> None:
    figure = as_figure(draw_roc, [Curve(LABELS, SCORES)], [point("recall>=0.90", 0.3), point("0.5", 0.5)], title="AUC")
    lines = lines_of(figure)
    assert lines["this system"] == pytest.approx(np.column_stack(roc_curve(LABELS, SCORES)[:2]))
    assert lines["recall ≥ 0.90"] == pytest.approx(np.array([[1 / 3, 1]]))
    assert lines["threshold 0.5"] == pytest.approx(np.array([[1 / 3, 2 / 3]]))
    assert figure.axes[0].get_title() == "AUC"


def test_precision_recall_is_scikit_learns_over_the_malignant_share() -> None:
    figure = as_figure(draw_precision_recall, [Curve(LABELS, SCORES)], [point("0.5", 0.5)])
    lines = lines_of(figure)
    precision, recall, _ = precision_recall_curve(LABELS, SCORES)
    assert lines["this system"] == pytest.approx(np.column_stack([recall, precision]))
    assert lines["share of malignant cases"][:, 1].tolist() == [0.5, 0.5]
    assert lines["threshold 0.5"] == pytest.approx(np.array([[2 / 3, 2 / 3]]))


def test_one_class_has_a_name_but_no_curve() -> None:
    one = Curve(np.ones(3, int), SCORES[:3], "theirs")
    for draw in (draw_roc, draw_precision_recall):
        assert lines_of(as_figure(draw, [one]))["theirs"].shape == (0, 2)


def test_calibration_has_each_bins_share_and_wilsons_interval() -> None:
    axes = as_figure(draw_calibration, reliability(LABELS, SCORES)).axes[0]
    bars, points = axes.collections
    assert np.asarray(points.get_offsets()) == pytest.approx(np.column_stack([SCORES, LABELS]))
    low, high = binomtest(1, 1).proportion_ci(method="wilson")
    assert bars.get_segments()[2][:, 1] == pytest.approx((low, high))


@pytest.mark.parametrize(("hits", "of"), [(0, 1), (3, 10), (10, 10), (250, 1000)])
def test_wilson_equals_scipys(hits: int, of: int) -> None:
    low, high = wilson(np.array([hits]), np.array([of]))
    expected = binomtest(hits, of).proportion_ci(method="wilson")
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_confusion_writes_counts_and_shares_of_each_truth() -> None:
    axes = as_figure(draw_confusion, Confusion(30, 5, 15, 10), title="here").axes[0]
    written = {tuple(np.round(text.get_position()).astype(int)): [] for text in axes.texts}
    for text in axes.texts:
        written[tuple(np.round(text.get_position()).astype(int))].append(text.get_text())
    assert written == {(0, 0): ["15", "75 %"], (1, 0): ["5", "25 %"], (0, 1): ["10", "25 %"], (1, 1): ["30", "75 %"]}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["benign", "malignant"]
    assert axes.get_title() == "here"


def test_confusion_without_a_class_has_no_share() -> None:
    axes = as_figure(draw_confusion, Confusion(0, 1, 3, 0)).axes[0]
    assert [text.get_text() for text in axes.texts] == ["3", "75 %", "1", "25 %", "0", "–", "0", "–"]


def test_scores_are_shares_of_each_class_with_the_thresholds() -> None:
    axes = as_figure(draw_scores, LABELS, SCORES, [point("youden", None), point("0.5", 0.5)], [0.2, 0.4]).axes[0]
    benign, malignant = axes.patches
    assert (benign.get_label(), malignant.get_label()) == ("benign (n = 3)", "malignant (n = 3)")
    assert benign.get_data().values.sum() == pytest.approx(100)
    assert np.flatnonzero(malignant.get_data().values).tolist() == [7, 17, 22]
    vertical = [line.get_xdata()[0] for line in axes.lines if list(line.get_ydata()) == [0, 1]]
    assert vertical == [0.2, 0.4, 0.5]
    assert axes.get_legend_handles_labels()[1][-2:] == ["Youden, own of each fold", "threshold 0.5"]


def test_sweep_draws_values_and_bands() -> None:
    def row(threshold: float, recall: float | None) -> PointResult:
        metrics = {"recall": Metric(recall, low=0.2, high=0.9), "specificity": Metric(0.5), "precision": Metric(None)}
        return PointResult("sweep", threshold, metrics, Confusion(1, 1, 1, 1))

    figure = as_figure(draw_sweep, [row(0.1, 0.8), row(0.6, 0.4)], [point("0.5", 0.5)])
    lines = lines_of(figure)
    assert lines["recall (sensitivity)"].tolist() == [[0.1, 0.8], [0.6, 0.4]]
    assert lines["specificity"].tolist() == [[0.1, 0.5], [0.6, 0.5]]
    assert "PPV (precision)" not in lines
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (0.2, 0.9)


def log(train: list[float], validation: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"epoch": range(1, len(train) + 1), "train/auc": train, "validation/auc": validation})


def test_learning_curves_and_their_gap() -> None:
    one = log([0.6, 0.8], [0.5, 0.6])
    lines = lines_of(as_figure(draw_learning, [one], "auc", best_epoch=2))
    assert lines["training"].tolist() == [[1, 0.6], [2, 0.8]]
    assert lines["validation"].tolist() == [[1, 0.5], [2, 0.6]]
    assert lines["best epoch 2"][:, 0].tolist() == [2, 2]
    assert lines_of(as_figure(draw_learning, [one], "gap"))["gap"] == pytest.approx(np.array([[1, 0.1], [2, 0.2]]))


def test_several_runs_have_their_names_and_colours() -> None:
    axes = as_figure(draw_learning, [log([0.6], [0.5]), log([0.7], [0.4])], "auc", names=["a", "b"]).axes[0]
    labels = ["a training", "a validation", "b training", "b validation"]
    assert axes.get_legend_handles_labels()[1] == labels
    assert [line.get_color() for line in axes.lines] == ["C0", "C0", "C1", "C1"]


def test_a_log_without_training_scores_draws_validation_alone() -> None:
    one = log([0.6], [0.5]).drop(columns="train/auc")
    assert list(lines_of(as_figure(draw_learning, [one], "auc"))) == ["validation"]
    assert "gap" not in lines_of(as_figure(draw_learning, [one], "gap"))


def test_curves_of_a_run_are_written(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"epoch": 1, "validation/auc": 0.5}\n', encoding="utf-8")
    write_curves({"": tmp_path}, tmp_path / "report" / "curves.png")
    assert (tmp_path / "report" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_subgroups_are_rows_with_intervals_and_counts() -> None:
    auc = {"auc": Metric(0.7, low=0.6, high=0.8), "recall": Metric(None, "no malignant case")}
    groups = [
        Subgroup("lesion_type", "mass", 1200, 40, 30, False, auc),
        Subgroup("lesion_type", "$x$" + "y" * 40, 5, 2, 4, True, auc),
    ]
    left, right, counts = draw_subgroups(groups, auc=Metric(0.75), recall=Metric(0.8)).axes
    labels = [text.get_text() for text in left.get_yticklabels()]
    assert labels == ["lesion type", "mass", r"\$x\$" + "y" * 22 + "… *"]
    intervals = [line.get_xydata().tolist() for line in left.lines if len(line.get_xydata()) == 2]
    assert [[0.6, 1.0], [0.8, 1.0]] in intervals
    assert [text.get_text() for text in right.texts] == ["– no malignant case"] * 2
    assert [text.get_text() for text in counts.texts] == ["1,200 / 40", "5 / 2"]


def test_training_draws_its_three_figures() -> None:
    figures = draw_epoch(LABELS, SCORES, 0.5)
    assert list(figures) == ["roc", "precision_recall", "confusion"]
    titles = [figure.axes[0].get_title() for figure in figures.values()]
    assert titles == ["AUC 0.889", "average precision 0.917", "threshold 0.500"]
    assert lines_of(figures["roc"])["threshold 0.500"] == pytest.approx(np.array([[1 / 3, 2 / 3]]))
    assert draw_epoch(np.ones(6, int), SCORES, 0.5)["roc"].axes[0].get_title() == "AUC undefined: one class only"


def test_training_does_not_wait_for_matplotlib() -> None:
    code = "import sys, mammo.plots.curves, mammo.plots.learning; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_thinned_curve_keeps_its_ends_and_its_shape() -> None:
    x = np.linspace(0, 1, 1_000_000)
    thin_x, thin_y = thin(x, x**2)
    assert len(thin_x) <= MOST_POINTS
    assert (thin_x[0], thin_x[-1], thin_y[-1]) == (0, 1, 1)
    assert np.interp(0.5, thin_x, thin_y) == pytest.approx(0.25, abs=1e-4)


def test_rules_and_text_from_outside_are_written_as_people_do() -> None:
    assert [rule_name(rule) for rule in ("recall>=0.90", "youden", "0.5")] == [
        "recall ≥ 0.90",
        "Youden",
        "threshold 0.5",
    ]
    assert literal("$a$") == r"\$a\$"
