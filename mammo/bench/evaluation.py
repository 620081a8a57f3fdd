"""How long judgement takes: intervals of every metric for 10,000 and 100,000 cases, on one core, and the whole judgement."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mammo.evaluation.bootstrap import RESAMPLES, resample
from mammo.evaluation.calibration import Calibrator
from mammo.evaluation.cases import Cases
from mammo.evaluation.judge import How, judge
from mammo.evaluation.levels import levels_of
from mammo.evaluation.operating_point import Decision, Point

SIZES = ((1_000, 500), (10_000, 5_000), (100_000, 50_000))
SUBGROUPS = {"density": 4, "view": 2, "laterality": 2, "subtlety": 5, "assessment": 6}


@dataclass(frozen=True)
class Timing:
    """Seconds for the intervals of one level's metrics, those without calibration's, and for all levels and subgroups."""

    cases: int
    patients: int
    intervals_s: float
    without_calibration_s: float
    judgement_s: float


def time_evaluation(resamples: int = RESAMPLES) -> Iterator[Timing]:
    """Time each size once."""
    for cases, patients in SIZES:
        frame = draw_scores(cases, patients)
        level = Cases.of(frame, np.full((2, cases), 0.5))
        yield Timing(
            cases,
            patients,
            _seconds(lambda level=level: resample(level, resamples=resamples)),
            _seconds(lambda level=level: resample(level, resamples=resamples, calibration=False)),
            _seconds(lambda frame=frame: judge(frame, some_decision(), how=How(resamples=resamples))),
        )


def draw_scores(cases: int, patients: int, seed: int = 0) -> pd.DataFrame:
    """A score table of so many lesions, two in three of them benign, with subgroup columns."""
    generator = np.random.default_rng(seed)
    patient = np.concatenate([np.arange(patients), generator.integers(0, patients, cases - patients)])
    label = (generator.random(cases) < 0.35).astype(int)
    logit = generator.normal(size=cases) + 1.2 * (label - 0.5)
    side = np.where(generator.random(cases) < 0.5, "_LEFT", "_RIGHT")
    name = np.char.add("P", patient.astype(str))
    columns: dict[str, np.ndarray] = {
        "case_id": np.char.add("L", np.arange(cases).astype(str)),
        "patient_id": name,
        "breast_id": np.char.add(name, side),
    }
    columns |= {"image_id": np.char.add(np.char.add(name, side), "_CC"), "label": label, "logit": logit, "score": 1 / (1 + np.exp(-logit))}
    return pd.DataFrame(columns | {column: generator.integers(1, kinds + 1, cases) for column, kinds in SUBGROUPS.items()})


def some_decision() -> Decision:
    """Two operating points and a temperature of 1."""
    points = tuple(
        Point(rule, dict.fromkeys(levels_of("lesion"), threshold)) for rule, threshold in (("recall>=0.90", 0.3), ("youden", 0.5))
    )
    return Decision(points, Calibrator("temperature", 1.0), "lesion", "max", "validation", 100, 40, "")


def _seconds(work: object) -> float:
    start = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - start
