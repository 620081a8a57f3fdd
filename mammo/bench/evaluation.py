"""How long judgement takes: intervals of every metric for 10,000 and 100,000 cases, on one core, and the whole judgement."""

import json
import os
import sys

import numpy as np
import pandas as pd

from mammo.bench.measure import Finding, Ratio, Series, seconds
from mammo.bench.processes import last_line_of
from mammo.evaluation.bootstrap import RESAMPLES, resample
from mammo.evaluation.calibration import Calibrator
from mammo.evaluation.cases import Cases, levels_of
from mammo.evaluation.judge import How, judge
from mammo.evaluation.metrics import measure_ranking
from mammo.evaluation.operating_point import Decision, Point

SIZES = ((1_000, 500), (10_000, 5_000), (100_000, 50_000))
WHAT = ("one level", "no calibration slope", "whole judgement")
BARS_S = {"one level, 10,000 cases": 3, "one level, 100,000 cases": 40}
SUBGROUPS = {"density": 4, "view": 2, "laterality": 2, "subtlety": 5, "assessment": 6}


def bench_evaluation(resamples: int, largest: int, rounds: int) -> Finding:
    """Time sizes up to the largest, on one core, in processes of their own.

    Args:
        resamples: Of the patients, for each interval.
        largest: Number of cases.
        rounds: How often.
    """
    one_core = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    sizes = [(cases, patients) for cases, patients in SIZES if cases <= largest] or [SIZES[0]]
    names = [f"{what}, {cases:,} cases" for cases, _ in sizes for what in WHAT]
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(1, rounds + 1):
        for cases, patients in sizes:
            told = json.loads(last_line_of("evaluation", cases, patients, resamples, environment=one_core))
            for what, took in zip(WHAT, told, strict=True):
                found[f"{what}, {cases:,} cases"].append(took)
            print(
                f"round {number} of {rounds}, {cases:,} cases: {', '.join(f'{took:.2f} s' for took in told)}",
                flush=True,
            )
    series = tuple(Series(name, tuple(values), "s") for name, values in found.items())
    bounds = BARS_S if resamples == RESAMPLES else {}
    bars = tuple(
        Ratio(f"{name}, s", tuple(found[name]), f"<= {bound}") for name, bound in bounds.items() if name in found
    )
    return Finding(f"intervals by {resamples:,} resamples of the patients, one core", series, bars)


def main() -> None:
    """As a process of its own: cases, patients and resamples in, a JSON list of seconds in the order of `WHAT` out."""
    cases, patients, resamples = map(int, sys.argv[1:])
    frame = draw_scores(cases, patients)
    level = Cases.of(frame, np.full((2, cases), 0.5))
    measure_ranking(np.array([0, 1]), np.array([0.0, 1.0]))  # loads scikit-learn
    work = (
        lambda: resample(level, resamples=resamples),
        lambda: resample(level, resamples=resamples, calibration=False),
        lambda: judge(frame, some_decision(), how=How(resamples=resamples)),
    )
    print(json.dumps([seconds(one) for one in work]))


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
    columns |= {
        "image_id": np.char.add(np.char.add(name, side), "_CC"),
        "label": label,
        "logit": logit,
        "score": 1 / (1 + np.exp(-logit)),
    }
    return pd.DataFrame(
        columns | {column: generator.integers(1, kinds + 1, cases) for column, kinds in SUBGROUPS.items()}
    )


def some_decision() -> Decision:
    """Two operating points and a temperature of 1."""
    points = tuple(
        Point(rule, dict.fromkeys(levels_of("lesion"), threshold))
        for rule, threshold in (("recall>=0.90", 0.3), ("youden", 0.5))
    )
    return Decision(points, Calibrator("temperature", 1.0), "lesion", "max", "validation", 100, 40, "")


if __name__ == "__main__":
    main()
