"""Turns the table that tools/predict.py writes into a score table: each row's case, patient and label come from a manifest."""

from pathlib import Path

import numpy as np
import pandas as pd

from mammo.cases.manifest import read_manifest
from mammo.cases.samples import SUBGROUPS, SampleTable, make_samples
from mammo.cases.table import BOX, exclusions
from mammo.errors import ScoreError, in_one_line
from mammo.evaluation.scores import REQUIRED, check_scores
from mammo.settings.types import Task
from mammo.tables import row_faults, to_numbers

COLUMNS = ("file", *BOX, "logit", "score", "called", "error")
IDS = ["case_id", "patient_id", "breast_id", "image_id", "label"]
NEAR_PX = 0.01  # boxes are written in all their digits, but a manifest may give more


def is_predictions(table: pd.DataFrame) -> bool:
    """Whether a table has the columns that tools/predict.py writes, and not all of a score table's."""
    return set(COLUMNS) <= set(table) and not set(REQUIRED) <= set(table)


def with_labels(table: pd.DataFrame, where: Path, labels: Path | None, task: Task) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Join predictions with the cases of a manifest.

    Args:
        table: What tools/predict.py wrote, as text cells.
        where: Its file, for messages; films that it names relatively are looked for from the working folder.
        labels: The manifest; None where it was not given.
        task: What a case is: lesion or image.

    Returns:
        A checked score table, and what was left out (case, patient_id, reason): cases without a score, rows without a label.

    Raises:
        ScoreError: There is no manifest, a score is no number, or no row is of one of its cases.
    """
    if labels is None:
        raise ScoreError(
            f"{where}: is a table of tools/predict.py, which knows neither patients nor labels: give the manifest that does, "
            "--labels manifest.csv"
        )
    if task == "breast":
        raise ScoreError(
            f"{where}: a prediction is of one film or lesion, not of a breast; give --task image or lesion"
        )
    samples = make_samples(read_manifest(labels), task)
    score, failed = to_numbers(table["score"]), table["error"].str.strip() != ""
    if faults := row_faults(
        score.isna() & ~failed, "score must be a number where error is empty", table["score"], table
    ):
        raise ScoreError(in_one_line(str(where), faults))
    if task == "image" and (table["x"].str.strip() != "").any():
        raise ScoreError(f"{where}: its rows are of lesions (they have boxes), not of whole films; give --task lesion")
    row, case = _matches(table[~failed], samples, task)
    if not len(case):
        raise ScoreError(
            f"{where}: none of its {len(table)} rows with a score is of one of the {len(samples)} cases of {labels}: compared were the "
            f"film's path{' and the box' if task == 'lesion' else ''}; is it the manifest that was asked about?"
        )
    numbers = {"score": score[~failed].to_numpy(), "logit": to_numbers(table["logit"])[~failed].to_numpy()}
    first = np.unique(case, return_index=True)[1]  # of a film or lesion that was asked about twice
    frame = samples.cases.iloc[case[first]].reset_index(drop=True)[[*IDS, "unsettled", *SUBGROUPS]]
    frame = frame.assign(**{name: values[row[first]] for name, values in numbers.items()})
    return check_scores(frame, str(where)), _left_out(table[~failed], samples, row, case)


def _matches(table: pd.DataFrame, samples: SampleTable, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a row of predictions and a case that it is of; two cases of one film and box share the row."""
    by_film: dict[str, list[int]] = {}
    views = samples.views
    for number, image in enumerate(views["image"]):
        by_film.setdefault(str(Path(image).resolve()), []).append(number)
    boxes, owner = views[list(BOX)].to_numpy(float), views["case"].to_numpy(int)
    asked = np.stack([to_numbers(table[name]).to_numpy() for name in BOX], axis=1)
    found = [
        (row, owner[number])
        for row, file in enumerate(table["file"])
        for number in by_film.get(str(Path(file).resolve()), [])
        if task == "image" or np.allclose(boxes[number], asked[row], rtol=0, atol=NEAR_PX)
    ]
    pairs = np.array(found, dtype=int).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _left_out(table: pd.DataFrame, samples: SampleTable, row: np.ndarray, case: np.ndarray) -> pd.DataFrame:
    cases = samples.cases.iloc[np.setdiff1d(np.arange(len(samples)), case)]
    unlabelled = table.iloc[np.setdiff1d(np.arange(len(table)), row)]
    return pd.concat(
        [
            samples.excluded,
            exclusions(cases["case_id"], cases["patient_id"], "case has no score among the predictions"),
            exclusions(unlabelled["file"], [""] * len(unlabelled), "prediction is of no case of the manifest"),
        ],
        ignore_index=True,
    )
