"""A score table and a decision in, the judgement at every level out: what `report/metrics.json` holds."""

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from mammo.evaluation.metrics import Confusion, Metric, count_confusion, measure_at, measure_ranking
from mammo.evaluation.operating_point import Decision

# From the finest level to the coarsest, with the column that gathers its cases.
LEVELS = {"lesion": "case_id", "image": "image_id", "breast": "breast_id", "patient": "patient_id"}


@dataclass(frozen=True)
class LevelResult:
    """The metrics of one level, at the operating point and, `at_half`, at 0.5."""

    n: int
    n_positive: int
    n_patients: int
    ranking: dict[str, Metric]
    threshold: float
    at_threshold: dict[str, Metric]
    confusion: Confusion
    at_half: dict[str, Metric]
    confusion_half: Confusion


@dataclass(frozen=True)
class Judgement:
    """The levels' results under one decision."""

    levels: dict[str, LevelResult]
    decision: Decision

    def as_json(self) -> dict[str, object]:
        """The plain form, as `report/metrics.json` keeps it."""
        return {"levels": {name: _plain(level) for name, level in self.levels.items()}, "operating_point": asdict(self.decision)}


def judge(scores: pd.DataFrame, decision: Decision, *, task: str = "lesion", gather: str = "max") -> Judgement:
    """Judge a score table.

    Args:
        scores: A checked score table.
        decision: The operating point, chosen elsewhere.
        task: What a case is: lesion, image or breast; coarser levels are gathered from it.
        gather: How a coarser level's score comes from its cases': `max`, `mean` or `noisy_or` (1 - Π(1 - score)).
    """
    names = list(LEVELS)[list(LEVELS).index(task) :]
    levels = {name: _judge_level(gather_level(scores, "case_id" if name == task else LEVELS[name], gather), decision) for name in names}
    return Judgement(levels, decision)


def gather_level(scores: pd.DataFrame, column: str, gather: str) -> pd.DataFrame:
    """Gather cases to one row per value of a column: label the maximum, score by rule."""
    if gather == "noisy_or":
        scores = scores.assign(score=np.log1p(-scores["score"].clip(upper=1 - 1e-12)))
    how = {"max": "max", "mean": "mean", "noisy_or": "sum"}[gather]
    gathered = scores.groupby(column, sort=True).agg(label=("label", "max"), score=("score", how), patient_id=("patient_id", "first"))
    return gathered.assign(score=-np.expm1(gathered["score"])) if gather == "noisy_or" else gathered


def _judge_level(cases: pd.DataFrame, decision: Decision) -> LevelResult:
    labels, scores = cases["label"].to_numpy(int), cases["score"].to_numpy(float)
    confusion, half = count_confusion(labels, scores, decision.threshold), count_confusion(labels, scores, 0.5)
    return LevelResult(
        len(cases),
        int(labels.sum()),
        cases["patient_id"].nunique(),
        measure_ranking(labels, scores),
        decision.threshold,
        measure_at(confusion),
        confusion,
        measure_at(half),
        half,
    )


def _plain(level: LevelResult) -> dict[str, object]:
    return {
        "n": level.n,
        "n_positive": level.n_positive,
        "n_patients": level.n_patients,
        **{name: _plain_metric(metric) for name, metric in (level.ranking | level.at_threshold).items()},
        "threshold": level.threshold,
        "confusion": asdict(level.confusion),
        "at_half": {name: _plain_metric(metric) for name, metric in level.at_half.items()} | {"confusion": asdict(level.confusion_half)},
    }


def _plain_metric(metric: Metric) -> dict[str, object]:
    return {"value": metric.value} if not metric.undefined else {"value": None, "undefined": metric.undefined}


def table_rows(judgement: Judgement) -> list[tuple[str, ...]]:
    """The judgement as rows of text, two per level (operating point, 0.5), for a table of 80 columns."""
    rows = []
    for name, level in judgement.levels.items():
        for threshold, metrics in ((level.threshold, level.at_threshold), (0.5, level.at_half)):
            first = threshold == level.threshold and metrics is level.at_threshold
            size = f"{level.n} ({level.n_positive})" if first else ""
            values = [str(metrics[key]) for key in ("recall", "specificity", "precision", "f1", "accuracy")]
            rows.append((name if first else "", size, str(level.ranking["auc"]) if first else "", f"{threshold:.3f}", *values))
    return rows


TABLE_HEADER = ("level", "n (+)", "AUC", "thresh.", "recall", "spec.", "prec.", "F1", "acc.")
