"""A score table and a decision in, the judgement at every level out: what `report/metrics.json` holds."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd

from mammo.errors import ScoreError
from mammo.evaluation.bootstrap import RESAMPLES, resample, with_exact_bounds, with_intervals
from mammo.evaluation.calibration import ReliabilityBin, measure_calibration, reliability, to_probability
from mammo.evaluation.cases import Cases
from mammo.evaluation.delong import auc_interval
from mammo.evaluation.levels import gather_level, levels_of
from mammo.evaluation.metrics import Confusion, Metric, count_confusion, measure_at, measure_ranking
from mammo.evaluation.operating_point import Decision
from mammo.evaluation.screening import PREVALENCE, SCREENING, per_thousand
from mammo.evaluation.subgroups import Subgroup, judge_subgroups
from mammo.settings.schema import EvaluationSettings

Decisions = Decision | Mapping[int, Decision]
HALF = "0.5"
SWEEP = "sweep"
SWEEP_ROWS = 21
MANY = 20_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class How:
    """How intervals are made (`resamples` of the patients, drawn by `seed`), and the `prevalence` of what 1,000 people would see."""

    resamples: int = RESAMPLES
    seed: int = 0
    prevalence: float = PREVALENCE

    @staticmethod
    def of(settings: EvaluationSettings) -> "How":
        """As settings say."""
        return How(settings.resamples, settings.resamples_seed, settings.prevalence)


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

    Screening figures are of the level patient alone.

    `delong` is the AUC with DeLong's interval, in Obuchowski's form where a patient has several cases.
    """

    n: int
    n_positive: int
    n_patients: int
    ranking: dict[str, Metric]
    delong: Metric
    points: tuple[PointResult, ...]

    @property
    def main(self) -> PointResult:
        """The operating point that results are quoted at."""
        return self.points[0]

    @property
    def half(self) -> PointResult:
        """The calls at 0.5."""
        return next(point for point in self.points if point.rule == HALF)


@dataclass(frozen=True)
class CalibrationSide:
    """How well scores keep what they promise: Brier, ECE, slope, intercept, and the reliability diagram's bins."""

    metrics: dict[str, Metric]
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class Judgement:
    """The results under a decision (or a fold's each). `sweep` is of the task's own level, as are the subgroups, with what the
    same threshold would mean to 1,000 people, which is of the level patient.

    `before` is that of the raw logits, None where a table has none or nothing was calibrated.
    """

    levels: dict[str, LevelResult]
    decisions: Decisions
    task: str
    sweep: tuple[PointResult, ...]
    subgroups: tuple[Subgroup, ...]
    before: CalibrationSide | None
    after: CalibrationSide
    how: How

    @property
    def decision(self) -> Decision:
        """The decision; of folds, the first's."""
        return one_decision(self.decisions)

    @property
    def own(self) -> LevelResult:
        """The level of the task."""
        return self.levels[self.task]

    def as_json(self) -> dict[str, object]:
        """The plain form, as `report/metrics.json` keeps it."""
        folds = (
            None
            if isinstance(self.decisions, Decision)
            else {str(fold): it.as_json() for fold, it in self.decisions.items()}
        )
        return {
            "task": self.task,
            "levels": {name: _plain_level(level) for name, level in self.levels.items()},
            "operating_point": self.decision.as_json() if folds is None else {"folds": folds},
            "intervals": {"method": "percentiles of a bootstrap over patients", "level": 0.95} | asdict(self.how),
            "sweep": [_plain_point(point) for point in self.sweep],
            "subgroups": [group.as_json() for group in self.subgroups],
            "calibration": {
                "before": _plain_side(self.before) if self.before else None,
                "after": _plain_side(self.after),
            },
        }


def judge(scores: pd.DataFrame, decisions: Decisions, *, how: How | None = None) -> Judgement:
    """Judge a score table.

    Args:
        scores: A checked score table.
        decisions: Made elsewhere, on other cases; for scores of several folds, one for each number of the column `fold`.
        how: Of intervals and prevalence.
    """
    how = how or How()
    decision = one_decision(decisions)
    if len(scores) > MANY:
        logger.info("judging %d cases with %d resamples; this takes a while", len(scores), how.resamples)
    gathered = {
        level: gather_level(scores, level, task=decision.task, how=decision.level_score)
        for level in levels_of(decision.task)
    }
    gathered = {
        level: frame for level, frame in gathered.items() if len(frame)
    }  # a level of which no label is known has no row
    own = gathered[decision.task]
    levels: dict[str, LevelResult] = {}
    thresholds = dict.fromkeys((decision.task, "patient"), _sweep_thresholds(own["score"].to_numpy()))
    swept: dict[str, tuple[PointResult, ...]] = {}
    for name, frame in gathered.items():
        level = _judge_level(frame, name, decisions, how, thresholds.get(name, np.empty(0)))
        swept[name] = tuple(point for point in level.points if point.rule == SWEEP)
        levels[name] = replace(level, points=tuple(point for point in level.points if point.rule != SWEEP))
    rows = tuple(
        replace(row, metrics=row.metrics | {name: people.metrics[name] for name in SCREENING})
        for row, people in zip(swept[decision.task], swept["patient"], strict=True)
    )
    after = CalibrationSide(
        _calibration_part(levels[decision.task].ranking),
        reliability(own["label"].to_numpy(int), own["score"].to_numpy()),
    )
    main = case_thresholds(scores, decisions, decision.task)[0]
    subgroups = judge_subgroups(scores, main, resamples=how.resamples, seed=how.seed)
    return Judgement(
        levels, decisions, decision.task, rows, subgroups, _before(scores, decision.calibrator.method, how), after, how
    )


def one_decision(decisions: Decisions) -> Decision:
    """The decision, or the first of the folds'."""
    return decisions if isinstance(decisions, Decision) else next(iter(decisions.values()))


def case_thresholds(frame: pd.DataFrame, decisions: Decisions, level: str) -> np.ndarray:
    """The threshold of each row at each operating point, float64 [points, n]; a fold's rows have that fold's.

    Raises:
        ScoreError: A row is of a fold that no decision is of.
    """
    if isinstance(decisions, Decision):
        return np.array([np.full(len(frame), point.thresholds[level]) for point in decisions.points])
    unknown = sorted(set(frame["fold"].astype(int)) - set(decisions)) if "fold" in frame else ["none"]
    if unknown:
        raise ScoreError(
            f"column fold: expected one of {', '.join(map(str, decisions))}, got {', '.join(map(str, unknown))}"
        )
    of_fold = {fold: [point.thresholds[level] for point in decision.points] for fold, decision in decisions.items()}
    return np.array([of_fold[fold] for fold in frame["fold"].astype(int)]).T


def _judge_level(frame: pd.DataFrame, name: str, decisions: Decisions, how: How, swept: np.ndarray) -> LevelResult:
    labels, scores = frame["label"].to_numpy(int), frame["score"].to_numpy(float)
    chosen = [point.rule for point in one_decision(decisions).points]
    halves = [] if HALF in chosen else [HALF]
    fixed = np.append([0.5] * len(halves), swept)
    thresholds = np.concatenate(
        [case_thresholds(frame, decisions, name), np.repeat(fixed[:, None], len(frame), axis=1)]
    )
    cases = Cases.of(frame, thresholds)
    drawn = resample(cases, resamples=how.resamples, seed=how.seed)
    rules = chosen + halves + [SWEEP] * len(swept)
    points = []
    for number, rule in enumerate(rules):
        confusion = count_confusion(labels, scores, thresholds[number])
        measured = measure_at(confusion)
        metrics = with_exact_bounds(with_intervals(measured, drawn.points[number]), cases, number)
        if name == "patient":
            metrics |= _screening(measured, drawn.points[number], how.prevalence)
        shared = np.ptp(thresholds[number]) == 0
        points.append(PointResult(rule, float(thresholds[number][0]) if shared else None, metrics, confusion))
    ranking = with_intervals(measure_ranking(labels, scores) | measure_calibration(cases), drawn.ranking)
    delong = auc_interval(labels, scores, cases.patient)
    return LevelResult(len(cases), int(labels.sum()), cases.patients, ranking, delong, tuple(points))


def _screening(measured: dict[str, Metric], drawn: dict[str, np.ndarray], prevalence: float) -> dict[str, Metric]:
    recall, specificity = measured["recall"], measured["specificity"]
    resampled = per_thousand(drawn["recall"], drawn["specificity"], prevalence)
    if recall.value is None or specificity.value is None:
        return dict.fromkeys(resampled, Metric(None, recall.undefined or specificity.undefined))
    found = per_thousand(np.array(recall.value), np.array(specificity.value), prevalence)
    plain = {
        name: Metric(None, "no one, or everyone, is called malignant") if np.isnan(value) else Metric(float(value))
        for name, value in found.items()
    }
    return with_intervals(plain, resampled)


def _sweep_thresholds(scores: np.ndarray) -> np.ndarray:
    """Thresholds that call from everyone to no one malignant, in steps of a twentieth of the cases."""
    steps = np.quantile(scores, np.linspace(0, 1, SWEEP_ROWS - 1), method="higher")
    return np.append(np.unique(steps), np.nextafter(scores.max(), np.inf))


def _before(scores: pd.DataFrame, method: str, how: How) -> CalibrationSide | None:
    if "logit" not in scores or method == "none":
        return None
    raw = scores.assign(score=to_probability(scores["logit"].to_numpy(float)))
    cases = Cases.of(raw)
    measured = measure_ranking(cases.labels, cases.scores) | measure_calibration(cases)
    drawn = resample(cases, resamples=how.resamples, seed=how.seed)
    return CalibrationSide(
        _calibration_part(with_intervals(measured, drawn.ranking)), reliability(cases.labels, cases.scores)
    )


def _calibration_part(metrics: dict[str, Metric]) -> dict[str, Metric]:
    return {name: metrics[name] for name in ("brier", "ece", "calibration_slope", "calibration_intercept")}


def _plain_level(level: LevelResult) -> dict[str, object]:
    main, half = level.main, level.half
    return {
        "n": level.n,
        "n_positive": level.n_positive,
        "n_patients": level.n_patients,
        **{name: metric.as_json() for name, metric in (level.ranking | main.metrics).items()},
        "auc_delong": level.delong.as_json(),
        "threshold": main.threshold,
        "confusion": asdict(main.confusion),
        "at_half": {name: metric.as_json() for name, metric in half.metrics.items()}
        | {"confusion": asdict(half.confusion)},
        "points": [_plain_point(point) for point in level.points],
    }


def _plain_point(point: PointResult) -> dict[str, object]:
    metrics = {name: metric.as_json() for name, metric in point.metrics.items()}
    return {"rule": point.rule, "threshold": point.threshold, **metrics, "confusion": asdict(point.confusion)}


def _plain_side(side: CalibrationSide) -> dict[str, object]:
    return {name: metric.as_json() for name, metric in side.metrics.items()} | {
        "bins": [asdict(one) for one in side.bins]
    }
