"""Measures how unlike the training films a prepared picture is, by simple statistics of its gray values.

A network answers any picture, also a photograph. The statistics of the pictures that it learnt from are kept with it;
one that is farther from their mean than nearly all of them is marked. docs/experiments.md says on what this was tried.
"""

from collections.abc import Iterable

import cv2
import numpy as np

from mammo.settings.types import Strict

PERCENTS = (2, 25, 50, 75, 98)
SCALES = 5  # each half of the one before
FARTHER_THAN = 0.995  # of the training pictures
FLOOR = 1e-6
FEWEST = 100  # pictures to fit on


class Familiarity(Strict):
    """Statistics of training pictures: their mean, the inverse of their covariance, and the largest usual distance."""

    mean: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    limit: float

    def distance(self, unit: np.ndarray) -> float:
        """The Mahalanobis distance of a picture, float32 [height, width] in 0-1, over the limit: above 1 is unusual."""
        offset = describe(unit) - np.array(self.mean)
        return float(np.sqrt(offset @ np.array(self.precision) @ offset) / self.limit)


def fit_familiarity(pictures: Iterable[np.ndarray]) -> Familiarity | None:
    """Fit on training pictures, float32 [height, width] in 0-1, at least `FEWEST`; None if they are all alike."""
    rows = np.array([describe(unit) for unit in pictures])
    mean = rows.mean(axis=0)
    covariance = np.cov(rows, rowvar=False) + FLOOR * np.eye(rows.shape[1])
    precision = np.linalg.inv(covariance)
    offsets = rows - mean
    distances = np.sqrt(np.einsum("ij,jk,ik->i", offsets, precision, offsets))
    limit = float(np.quantile(distances, FARTHER_THAN))
    if not limit > 0:
        return None
    return Familiarity(mean=tuple(mean.tolist()), precision=tuple(map(tuple, precision.tolist())), limit=limit)


def describe(unit: np.ndarray) -> np.ndarray:
    """Describe a picture, float32 [height, width] in 0-1, by 14 numbers.

    These are percentiles of its values, the shares that are black and white, their mean and deviation, and the
    logarithm of the mean gradient at five scales.
    """
    levels = np.percentile(unit, PERCENTS)
    ends = [(unit <= 0.004).mean(), (unit >= 0.996).mean()]
    gradients: list[float] = []
    picture = unit
    for _ in range(SCALES):
        if min(picture.shape) < 2:  # too small for the next scale
            gradients.append(gradients[-1])
            continue
        down, right = np.diff(picture, axis=0), np.diff(picture, axis=1)
        gradients.append(np.log(np.abs(down).mean() + np.abs(right).mean() + 1e-4))
        picture = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return np.array([*levels, *ends, unit.mean(), unit.std(), *gradients], np.float64)
