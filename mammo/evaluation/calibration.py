"""Maps logits to probabilities, and measures how well scores are calibrated."""

import logging
from dataclasses import dataclass

import numpy as np

from mammo.errors import ScoreError
from mammo.evaluation.metrics import ECE_BINS, NO_CASES, Metric, cross_entropy, ece_bin, metric_or
from mammo.evaluation.scores import Cases
from mammo.evaluation.weighted import Calibration as CalibrationFit
from mammo.settings.metrics import ONE_CLASS
from mammo.settings.types import CalibrationMethod

logger = logging.getLogger(__name__)
TEMPERATURES = (0.05, 20.0)
# Isotonic regression gives 0 and 1 at its ends. A probability is kept this far from both, and a thousandth of it comes
# from the logit itself, so that cases of one step can still be ranked.
ISOTONIC_EDGE = 1e-3


@dataclass(frozen=True)
class Calibrator:
    """How a logit becomes a probability: `temperature` divides it; `isotonic` interpolates `probabilities`."""

    method: CalibrationMethod = "none"
    temperature: float = 1.0
    logits: tuple[float, ...] = ()
    probabilities: tuple[float, ...] = ()

    def apply(self, logit: np.ndarray | np.float64) -> np.ndarray:
        """Probability of malignancy of logits [n], 0-1, float64 [n]; it never falls where the logit rises."""
        plain = to_probability(np.asarray(logit, float) / self.temperature)
        if self.method != "isotonic":
            return plain
        steps = np.interp(logit, self.logits, self.probabilities)
        return np.clip(steps, ISOTONIC_EDGE, 1 - ISOTONIC_EDGE) * (1 - ISOTONIC_EDGE) + ISOTONIC_EDGE * plain


def log_odds(both: np.ndarray) -> np.ndarray:
    """Log-odds of malignancy, float64 [N], from logits [N, 2] of benign and malignant."""
    both = np.asarray(both, np.float64)
    return np.asarray(both[:, 1] - both[:, 0])


def to_probability(logit: np.ndarray) -> np.ndarray:
    """The logistic function of log-odds [n]: probabilities, 0-1."""
    return 1.0 / (1.0 + np.exp(-np.clip(logit, -500, 500)))


def fit_calibrator(labels: np.ndarray, logits: np.ndarray, method: CalibrationMethod) -> Calibrator:
    """Fit on validation: labels 0 or 1, [n], and log-odds of malignancy, finite, float [n].

    The temperature (Guo et al. 2017) is the one that minimises cross-entropy, 0.05 to 20.

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

        def loss(log_temperature: float) -> float:
            return cross_entropy(labels, logits / np.exp(log_temperature))

        found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-9})
        temperature = float(np.exp(found.x))
        if min(abs(found.x - low), abs(found.x - high)) < 1e-3:
            why = "complete separation on validation, or a reversed ranking"
            logger.warning("the temperature is at its bound, %.2f: %s", temperature, why)
        return Calibrator("temperature", temperature)
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(logits, labels)
    return Calibrator("isotonic", 1.0, tuple(map(float, fitted.X_thresholds_)), tuple(map(float, fitted.y_thresholds_)))


@dataclass(frozen=True)
class ReliabilityBin:
    """Cases with scores in one of the equally wide bins: how many, how many are malignant, and their mean score."""

    low: float
    high: float
    cases: int
    malignant: int
    mean_score: float


def reliability(labels: np.ndarray, scores: np.ndarray) -> tuple[ReliabilityBin, ...]:
    """Sort scores 0-1, float [n], of labels 0 or 1, [n], into bins; empty ones are left out."""
    bins = ece_bin(scores)
    counts, malignant, total = (np.bincount(bins, weights, ECE_BINS) for weights in (None, labels, scores))
    found = []
    for number in np.flatnonzero(counts):
        low, high = number / ECE_BINS, (number + 1) / ECE_BINS
        mean_score = total[number] / counts[number]
        found.append(ReliabilityBin(low, high, int(counts[number]), int(malignant[number]), mean_score))
    return tuple(found)


def measure_calibration(cases: Cases) -> dict[str, Metric]:
    """Calibration slope, and intercept at slope 1 (0 is right; above it, scores are too low), of one set of cases."""
    certain = int(((cases.scores == 0) | (cases.scores == 1)).sum())
    if not len(cases):
        reason = NO_CASES
    elif len(np.unique(cases.labels)) < 2:
        reason = ONE_CLASS[0]
    elif certain:
        reason = f"{certain} scores are exactly 0 or 1, which have no log-odds"
    else:
        fitted = CalibrationFit(cases)
        return {
            "calibration_slope": metric_or(fitted.slope[1], "complete separation, or all scores are equal"),
            "calibration_intercept": metric_or(fitted.intercept[0], "the fit did not converge"),
        }
    return dict.fromkeys(("calibration_slope", "calibration_intercept"), Metric(None, reason))
