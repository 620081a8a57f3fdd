"""Gives what a thousand screened people would see, at a recall, a specificity and a prevalence."""

import numpy as np

from mammo.evaluation.bootstrap import with_intervals
from mammo.evaluation.metrics import Metric

# Cancers per screened person: the Breast Cancer Surveillance Consortium's 2007-2013 benchmarks found 5.1 per 1,000 and
# missed 0.8 (Lehman et al. 2017, Radiology 283:49).
PREVALENCE = 0.006
SCREENING = ("recalled_per_1000", "found_per_1000", "missed_per_1000", "ppv_at_prevalence", "npv_at_prevalence")


def per_thousand(recall: np.ndarray, specificity: np.ndarray, prevalence: float) -> dict[str, np.ndarray]:
    """What recall and specificity, float64 [b] each, mean at a prevalence, where they carry over.

    Returns:
        `recalled_per_1000` people, `found_per_1000` and `missed_per_1000` cancers, and `ppv_at_prevalence` and
        `npv_at_prevalence`, NaN where no one is called malignant, or everyone.
    """
    found, alarmed = prevalence * recall, (1 - prevalence) * (1 - specificity)
    missed, quiet = prevalence * (1 - recall), (1 - prevalence) * specificity
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "recalled_per_1000": 1000 * (found + alarmed),
            "found_per_1000": 1000 * found,
            "missed_per_1000": 1000 * missed,
            "ppv_at_prevalence": found / (found + alarmed),
            "npv_at_prevalence": quiet / (quiet + missed),
        }


def measure_screening(
    measured: dict[str, Metric], resampled: dict[str, np.ndarray], prevalence: float
) -> dict[str, Metric]:
    """The same with intervals, from the metrics of an operating point and their resamples, float64 [b] each."""
    recall, specificity = measured["recall"], measured["specificity"]
    if recall.value is None or specificity.value is None:
        return dict.fromkeys(SCREENING, Metric(None, recall.undefined or specificity.undefined))
    values = per_thousand(np.array(recall.value), np.array(specificity.value), prevalence)
    undefined = Metric(None, "no one, or everyone, is called malignant")
    plain = {name: undefined if np.isnan(value) else Metric(float(value)) for name, value in values.items()}
    return with_intervals(plain, per_thousand(resampled["recall"], resampled["specificity"], prevalence))
