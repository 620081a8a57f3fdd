"""Recall, specificity and a prevalence in, what a thousand screened people would see out."""

import numpy as np

# Cancers per screened person: the Breast Cancer Surveillance Consortium's 2007-2013 benchmarks found 5.1 per 1,000 and
# missed 0.8 (Lehman et al. 2017, Radiology 283:49).
PREVALENCE = 0.006
SCREENING = ("recalled_per_1000", "found_per_1000", "missed_per_1000", "ppv_at_prevalence", "npv_at_prevalence")


def per_thousand(recall: np.ndarray, specificity: np.ndarray, prevalence: float) -> dict[str, np.ndarray]:
    """What recall and specificity mean at a prevalence, where they carry over.

    Returns:
        `recalled_per_1000` people, `found_per_1000` and `missed_per_1000` cancers, and `ppv_at_prevalence` and
        `npv_at_prevalence`, NaN where no one is called, or everyone.
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
