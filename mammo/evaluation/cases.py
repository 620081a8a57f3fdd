"""Gathers a score table to a level (lesions, films, breasts or patients), and gives a level's cases as arrays."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

# From the finest level to the coarsest, with the column that gathers its cases.
LEVELS = {"lesion": "case_id", "image": "image_id", "breast": "breast_id", "patient": "patient_id"}
# Log-odds of a score of 0 or 1 are taken at this distance from it, so that calibration has a finite covariate.
SMALLEST_SCORE = 1e-12


@dataclass(frozen=True)
class Cases:
    """Cases of one level, n of them.

    Attributes:
        labels: int [n], 0 or 1.
        scores: float64 [n], 0-1.
        patient: The cluster of each case, int [n], from 0 to `patients` - 1.
        thresholds: float64 [points, n], a row per operating point; at or above it, a case is called malignant.
    """

    labels: np.ndarray
    scores: np.ndarray
    patient: np.ndarray
    thresholds: np.ndarray

    @staticmethod
    def of(frame: pd.DataFrame, thresholds: np.ndarray | None = None) -> "Cases":
        """Take `label, score, patient_id` of a frame; patients are numbered in the order of their names."""
        patient = pd.factorize(frame["patient_id"], sort=True)[0]
        points = np.empty((0, len(frame))) if thresholds is None else thresholds
        return Cases(frame["label"].to_numpy(int), frame["score"].to_numpy(float), patient, points)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def patients(self) -> int:
        """How many patients there are."""
        return int(self.patient.max()) + 1 if len(self) else 0

    @cached_property
    def malignant(self) -> np.ndarray:
        """Bool [n]."""
        return self.labels == 1

    @cached_property
    def log_odds(self) -> np.ndarray:
        """The scores' log-odds, float64 [n]."""
        inside = np.clip(self.scores, SMALLEST_SCORE, 1 - SMALLEST_SCORE)
        return np.log(inside) - np.log1p(-inside)

    def called(self, point: int) -> np.ndarray:
        """Which cases an operating point calls malignant, bool [n]."""
        return self.scores >= self.thresholds[point]

    def shared_threshold(self, point: int) -> float | None:
        """The threshold of an operating point; None where each fold has its own."""
        thresholds = self.thresholds[point]
        return float(thresholds[0]) if np.ptp(thresholds) == 0 else None


def levels_of(task: str) -> list[str]:
    """The levels that a task's scores can be judged at, its own first."""
    return list(LEVELS)[list(LEVELS).index(task) :]


def gather_level(scores: pd.DataFrame, level: str, *, task: str, how: str) -> pd.DataFrame:
    """Gather cases to a level.

    Args:
        scores: A checked score table.
        level: Of `levels_of(task)`.
        task: What a case is.
        how: How a level's score comes from those of its cases: `max`, `mean` or `noisy_or` (1 - Π(1 - score)).

    Returns:
        Rows with `label` (the maximum), `score`, `patient_id` and `fold`, sorted by the level's id, which is the index.
        A film, breast or patient of benign cases that also has what is malignant or unknown (column `unsettled`,
        optional) is left out.
    """
    column = "case_id" if level == task else LEVELS[level]
    score = np.log1p(-scores["score"].clip(upper=1 - 1e-12)) if how == "noisy_or" else scores["score"]
    frame = pd.DataFrame({"id": scores[column], "label": scores["label"], "score": score})
    frame["patient_id"], frame["fold"] = scores["patient_id"], scores.get("fold", 0)
    if level == task:
        gathered = frame.sort_values("id", kind="stable").set_index("id")
    else:
        rules = {"label": "max", "score": "sum" if how == "noisy_or" else how, "patient_id": "first", "fold": "first"}
        gathered = frame.groupby("id", sort=True).agg(rules)
        if "unsettled" in scores:
            finer = levels_of("image")[: levels_of("image").index(level) + 1]
            doubtful = scores["unsettled"].isin(finer).groupby(scores[column]).any()
            gathered = gathered[~(doubtful.reindex(gathered.index) & (gathered["label"] == 0))]
    return gathered.assign(score=-np.expm1(gathered["score"])) if how == "noisy_or" else gathered
