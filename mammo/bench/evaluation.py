"""Measures how long evaluation takes on one core: the intervals of every metric, and a whole judgement."""

import functools
import os

import numpy as np
import pandas as pd

from mammo.bench.measure import Finding, in_process, in_turns, limit, seconds
from mammo.evaluation.calibration import Calibrator
from mammo.evaluation.intervals import resample
from mammo.evaluation.judge import judge
from mammo.evaluation.metrics import measure_ranking
from mammo.evaluation.operating_point import Decision, Point
from mammo.evaluation.scores import Cases, levels_of
from mammo.settings.schema import EvaluationSettings

SIZES = ((1_000, 500), (10_000, 5_000), (100_000, 50_000))  # cases and patients
LEVEL, NO_SLOPE, WHOLE = "one level", "no calibration slope", "whole judgement"
BARS_S = {f"{LEVEL}, 10,000 cases": "<= 3", f"{LEVEL}, 100,000 cases": "<= 40"}
SUBGROUPS = {"density": 4, "view": 2, "laterality": 2, "subtlety": 5, "assessment": 6}


def bench_evaluation(resamples: int, largest: int, rounds: int) -> Finding:
    """Measure sizes up to the largest number of cases on one core, each time in a fresh process."""
    one_core = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    sizes = [size for size in SIZES if size[0] <= largest] or [SIZES[0]]
    what = {
        f"{kind}, {cases:,} cases": functools.partial(
            in_process, seconds_of, kind, cases, patients, resamples, environment=one_core
        )
        for cases, patients in sizes
        for kind in (LEVEL, NO_SLOPE, WHOLE)
    }
    measured = in_turns(what, rounds, "s")
    usual = resamples == EvaluationSettings().resamples
    bars = [limit(measured[name], bar) for name, bar in BARS_S.items() if name in measured and usual]
    title = f"intervals by {resamples:,} resamples of the patients, one core"
    return Finding(title, tuple(measured.values()), tuple(bars))


def seconds_of(kind: str, cases: int, patients: int, resamples: int) -> float:
    """Measure one kind of evaluation of a drawn score table."""
    frame = draw_scores(cases, patients)
    level = Cases.of(frame, np.full((2, cases), 0.5))
    measure_ranking(np.array([0, 1]), np.array([0.0, 1.0]))  # loads scikit-learn
    if kind == WHOLE:
        return seconds(lambda: judge(frame, some_decision(), how=EvaluationSettings(resamples=resamples)))
    return seconds(lambda: resample(level, resamples=resamples, calibration=kind != NO_SLOPE))


def draw_scores(cases: int, patients: int, seed: int = 0) -> pd.DataFrame:
    """Draw a score table with subgroup columns; about two in three lesions are benign."""
    generator = np.random.default_rng(seed)
    patient = np.concatenate([np.arange(patients), generator.integers(0, patients, cases - patients)])
    label = (generator.random(cases) < 0.35).astype(int)
    logit = generator.normal(size=cases) + 1.2 * (label - 0.5)
    side = np.where(generator.random(cases) < 0.5, "_LEFT", "_RIGHT")
    name = np.char.add("P", patient.astype(str))
    breast = np.char.add(name, side)
    columns = {
        "case_id": np.char.add("L", np.arange(cases).astype(str)),
        "patient_id": name,
        "breast_id": breast,
        "image_id": np.char.add(breast, "_CC"),
        "label": label,
        "logit": logit,
        "score": 1 / (1 + np.exp(-logit)),
    }
    subgroups = {column: generator.integers(1, kinds + 1, cases) for column, kinds in SUBGROUPS.items()}
    return pd.DataFrame(columns | subgroups)


def some_decision() -> Decision:
    """Two operating points and a temperature of 1."""
    points = tuple(
        Point(rule, dict.fromkeys(levels_of("lesion"), threshold))
        for rule, threshold in (("recall>=0.90", 0.3), ("youden", 0.5))
    )
    return Decision(points, Calibrator("temperature", 1.0), "lesion", "max", "validation", 100, 40, "")
