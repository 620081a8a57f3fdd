"""Validation logits and labels in, a map from logit to probability out; and how well scores keep what they promise."""

import logging
from dataclasses import dataclass

import numpy as np

from mammo.errors import ScoreError
from mammo.evaluation.cases import Cases
from mammo.evaluation.metrics import ECE_BINS, Metric, cross_entropy, ece_bin
from mammo.evaluation.weighted import Calibration as CalibrationFit
from mammo.settings.types import CalibrationMethod

logger = logging.getLogger(__name__)
TEMPERATURES = (0.05, 20.0)
# Isotonic regression gives 0 and 1 at its ends; a probability is kept this far from both, and a thousandth of it falls to
# the logit's own order, so that cases of one step can still be ranked.
ISOTONIC_EDGE = 1e-3


@dataclass(frozen=True)
class Calibrator:
    """How a logit becomes a probability: `temperature` divides it; `isotonic` looks it up between `logits` and `probabilities`."""

    method: CalibrationMethod = "none"
    temperature: float = 1.0
    logits: tuple[float, ...] = ()
    probabilities: tuple[float, ...] = ()

    def apply(self, logit: np.ndarray | np.float64) -> np.ndarray:
        """Probability of malignancy, 0-1, float64; never falls where the logit rises."""
        plain = to_probability(np.asarray(logit, float) / self.temperature)
        if self.method != "isotonic":
            return plain
        steps = np.interp(logit, self.logits, self.probabilities)
        return np.clip(steps, ISOTONIC_EDGE, 1 - ISOTONIC_EDGE) * (1 - ISOTONIC_EDGE) + ISOTONIC_EDGE * plain


def log_odds(both: np.ndarray) -> np.ndarray:
    """Logits [N, 2] of benign and malignant in, log-odds of malignancy float64 [N] out."""
    both = np.asarray(both, np.float64)
    return np.asarray(both[:, 1] - both[:, 0])


def to_probability(logit: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 1.0 / (1.0 + np.exp(-np.clip(logit, -500, 500)))


def fit_calibrator(labels: np.ndarray, logits: np.ndarray, method: CalibrationMethod) -> Calibrator:
    """Fit on validation.

    Args:
        labels: 0 or 1.
        logits: Log-odds of malignancy, finite.
        method: `temperature` (Guo et al. 2017: the one that minimises cross-entropy, 0.05 to 20), `isotonic` or `none`.

    Raises:
        ScoreError: One class is missing.
    """
    if method == "none":
        return Calibrator()
    if len(np.unique(labels)) < 2:
        raise ScoreError(f"calibration {method}: expected logits of both classes, got {len(labels)} cases of one class")
    if np.ptp(logits) == 0:
        return Calibrator(method if method == "temperature" else "none")
    if method == "temperature":
        from scipy.optimize import minimize_scalar

        low, high = np.log(TEMPERATURES)
        found = minimize_scalar(
            lambda log_t: cross_entropy(labels, logits / np.exp(log_t)),
            bounds=(low, high),
            method="bounded",
            options={"xatol": 1e-9},
        )
        if min(abs(found.x - low), abs(found.x - high)) < 1e-3:
            logger.warning(
                "the temperature is at its bound, %.2f: validation's logits part the classes, or rank them the wrong way",
                np.exp(found.x),
            )
        return Calibrator("temperature", float(np.exp(found.x)))
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(logits, labels)
    return Calibrator("isotonic", 1.0, tuple(map(float, fitted.X_thresholds_)), tuple(map(float, fitted.y_thresholds_)))


@dataclass(frozen=True)
class ReliabilityBin:
    """Cases whose scores lie in one of the equally wide bins: how many, how many of them malignant, and their mean score."""

    low: float
    high: float
    cases: int
    malignant: int
    mean_score: float


def reliability(labels: np.ndarray, scores: np.ndarray) -> tuple[ReliabilityBin, ...]:
    """Sort scores into bins; empty ones are left out."""
    bins = ece_bin(scores)
    counts, malignant, total = (
        np.bincount(bins, weights=by, minlength=ECE_BINS) for by in (np.ones(len(bins)), labels, scores)
    )
    return tuple(
        ReliabilityBin(
            number / ECE_BINS,
            (number + 1) / ECE_BINS,
            int(counts[number]),
            int(malignant[number]),
            total[number] / counts[number],
        )
        for number in np.flatnonzero(counts)
    )


def measure_calibration(cases: Cases) -> dict[str, Metric]:
    """Calibration slope, and intercept at slope 1 (0 is right; above it, scores are too low), of one set of cases."""
    if len(np.unique(cases.labels)) < 2:
        return dict.fromkeys(
            ("calibration_slope", "calibration_intercept"), Metric(None, "one class only" if len(cases) else "no cases")
        )
    certain = int(((cases.scores == 0) | (cases.scores == 1)).sum())
    if certain:
        reason = f"{certain} scores are exactly 0 or 1, which have no log-odds"
        return dict.fromkeys(("calibration_slope", "calibration_intercept"), Metric(None, reason))
    fitted = CalibrationFit(cases)
    found = {"calibration_slope": fitted.slope[1], "calibration_intercept": fitted.intercept[0]}
    return {
        name: Metric(None, _NO_FIT[name]) if np.isnan(value) else Metric(float(value)) for name, value in found.items()
    }


_NO_FIT = {
    "calibration_slope": "the scores part the classes, or are all equal",
    "calibration_intercept": "the scores are too far from any answer",
}
