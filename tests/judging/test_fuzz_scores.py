"""Score tables of any kind end in a judgement or in one line; never in anything else."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammo.errors import DataMissingError, ScoreError, SplitError
from mammo.evaluation.judge import judge
from mammo.evaluation.operating_point import half_decision
from mammo.evaluation.scores import read_scores
from mammo.settings.schema import EvaluationSettings
from tests.cases.test_fuzz_tables import BOUNDED, FORMS, as_bytes, assert_one_line, cells, rows_written, tables
from tests.evaluation.tables import drawn_table

SCORE_CELLS: dict[str, list[str]] = {
    "case_id": ["c1", "c2", "c3", "c4", "c5", "c6", "c7"],
    "patient_id": ["P1", "P2"],
    "breast_id": ["P1_LEFT", "P2_LEFT", "P2_RIGHT"],
    "image_id": ["i1", "i2", "i3", "i4"],
    "label": ["0", "1", "1.0"],
    "score": ["0", "1", "0.5", "0.25", "1e-300", "0.9999999999999999"],
    "logit": ["-1", "0", "3.5", "1e308", "-700"],
    "fold": ["0", "1", "2.0"],
    "split": ["test", ""],
    "model_id": ["m", ""],
    "density": ["1", "4", "", "a"],
    "assessment": ["0", "4", "5.0", "4B", "6", ""],
    "lesion_type": ["mass", "calcification", ""],
    "view": ["CC", "MLO", ""],
    "source": ["乳腺", ""],
}
SCORE_REQUIRED = ("case_id", "patient_id", "breast_id", "image_id", "label", "score")


def try_scores(path: Path, content: bytes, task: str) -> bool:
    """Whether a score table was read, and then judged as `mammo eval --scores` judges it."""
    path.write_bytes(content)
    try:
        scores = read_scores(path)
    except (ScoreError, DataMissingError) as error:
        assert_one_line(error, path)
        return False
    assert len(scores) == len(rows_written(path))
    assert scores["label"].isin([0, 1]).all()
    assert scores["score"].between(0, 1).all()
    assert scores["case_id"].is_unique
    assert "logit" not in scores or np.isfinite(scores["logit"]).all()
    try:
        judged = judge(scores, half_decision(task), how=EvaluationSettings(resamples=100))
    except (ScoreError, SplitError) as error:
        assert "\n" not in str(error)
        return True
    assert judged.own.n <= len(scores)
    assert 0 <= judged.own.main.confusion.true_positive <= judged.own.n
    json.dumps(judged.as_json(), allow_nan=False)
    return True


@BOUNDED
@given(
    table=tables(SCORE_CELLS, SCORE_REQUIRED),
    form=st.sampled_from(FORMS),
    task=st.sampled_from(["lesion", "image", "breast"]),
)
def test_any_score_table_ends_in_a_judgement_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, table: list[list[str]], form: str, task: str
) -> None:
    try_scores(tmp_path_factory.getbasetemp() / "scores.csv", as_bytes(table, form), task)


@st.composite
def spoiled_scores(draw: Any) -> list[list[str]]:
    """A good table of a few patients, with at most two cells changed."""
    frame = drawn_table(draw(st.integers(1, 12)), 1, seed=draw(st.integers(0, 9)))
    table = [list(frame), *([str(value) for value in row] for row in frame.to_numpy().tolist())]
    for _ in range(draw(st.integers(0, 2))):
        row = draw(st.integers(1, len(table) - 1))
        table[row][draw(st.integers(0, len(table[0]) - 1))] = draw(cells)
    return table


@BOUNDED
@given(table=spoiled_scores(), task=st.sampled_from(["lesion", "image", "breast"]))
def test_a_spoiled_score_table_ends_in_a_judgement_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, table: list[list[str]], task: str
) -> None:
    try_scores(tmp_path_factory.getbasetemp() / "spoiled.csv", as_bytes(table, "plain"), task)


def test_good_score_tables_are_judged(tmp_path: Path) -> None:
    for seed in range(5):
        frame = drawn_table(20, 8, seed=seed)
        path = tmp_path / "scores.csv"
        frame.to_csv(path, index=False)
        assert try_scores(path, path.read_bytes(), "lesion")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["c1,P1,B1,I1,1,0.9", "c2,P1,B2,I1,0,0.1"], "line 3: image_id belongs to another breast above, got 'I1'"),
        (["c1,P1,B1,I1,1,0.9", "c2,P2,B2,I1,0,0.1"], "line 3: image_id belongs to another patient above, got 'I1'"),
        (["c1,P1,B1,I1,1,0.9", "c1,P1,B1,I1,0,0.9"], "line 3: case_id is duplicated, with another label"),
        (
            ["c1,P1,B1,I1,1,1.5", "c2,P1,B1,I2,2,nan"],
            "3 errors: .*line 2: score must be .*line 3: score must be .*line 3: label must be 0 or 1",
        ),
        ([], "it has no row"),
    ],
)
def test_scores_that_contradict_each_other_are_refused(tmp_path: Path, rows: list[str], words: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(["case_id,patient_id,breast_id,image_id,label,score", *rows]) + "\n", encoding="utf-8")
    with pytest.raises(ScoreError, match=words):
        read_scores(path)


def test_a_fold_past_all_numbers_of_folds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(
        "case_id,patient_id,breast_id,image_id,label,score,fold\nc1,P1,B1,I1,1,0.9,1e300\n", encoding="utf-8"
    )
    with pytest.raises(ScoreError, match="line 2: fold must be a whole number from 0 to 9999, got '1e300'"):
        read_scores(path)
