"""Measures many resamples at once, from how often each patient was drawn: counts, float64 [patients, b].

A patient drawn twice counts twice with all of her cases, so a resample's metric is that of the repeated rows, without
repeating them. Counts are whole numbers in float64, so sums of them are exact. A metric is NaN where it is undefined.
"""

import numpy as np

from mammo.evaluation.scores import Cases

NEWTON_STEPS = 40
NEWTON_SMALLEST = 1e-3
STEEPEST = 1e3  # a steeper slope means complete separation of the classes: the likelihood has no maximum


class Ranking:
    """AUC and average precision of resamples; the cases are sorted once."""

    def __init__(self, cases: Cases) -> None:
        order = np.argsort(cases.scores, kind="stable")
        malignant = cases.malignant[order]
        positive, negative = order[malignant], order[~malignant]
        self._positive_patient, self._negative_patient = cases.patient[positive], cases.patient[negative]
        scores, others = cases.scores[positive], cases.scores[negative]
        self._below = np.searchsorted(others, scores, side="left")
        self._not_above = np.searchsorted(others, scores, side="right")
        self._first_equal = np.searchsorted(scores, scores, side="left")

    def measure(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """AUC (ties count half) and average precision (the step sum of scikit-learn), float64 [b] each."""
        positive = counts[self._positive_patient]
        hits, alarms = _running_sum(positive), _running_sum(counts[self._negative_patient])
        malignant, benign = hits[-1], alarms[-1]
        below = alarms[self._below]
        with np.errstate(invalid="ignore", divide="ignore"):
            pairs = np.einsum("ib,ib->b", positive, below + alarms[self._not_above]) / 2
            auc = pairs / (malignant * benign)
            true_positive = malignant - hits[self._first_equal]
            precision = true_positive / np.maximum(true_positive + benign - below, 1)
            average_precision = np.einsum("ib,ib->b", positive, precision) / malignant
        return {"auc": auc, "average_precision": np.where(benign > 0, average_precision, np.nan)}


def _running_sum(counts: np.ndarray) -> np.ndarray:
    total = np.zeros((len(counts) + 1, counts.shape[1]))
    np.cumsum(counts, axis=0, out=total[1:])
    return total


def sum_by_patient(cases: Cases, columns: np.ndarray) -> np.ndarray:
    """Sum columns [k, n] within patients: [k, patients]; times counts [patients, b], these are sums of resamples."""
    return np.stack([np.bincount(cases.patient, weights=column, minlength=cases.patients) for column in columns])


class Calibration:
    """Calibration slope and intercept of resamples: logistic regression of the label on the score's log-odds.

    Slope and its own intercept are fitted together (Cox 1958); `calibration_intercept` is fitted with a slope of 1,
    calibration in the large (Van Calster et al. 2019, BMC Medicine 17:230). Newton's method starts from the
    coefficients of the whole set, where the first step is a matrix product; its error is squared at each step, so one
    or two more are enough.
    """

    def __init__(self, cases: Cases) -> None:
        self._cases = cases
        self._labels, self._odds = cases.labels.astype(float), cases.log_odds
        self.slope, self.intercept = self._fit_whole(2), self._fit_whole(1)

    def measure(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Slope, and intercept at slope 1, float64 [b] each; NaN with complete separation or one class only."""
        return {
            "calibration_slope": self._fit(counts, self.slope)[1],
            "calibration_intercept": self._fit(counts, self.intercept)[0],
        }

    def _fit_whole(self, size: int) -> np.ndarray:
        """The whole set's coefficients [k]: intercept and slope, or intercept alone; NaN where there is no solution."""
        weights, coefficients = np.ones((len(self._labels), 1)), np.zeros((size, 1))
        if len(np.unique(self._labels)) < 2 or (size == 2 and self._is_separable()):
            return np.full(size, np.nan)
        if size == 2:
            coefficients[1] = 0.1  # flat enough for a first step in the right direction
        value = self._likelihood(coefficients)
        for _ in range(NEWTON_STEPS):
            step = _solve(self._sums(weights, coefficients))
            while self._likelihood(coefficients + step) < value - 1e-12 and np.abs(step).max() > 1e-12:
                step /= 2
            coefficients, value = coefficients + step, self._likelihood(coefficients + step)
            if np.abs(step).max() < 1e-9:
                return coefficients[:, 0]
        return np.full(size, np.nan)

    def _is_separable(self) -> bool:
        """Whether a threshold separates the classes, or all scores are equal: there is no best fit, or many."""
        positive, negative = self._odds[self._labels == 1], self._odds[self._labels == 0]
        return bool(positive.min() >= negative.max() or negative.min() >= positive.max())

    def _likelihood(self, coefficients: np.ndarray) -> float:
        linear = _line(coefficients, self._odds)[:, 0]
        return -float(np.logaddexp(0.0, np.where(self._labels == 1, -linear, linear)).sum())

    def _fit(self, counts: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Coefficients [k, b]; steps of less than 1e-3 leave an error near 1e-6, enough for an interval's ends."""
        if np.isnan(start).any():
            return np.full((len(start), counts.shape[1]), np.nan)
        positives, total = sum_by_patient(self._cases, np.stack([self._labels, np.ones_like(self._labels)])) @ counts
        one_class = (positives == 0) | (positives == total)
        coefficients = np.repeat(start[:, None], counts.shape[1], axis=1)
        probability = _sigmoid(_line(coefficients[:, :1], self._odds))[:, 0]
        rest, curvature = self._labels - probability, probability * (1 - probability)
        powers = [self._odds**power for power in range(2 * len(start) - 1)]
        moments = [rest * power for power in powers[: len(start)]] + [curvature * power for power in powers]
        step = _solve(sum_by_patient(self._cases, np.stack(moments)) @ counts)
        weights: np.ndarray | None = None
        for _ in range(NEWTON_STEPS):
            step[:, one_class] = 0
            coefficients += step
            if np.abs(step).max(initial=0) < NEWTON_SMALLEST:
                break
            weights = counts[self._cases.patient] if weights is None else weights
            step = _solve(self._sums(weights, coefficients))
        unsettled = (np.abs(step) >= NEWTON_SMALLEST).any(axis=0) | (np.abs(coefficients) > STEEPEST).any(axis=0)
        coefficients[:, one_class | unsettled] = np.nan
        return coefficients

    def _sums(self, weights: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """Gradient and curvature of the log-likelihood, [2 or 5, b]."""
        probability = _sigmoid(_line(coefficients, self._odds))
        curvature = weights * probability
        rest = self._labels[:, None] * weights
        rest -= curvature
        probability -= 1
        curvature *= probability
        powers = np.stack([np.ones_like(self._odds), self._odds, self._odds**2])
        first, second = powers[: len(coefficients)] @ rest, powers[: 2 * len(coefficients) - 1] @ curvature
        return np.concatenate([first, -second])


def _line(coefficients: np.ndarray, odds: np.ndarray) -> np.ndarray:
    slope = coefficients[1] if len(coefficients) == 2 else np.ones_like(coefficients[0])
    return np.multiply.outer(odds, slope) + coefficients[0]


def _sigmoid(linear: np.ndarray) -> np.ndarray:
    """The logistic function, computed in place: `linear` is overwritten."""
    np.negative(linear, out=linear)
    np.exp(np.minimum(linear, 700, out=linear), out=linear)
    linear += 1
    return np.reciprocal(linear, out=linear)


def _solve(sums: np.ndarray) -> np.ndarray:
    """One Newton step [k, b] from gradient and curvature, at most 4 long, so that a bad start does not diverge."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if len(sums) == 2:
            step = sums[:1] / sums[1:]
        else:
            first, second, one, odds, square = sums
            determinant = one * square - odds**2
            determinant[determinant < 1e-12 * one * square] = np.nan  # all scores alike: any slope would do
            step = np.stack([square * first - odds * second, one * second - odds * first]) / determinant
    return np.clip(np.nan_to_num(step, nan=4.0), -4, 4)
