"""Measures many resamples at once, from how often each patient was drawn: counts, float64 [patients, b].

A patient drawn twice counts twice with all of her cases, so a resample's metric is that of the repeated rows, without
repeating them. Counts are whole numbers in float64, so sums of them are exact. A metric is NaN where it is undefined.
"""

from typing import NamedTuple

import numpy as np

from mammo.evaluation.scores import Cases

NEWTON_STEPS = 40
NEWTON_SMALLEST = 1e-3
STEEPEST = 1e3  # a steeper slope means complete separation of the classes: the likelihood has no maximum


class Sums(NamedTuple):
    """Of resamples, by rising score: the malignant cases drawn, [p, b], and how many of each class lie below a case.

    `missed` is float64 [p + 1, b], of malignant cases, `quiet` float64 [n + 1, b], of benign ones; the last row is all.
    """

    positive: np.ndarray
    missed: np.ndarray
    quiet: np.ndarray


class Ranking:
    """AUC, average precision and ROC curve of resamples; the cases are sorted once.

    The ROC curve has a point for each score as the threshold. Cases of one score are called together, so with them the
    curve moves up and to the right at once, and between two points it is straight: calling the cases between at random,
    in a fixed share, reaches each point there (Fawcett 2006, Pattern Recognition Letters 27:861). The area below it
    counts a tied pair as half (Hanley & McNeil 1982, Radiology 143:29).
    """

    def __init__(self, cases: Cases) -> None:
        order = np.argsort(cases.scores, kind="stable")
        malignant = cases.malignant[order]
        positive, negative = order[malignant], order[~malignant]
        self._positive_patient, self._negative_patient = cases.patient[positive], cases.patient[negative]
        scores, others = cases.scores[positive], cases.scores[negative]
        self._below = np.searchsorted(others, scores, side="left")
        self._not_above = np.searchsorted(others, scores, side="right")
        self._first_equal = np.searchsorted(scores, scores, side="left")
        thresholds = np.append(np.unique(cases.scores), np.inf)
        self._missed_at, self._quiet_at = np.searchsorted(scores, thresholds), np.searchsorted(others, thresholds)

    def measure(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """AUC (ties count half) and average precision (the step sum of scikit-learn), float64 [b] each."""
        sums = self.add(counts)
        malignant, benign, below = sums.missed[-1], sums.quiet[-1], sums.quiet[self._below]
        with np.errstate(invalid="ignore", divide="ignore"):
            true_positive = malignant - sums.missed[self._first_equal]
            precision = true_positive / np.maximum(true_positive + benign - below, 1)
            average_precision = np.einsum("ib,ib->b", sums.positive, precision) / malignant
        return {"auc": self._auc(sums, below), "average_precision": np.where(benign > 0, average_precision, np.nan)}

    def add(self, counts: np.ndarray) -> Sums:
        """Add up the resamples."""
        positive = counts[self._positive_patient]
        return Sums(positive, _running_sum(positive), _running_sum(counts[self._negative_patient]))

    def auc(self, sums: Sums) -> np.ndarray:
        """The AUC, float64 [b]; NaN with one class only."""
        return self._auc(sums, sums.quiet[self._below])

    def _auc(self, sums: Sums, below: np.ndarray) -> np.ndarray:
        pairs = np.einsum("ib,ib->b", sums.positive, below + sums.quiet[self._not_above]) / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(pairs / (sums.missed[-1] * sums.quiet[-1]))

    def quiet_at(self, sums: Sums, missed: np.ndarray) -> np.ndarray:
        """How many benign cases are not called where so many malignant ones are missed, whole numbers [m, b].

        Of the curve's points with that recall, it is the one of the highest threshold, which has the best specificity.
        """
        return _read_off(sums.missed, self._missed_at, missed, sums.quiet, self._quiet_at, last=True)

    def missed_at(self, sums: Sums, quiet: np.ndarray) -> np.ndarray:
        """How many malignant cases are missed where so many benign ones are not called, whole numbers [m, b].

        Of the curve's points with that specificity, it is the one of the lowest threshold, which has the best recall.
        """
        return _read_off(sums.quiet, self._quiet_at, quiet, sums.missed, self._missed_at, last=False)


def _read_off(
    along: np.ndarray, steps: np.ndarray, target: np.ndarray, other: np.ndarray, other_steps: np.ndarray, *, last: bool
) -> np.ndarray:
    """Read rising curves off where one side has a value: the other side's, float64 [m, b].

    Args:
        along: Running sums of whole numbers, [.., b].
        steps: Their rows that are the curve's points; the first has 0, the last all.
        target: The value, [m, b], from 0 to all.
        other: The other side's running sums.
        other_steps: Their rows.
        last: At several points with the value, take the last, else the first.
    """
    column = np.arange(along.shape[1])
    low, high = np.zeros(target.shape, int), np.full(target.shape, len(steps))
    beyond = target + 0.5 if last else target
    for _ in range(len(steps).bit_length()):  # bisection, in all resamples at once
        middle = (low + high) // 2
        below = (low < high) & (along[steps[np.minimum(middle, len(steps) - 1)], column] < beyond)
        low, high = np.where(below, middle + 1, low), np.where(below, high, middle)
    before = low - 1 if last else np.maximum(low - 1, 0)
    after = np.minimum(low, len(steps) - 1)
    start, end = along[steps[before], column], along[steps[after], column]
    share = np.divide(target - start, end - start, out=np.zeros(target.shape), where=end > start)
    first, second = other[other_steps[before], column], other[other_steps[after], column]
    return np.asarray(first + share * (second - first))


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
