"""Turns the table that tools/predict.py writes into a score table: each row's case, patient and label come from a manifest."""

from pathlib import Path

import numpy as np
import pandas as pd

from mammo.cases.manifest import read_manifest
from mammo.cases.samples import SUBGROUPS, SampleTable, make_samples
from mammo.cases.table import BOX, exclusions
from mammo.errors import ScoreError, in_one_line
from mammo.evaluation.scores import check_scores
from mammo.setting_types import Task
from mammo.tables import row_faults, to_numbers

COLUMNS = ("file", *BOX, "logit", "score", "called", "error")
IDS = ["case_id", "patient_id", "breast_id", "image_id", "label"]
NEAR_PX = 0.01  # boxes are written in all their digits, but a manifest may give more


def is_predictions(table: pd.DataFrame) -> bool:
    """Whether a table has the columns that tools/predict.py writes, and not those of a score table."""
    return set(COLUMNS) <= set(table) and "case_id" not in table


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
        raise ScoreError(f"{where}: a prediction is of one film or lesion, not of a breast; give --task image or lesion")
    samples = make_samples(read_manifest(labels), task)
    score, failed = to_numbers(table["score"]), table["error"].str.strip() != ""
    if faults := row_faults(score.isna() & ~failed, "score must be a number where error is empty", table["score"], table):
        raise ScoreError(in_one_line(str(where), faults))
    case = _cases_of(table, samples, task)
    scored = (case >= 0) & ~failed.to_numpy()
    if not scored.any():
        raise ScoreError(
            f"{where}: none of its {len(table)} rows with a score is of one of the {len(samples)} cases of {labels}: compared were the "
            f"film's path{' and the box' if task == 'lesion' else ''}; is it the manifest that was asked about?"
        )
    rows = pd.DataFrame({"case": case, "score": score.to_numpy(), "logit": to_numbers(table["logit"]).to_numpy()})[scored]
    rows = rows.drop_duplicates("case")
    cases = samples.cases.iloc[rows["case"]].reset_index(drop=True)
    frame = cases[[*IDS, "unlabelled", *SUBGROUPS]].assign(logit=rows["logit"].to_numpy(), score=rows["score"].to_numpy())
    return check_scores(frame, str(where)), _left_out(table, samples, case, scored)


def _cases_of(table: pd.DataFrame, samples: SampleTable, task: Task) -> np.ndarray:
    """The case number of each row of predictions, -1 where it is of none."""
    by_film: dict[str, list[int]] = {}
    views = samples.views
    for number, image in enumerate(views["image"]):
        by_film.setdefault(str(Path(image).resolve()), []).append(number)
    boxes, owner = views[list(BOX)].to_numpy(float), views["case"].to_numpy(int)
    asked = np.stack([to_numbers(table[name]).to_numpy() for name in BOX], axis=1)
    found = np.full(len(table), -1)
    for row, file in enumerate(table["file"]):
        for number in by_film.get(str(Path(file).resolve()), []):
            if task == "image" or np.allclose(boxes[number], asked[row], rtol=0, atol=NEAR_PX):
                found[row] = owner[number]
                break
    return found


def _left_out(table: pd.DataFrame, samples: SampleTable, case: np.ndarray, scored: np.ndarray) -> pd.DataFrame:
    absent = np.setdiff1d(np.arange(len(samples)), case[scored])
    cases = samples.cases.iloc[absent]
    unlabelled = table[case < 0]
    return pd.concat(
        [
            samples.excluded,
            exclusions(cases["case_id"], cases["patient_id"], "case has no score among the predictions"),
            exclusions(unlabelled["file"], [""] * len(unlabelled), "prediction is of no case of the manifest"),
        ],
        ignore_index=True,
    )
