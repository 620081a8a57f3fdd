"""Measures a system and a reader on the same cases in many resamples at once, as `weighted` measures a system."""

from collections.abc import Sequence

import numpy as np

from mammo.evaluation.scores import Cases
from mammo.evaluation.weighted import Ranking, Sums, sum_by_patient

CATEGORIES = (0, 1, 2, 3, 4, 5)  # BI-RADS, from the least suspicious
RECALLED = (1, 2, 3, 0, 4, 5)  # the same where 0, "incomplete", is taken as a recall
POINTS = (3, 4, 5)  # at or above such a category, the reader calls a case malignant
MAIN_POINT = 4  # tissue is to be taken
AREAS = ("auc", "auc_recalled", "system_auc", "auc_difference")


class BothSides:
    """System and reader on the same cases.

    Cases have the threshold of the system's operating point; `assessment` is a category of each, float64 [n].
    """

    def __init__(self, cases: Cases, assessment: np.ndarray) -> None:
        malignant, called = cases.malignant, cases.called(0)
        of_category = [assessment == category for category in CATEGORIES]
        columns = [rows & malignant for rows in of_category] + [rows & ~malignant for rows in of_category]
        columns += [~called & malignant, ~called & ~malignant]
        self._system, self._sums = Ranking(cases), sum_by_patient(cases, np.stack(columns).astype(float))
        self._patients = cases.patients

    def reader_curve(self) -> tuple[tuple[float, float], ...]:
        """The points of the reader's curve on all cases: 1 - specificity and recall."""
        missed, quiet = (side[::-1, 0] for side in _below(self._sums @ np.ones((self._patients, 1)), CATEGORIES))
        if not missed[0] or not quiet[0]:
            return ()
        return tuple(zip((1 - quiet / quiet[0]).tolist(), (1 - missed / missed[0]).tolist(), strict=True))

    def areas(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """The AUCs and their difference, float64 [b] each."""
        return self._areas(self._sums @ counts, self._system.add(counts))

    def _areas(self, added: np.ndarray, sums: Sums) -> dict[str, np.ndarray]:
        auc, recalled = (_area(*_below(added, order)) for order in (CATEGORIES, RECALLED))
        system = self._system.auc(sums)
        return {"auc": auc, "auc_recalled": recalled, "system_auc": system, "auc_difference": system - auc}

    def measure(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Everything that has an interval, float64 [b] each; NaN where undefined."""
        added, sums = self._sums @ counts, self._system.add(counts)
        below_category, malignant, benign = _below(added, CATEGORIES), sums.missed[-1], sums.quiet[-1]
        missed, quiet = (side[list(POINTS)] for side in below_category)
        system_missed, system_quiet = added[-2], added[-1]
        with np.errstate(invalid="ignore", divide="ignore"):
            one_class = 0 * (malignant / benign + benign / malignant)  # NaN there, else 0
            at_recall = self._system.quiet_at(sums, missed) + one_class
            at_specificity = self._system.missed_at(sums, quiet) + one_class
            of_points = {
                "reader_recall": 1 - missed / malignant,
                "reader_specificity": quiet / benign,
                "system_specificity": at_recall / benign,
                "specificity_difference": (at_recall - quiet) / benign,
                "system_recall": 1 - at_specificity / malignant,
                "recall_difference": (missed - at_specificity) / malignant,
            }
            main = POINTS.index(MAIN_POINT)
            found = {
                "recall": 1 - system_missed / malignant,
                "specificity": system_quiet / benign,
                "recall_difference": (missed[main] - system_missed) / malignant,
                "specificity_difference": (system_quiet - quiet[main]) / benign,
            }
        for name, values in of_points.items():
            found |= {f"{name} at {category}": row for category, row in zip(POINTS, values, strict=True)}
        return found | self._areas(added, sums)


def _below(added: np.ndarray, order: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Malignant and benign cases below each category of an order and, last, all of them: [7, b] each."""
    sides = added[:6][list(order)], added[6:12][list(order)]
    malignant, benign = (np.concatenate([np.zeros_like(side[:1]), side.cumsum(axis=0)]) for side in sides)
    return malignant, benign


def _area(missed: np.ndarray, quiet: np.ndarray) -> np.ndarray:
    """The AUC of curves through the points of categories, float64 [b]; NaN with one class only."""
    with np.errstate(invalid="ignore", divide="ignore"):
        pairs = np.einsum("kb,kb->b", np.diff(missed, axis=0), quiet[1:] + quiet[:-1]) / 2
        return np.asarray(pairs / (missed[-1] * quiet[-1]))
