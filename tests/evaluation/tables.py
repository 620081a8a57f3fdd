"""Score tables for tests, and hypothesis's strategies for them."""

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from mammo.evaluation.calibration import Calibrator
from mammo.evaluation.operating_point import Decision, Point
from mammo.evaluation.scores import Cases

# Label, score in twentieths (so that ties are common), patient of five.
cases_of_patients = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 20), st.integers(0, 4)), min_size=1, max_size=60
)
both_classes = cases_of_patients.filter(lambda rows: len({label for label, *_ in rows}) == 2)


def decision(threshold: float = 0.5, *, task: str = "lesion") -> Decision:
    """A decision with one threshold for all levels."""
    point = Point("recall>=0.90", dict.fromkeys(("lesion", "image", "breast", "patient"), threshold))
    return Decision((point,), Calibrator("temperature", 1.0), task, "max", "validation", 10, 5, "")


def table(rows: list[tuple]) -> pd.DataFrame:
    """A score table of (case, patient, breast, image, label, score)."""
    return pd.DataFrame(rows, columns=["case_id", "patient_id", "breast_id", "image_id", "label", "score"])


def drawn_table(n: int, patients: int, *, seed: int = 0, gain: float = 1.0) -> pd.DataFrame:
    """A table of n lesions of so many patients, whose logits are the label's side (times gain) and noise."""
    generator = np.random.default_rng(seed)
    patient = np.concatenate([np.arange(patients), generator.integers(0, patients, n - patients)])
    label = (generator.random(n) < 0.4).astype(int)
    logit = generator.normal(size=n) + gain * (label - 0.5)
    names = pd.Series(patient).map("P{:07d}".format)
    lesions = pd.Series(np.arange(n)).map("L{:07d}".format)
    return pd.DataFrame(
        {
            "case_id": lesions,
            "patient_id": names,
            "breast_id": names + "_LEFT",
            "image_id": names + "_CC",
            "label": label,
            "logit": logit,
            "score": 1 / (1 + np.exp(-logit)),
        }
    )


def as_cases(rows: list[tuple[int, int, int]], thresholds: tuple[float, ...] = (0.5,)) -> Cases:
    """Cases of `cases_of_patients`."""
    labels, scores, patients = (np.array(column) for column in zip(*rows, strict=True))
    number = np.unique(patients, return_inverse=True)[1]
    return Cases(labels, scores / 20, number, np.repeat(np.array(thresholds)[:, None], len(rows), axis=1))
