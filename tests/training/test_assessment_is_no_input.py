"""The BI-RADS assessment is compared with, and never an input: trainings that differ in it alone end alike."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo.judging.judged import Judged
from mammo.training.fit import fit
from tests.tiny import tiny_settings, write_films


def trained_with(folder: Path, assessments: list[object]) -> Judged:
    """A run on the tiny films, whose manifest has these assessments, repeated."""
    manifest = pd.read_csv(folder / "manifest.csv")
    cells = [assessments[number % len(assessments)] for number in range(len(manifest))]
    manifest.assign(assessment=cells).to_csv(folder / "assessed.csv", index=False)
    settings = tiny_settings(
        folder, data__manifest=str(folder / "assessed.csv"), training__epochs=1, evaluation__resamples=100
    )
    judged = fit(settings, "tiny")
    assert judged is not None
    return judged


@pytest.mark.slow
def test_assessments_change_no_logit_no_threshold_and_no_split(tmp_path: Path) -> None:
    write_films(tmp_path, patients=12)
    # One that would give the label away (films alternate in pairs), one that says the opposite, and none.
    runs = [trained_with(tmp_path, cells) for cells in ([1, 1, 5, 5], [5, 5, 1, 1], [""])]
    first, *others = runs
    for other in others:
        assert other.scores["case_id"].tolist() == first.scores["case_id"].tolist()
        np.testing.assert_array_equal(other.scores["logit"], first.scores["logit"])
        assert other.judgement.decision == first.judgement.decision
    reader = [run.judgement.reader for run in runs]
    assert [one.levels["lesion"].auc.value if one else None for one in reader] == [1, 0, None]
