"""Judges a score table with a decision at every level, as written to `report/metrics.json`."""

import functools
import logging
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd

from mammo.errors import ScoreError
from mammo.evaluation.calibration import ReliabilityBin, measure_calibration, reliability, to_probability
from mammo.evaluation.human_reader import ReaderResult, compare_groups, compare_with_reader
from mammo.evaluation.intervals import LEVEL, auc_interval, resample, screened, with_exact_bounds, with_intervals
from mammo.evaluation.metrics import SCREENING, Confusion, Metric, count_confusion, measure_at, measure_ranking
from mammo.evaluation.operating_point import HALF, Decision, Decisions, folds_of, gather, known_levels, one_decision
from mammo.evaluation.scores import Cases
from mammo.evaluation.subgroups import Subgroup, judge_subgroups
from mammo.settings.schema import EvaluationSettings

SWEEP_ROWS = 21
MANY = 20_000
DEFAULTS = EvaluationSettings()

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PointResult:
    """What an operating point reaches; `threshold` is None where each fold has its own."""

    rule: str
    threshold: float | None
    metrics: dict[str, Metric]
    confusion: Confusion


@dataclass(frozen=True)
class LevelResult:
    """The metrics of one level: `ranking` without a threshold, `points` at each (the main one first, 0.5 among them).

    `delong` is the AUC with DeLong's interval, in Obuchowski's form where a patient has several cases. Only the levels
    task and patient have `swept` thresholds, and only the level patient screening figures.
    """

    n: int
    n_positive: int
    n_patients: int
    ranking: dict[str, Metric]
    delong: Metric
    points: tuple[PointResult, ...]
    swept: tuple[PointResult, ...]

    @property
    def main(self) -> PointResult:
        """The operating point of the quoted results."""
        return self.points[0]

    @property
    def half(self) -> PointResult:
        """The calls at 0.5."""
        return next(point for point in self.points if point.rule == HALF)


@dataclass(frozen=True)
class CalibrationSide:
    """How well scores are calibrated: Brier, ECE, slope, intercept, and the reliability diagram's bins."""

    metrics: dict[str, Metric]
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class Judgement:
    """The results with a decision (or one per fold).

    `sweep` and `subgroups` are of the task's own level; the screening figures of the sweep are of the level patient.
    `before` is the calibration of the raw logits, None where a table has none or nothing was calibrated. `reader` is
    the comparison with the radiologists' assessments, None where a table has none.
    """

    levels: dict[str, LevelResult]
    decisions: Decisions
    task: str
    sweep: tuple[PointResult, ...]
    subgroups: tuple[Subgroup, ...]
    before: CalibrationSide | None
    after: CalibrationSide
    how: EvaluationSettings
    reader: ReaderResult | None = None

    @property
    def decision(self) -> Decision:
        """The decision; of folds, the first's."""
        return one_decision(self.decisions)

    @property
    def fold_numbers(self) -> tuple[int, ...]:
        """Which folds were pooled; none where there is one decision."""
        return () if isinstance(self.decisions, Decision) else tuple(self.decisions)

    @property
    def own(self) -> LevelResult:
        """The level of the task."""
        return self.levels[self.task]

    def as_json(self) -> dict[str, object]:
        """The plain form, as in `report/metrics.json`."""
        if isinstance(self.decisions, Decision):
            operating_point = self.decisions.as_json()
        else:
            operating_point = {"folds": {str(fold): one.as_json() for fold, one in self.decisions.items()}}
        before = _plain_side(self.before) if self.before else None
        return {
            "task": self.task,
            "levels": {name: _plain_level(level) for name, level in self.levels.items()},
            "operating_point": operating_point,
            "intervals": {"method": "percentiles of a bootstrap over patients", "level": LEVEL} | plain_how(self.how),
            "sweep": [_plain_point(point) for point in self.sweep],
            "subgroups": [group.as_json() for group in self.subgroups],
            "calibration": {"before": before, "after": _plain_side(self.after)},
            "reader": self.reader.as_json() if self.reader else None,
        }


def judge(scores: pd.DataFrame, decisions: Decisions, *, how: EvaluationSettings = DEFAULTS) -> Judgement:
    """Judge a score table.

    Args:
        scores: A checked score table.
        decisions: Made on other cases; for scores of several folds, one for each number of the column `fold`.
        how: Its `resamples`, `resamples_seed` and `prevalence` are used.

    Raises:
        ScoreError: No patient has a known label.
    """
    decision = one_decision(decisions)
    task = decision.task
    if len(scores) > MANY:
        logger.info("judging %d cases with %d resamples; this takes a while", len(scores), how.resamples)
    frames = {level: gather(scores, level, decisions) for level in known_levels(scores, decisions)}
    if frames["patient"].empty:
        raise ScoreError("no patient has a known label: each has benign cases and what is malignant or unknown")
    thresholds = dict.fromkeys((task, "patient"), _sweep_thresholds(frames[task]["score"].to_numpy()))
    levels: dict[str, LevelResult] = {}
    for name, frame in frames.items():
        if len(frame):  # a level of which no label is known has no row
            levels[name] = _judge_level(frame, name, decisions, how, thresholds.get(name, np.empty(0)))
    sweep = tuple(
        replace(row, metrics=row.metrics | {name: people.metrics[name] for name in SCREENING})
        for row, people in zip(levels[task].swept, levels["patient"].swept, strict=True)
    )
    main = case_thresholds(scores, decisions, task)[0]
    if task == "finding" and "complete" in scores:
        scores = scores.assign(finding_views=np.where(scores["complete"].astype(str) == "True", 2, 1))
    groups = functools.partial(judge_subgroups, resamples=how.resamples, seed=how.resamples_seed)
    subgroups = groups(scores, main)
    if task != "finding" and len(frames.get("finding", ())):
        findings = frames["finding"].drop(columns="assessment", errors="ignore")
        subgroups += groups(findings, case_thresholds(findings, decisions, "finding")[0])
    before = None
    if "logit" in scores and decision.calibrator.method != "none":
        cases = Cases.of(scores.assign(score=to_probability(scores["logit"].to_numpy(float))))
        drawn = resample(cases, resamples=how.resamples, seed=how.resamples_seed)
        before = _calibration_side(_rank(cases, drawn.ranking), cases)
    after = _calibration_side(levels[task].ranking, Cases.of(frames[task]))
    reader = _judge_reader(scores, frames, decisions, how) if "assessment" in scores else None
    return Judgement(levels, decisions, task, sweep, subgroups, before, after, how, reader)


def case_thresholds(frame: pd.DataFrame, decisions: Decisions, level: str) -> np.ndarray:
    """The threshold of each row at each operating point, float64 [points, n]; a fold's rows have that fold's.

    Raises:
        ScoreError: A row is of a fold that no decision is of.
    """
    if isinstance(decisions, Decision):
        return np.array([np.full(len(frame), point.thresholds[level]) for point in decisions.points])
    of_fold = {fold: [point.thresholds[level] for point in decision.points] for fold, decision in decisions.items()}
    return np.array([of_fold[fold] for fold in folds_of(frame, decisions)]).T


def _judge_level(
    frame: pd.DataFrame, name: str, decisions: Decisions, how: EvaluationSettings, swept: np.ndarray
) -> LevelResult:
    rules = [point.rule for point in one_decision(decisions).points]
    fixed = swept
    if HALF not in rules:
        rules.append(HALF)
        fixed = np.append(0.5, swept)
    chosen = case_thresholds(frame, decisions, name)
    thresholds = np.concatenate([chosen, np.repeat(fixed[:, None], len(frame), axis=1)])
    cases = Cases.of(frame, thresholds)
    drawn = resample(cases, resamples=how.resamples, seed=how.resamples_seed)
    points = []
    for number, rule in enumerate(rules + ["sweep"] * len(swept)):
        confusion = count_confusion(cases.labels, cases.scores, thresholds[number])
        measured = measure_at(confusion)
        metrics = with_exact_bounds(with_intervals(measured, drawn.points[number]), cases, number)
        if name == "patient":
            metrics |= screened(measured, drawn.points[number], how.prevalence)
        points.append(PointResult(rule, cases.shared_threshold(number), metrics, confusion))
    ranking = _rank(cases, drawn.ranking)
    delong = auc_interval(cases.labels, cases.scores, cases.patient)
    known, more, positives = tuple(points[: len(rules)]), tuple(points[len(rules) :]), int(cases.labels.sum())
    return LevelResult(len(cases), positives, cases.patients, ranking, delong, known, more)


def _judge_reader(
    scores: pd.DataFrame, frames: dict[str, pd.DataFrame], decisions: Decisions, how: EvaluationSettings
) -> ReaderResult | None:
    """Compare with the reader at each level, and by group at the task's own; None where no case has an assessment."""
    drawn = {"resamples": how.resamples, "seed": how.resamples_seed}
    levels = {}
    for name, frame in frames.items():
        if len(frame):
            cases = Cases.of(frame, case_thresholds(frame, decisions, name)[:1])
            if level := compare_with_reader(cases, frame["assessment"].to_numpy(float), **drawn):
                levels[name] = level
    task = one_decision(decisions).task
    if task not in levels:
        return None
    own = frames[task].loc[scores["case_id"]]
    cases = Cases.of(own, case_thresholds(own, decisions, task)[:1])
    return ReaderResult(levels, compare_groups(scores, cases, own["assessment"].to_numpy(float), **drawn))


def _rank(cases: Cases, resampled: dict[str, np.ndarray]) -> dict[str, Metric]:
    """The metrics without a threshold, with intervals."""
    return with_intervals(measure_ranking(cases.labels, cases.scores) | measure_calibration(cases), resampled)


def _sweep_thresholds(scores: np.ndarray) -> np.ndarray:
    """Thresholds that call from everyone to no one malignant, in steps of a twentieth of the cases."""
    steps = np.quantile(scores, np.linspace(0, 1, SWEEP_ROWS - 1), method="higher")
    return np.append(np.unique(steps), np.nextafter(scores.max(), np.inf))


def _calibration_side(metrics: dict[str, Metric], cases: Cases) -> CalibrationSide:
    names = ("brier", "ece", "calibration_slope", "calibration_intercept")
    return CalibrationSide({name: metrics[name] for name in names}, reliability(cases.labels, cases.scores))


def plain_how(how: EvaluationSettings) -> dict[str, object]:
    """The settings of intervals and screening, as in `report/metrics.json`."""
    return {"resamples": how.resamples, "seed": how.resamples_seed, "prevalence": how.prevalence}


def _plain_level(level: LevelResult) -> dict[str, object]:
    main, half = level.main, level.half
    counts = {"n": level.n, "n_positive": level.n_positive, "n_patients": level.n_patients}
    return counts | {
        **_plain_metrics(level.ranking | main.metrics),
        "auc_delong": level.delong.as_json(),
        "threshold": main.threshold,
        "confusion": main.confusion._asdict(),
        "at_half": _plain_metrics(half.metrics) | {"confusion": half.confusion._asdict()},
        "points": [_plain_point(point) for point in level.points],
    }


def _plain_point(point: PointResult) -> dict[str, object]:
    first = {"rule": point.rule, "threshold": point.threshold}
    return first | _plain_metrics(point.metrics) | {"confusion": point.confusion._asdict()}


def _plain_side(side: CalibrationSide) -> dict[str, object]:
    return _plain_metrics(side.metrics) | {"bins": [asdict(one) for one in side.bins]}


def _plain_metrics(metrics: dict[str, Metric]) -> dict[str, object]:
    return {name: metric.as_json() for name, metric in metrics.items()}
