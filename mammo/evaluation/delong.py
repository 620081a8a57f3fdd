"""Estimates the AUCs of one or more systems and their covariance, by DeLong's method in its form for clusters.

DeLong, DeLong & Clarke-Pearson 1988 (Biometrics 44:837) for independent cases; Obuchowski 1997 (Biometrics 53:567)
where a patient has several. With one case per patient, the two are equal.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from mammo.evaluation.bootstrap import LEVEL
from mammo.evaluation.metrics import Metric

SMALLEST_VARIANCE = 1e-15


@dataclass(frozen=True)
class AucCovariance:
    """AUCs, float64 [k], and their covariance, float64 [k, k]; `undefined` says why there is none."""

    auc: np.ndarray
    covariance: np.ndarray
    undefined: str = ""


def auc_covariance(labels: np.ndarray, scores: np.ndarray, patient: np.ndarray) -> AucCovariance:
    """Estimate AUCs and their covariance.

    Args:
        labels: 0 or 1, int [n].
        scores: float64 [k, n], a row per system.
        patient: The cluster of each case, int [n] from 0.

    Returns:
        NaN with one class only; the covariance alone is NaN with fewer than two patients of a class.
    """
    malignant = labels == 1
    positives, negatives = int(malignant.sum()), int((~malignant).sum())
    unknown = np.full((len(scores), len(scores)), np.nan)
    if not positives or not negatives:
        return AucCovariance(np.full(len(scores), np.nan), unknown, "one class only")
    owners = patient.max() + 1
    with_positive, with_negative = len(np.unique(patient[malignant])), len(np.unique(patient[~malignant]))
    clusters = len(np.unique(patient))
    aucs, hits, alarms = [], [], []
    for row in scores:
        # For each positive the share of negatives below it, for each negative that of positives above; ties count half.
        above, below = _share_below(row[malignant], row[~malignant]), 1 - _share_below(row[~malignant], row[malignant])
        auc = above.mean()
        aucs.append(auc)
        hits.append(np.bincount(patient[malignant], weights=above - auc, minlength=owners))
        alarms.append(np.bincount(patient[~malignant], weights=below - auc, minlength=owners))
    if with_positive < 2 or with_negative < 2:
        return AucCovariance(np.array(aucs), unknown, "fewer than two patients with malignant, or with benign, cases")
    hit, alarm = np.stack(hits), np.stack(alarms)
    first = with_positive / (with_positive - 1) * (hit @ hit.T) / positives**2
    second = with_negative / (with_negative - 1) * (alarm @ alarm.T) / negatives**2
    mixed = clusters / (clusters - 1) * (hit @ alarm.T) / (positives * negatives)
    return AucCovariance(np.array(aucs), first + second + mixed + mixed.T)


def auc_interval(labels: np.ndarray, scores: np.ndarray, patient: np.ndarray) -> Metric:
    """One system's AUC with its 95 % interval, cut at 0 and 1; near these, with few cases, it is too narrow.

    Args:
        labels: 0 or 1, int [n].
        scores: float64 [n].
        patient: The cluster of each case, int [n] from 0.
    """
    found = auc_covariance(labels, scores[None], patient)
    auc, variance = float(found.auc[0]), float(found.covariance[0, 0])
    if np.isnan(auc):
        return Metric(None, found.undefined)
    if not variance > SMALLEST_VARIANCE:
        return Metric(auc, no_interval=found.undefined or "the estimated variance is zero")
    half = float(ndtri((1 + LEVEL) / 2) * np.sqrt(variance))
    return Metric(auc, "", max(auc - half, 0.0), min(auc + half, 1.0))


def _share_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    ordered = np.sort(others)
    return np.asarray(ordered.searchsorted(values, "left") + ordered.searchsorted(values, "right")) / (2 * len(others))
