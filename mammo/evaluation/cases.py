"""One level's cases as arrays, patients numbered: what every measure of `evaluation/` is taken from."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

# Log-odds of a score of 0 or 1 are taken at this distance from it, so that calibration has a finite covariate.
SMALLEST_SCORE = 1e-12


@dataclass(frozen=True)
class Cases:
    """Cases of one level.

    `labels` int [n], 0 or 1; `scores` float64 [n], 0-1; `patient` int [n], from 0 to `patients` - 1, the cluster of each;
    `thresholds` float64 [points, n], at or above which a case's score is called malignant, a row per operating point.
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
