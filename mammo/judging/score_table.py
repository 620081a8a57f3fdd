"""Judges a table of scores from outside, at a run's threshold or at 0.5. No paddle needed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from mammo.cases.manifest import read_manifest
from mammo.cases.samples import SUBGROUPS, SampleTable, make_samples
from mammo.cases.table import BOX, exclusions, no_exclusions
from mammo.errors import ScoreError, in_one_line
from mammo.evaluation.calibration import Calibrator
from mammo.evaluation.judge import judge
from mammo.evaluation.operating_point import Decision, half_decision
from mammo.evaluation.scores import IDS, REQUIRED, check_scores
from mammo.inference.decision_file import read_decision
from mammo.judging.judged import Judged, find_known_patients, write_judgement
from mammo.runs import CONFIG_FILE, check_out, find_run
from mammo.settings.load import load_settings
from mammo.settings.schema import EvaluationSettings
from mammo.settings.types import PAIRED, Task
from mammo.tables import read_table, row_faults, to_numbers

PREDICTION_COLUMNS = ("file", *BOX, "logit", "score", "called", "error")
NEAR_PX = 0.01  # boxes are written with all their digits, but a manifest may have more


def judge_scores(
    table: Path,
    *,
    run_folder: Path | None = None,
    task: Task | None = None,
    out: Path | None = None,
    labels: Path | None = None,
) -> Judged:
    """Judge a score table and write `report/metrics.json` into `out`.

    Args:
        table: The CSV.
        run_folder: The run whose threshold is used; by default it is 0.5.
        task: What a case is; by default the run's task, or lesion.
        out: Where the report goes; by default a folder beside the table, with its name.
        labels: A manifest, which a table of `mammo predict` needs: it has no patients and no labels of its own.

    Raises:
        ScoreError: The table breaks the contract of score tables.
        DataMissingError: The table or the run is missing.
    """
    out = check_out(out or table.with_suffix(""))
    if run_folder is None:
        folder, how, decision = None, EvaluationSettings(), half_decision(task or "lesion")
    else:
        folder = find_run(run_folder.parent, run_folder)
        how = load_settings(folder / CONFIG_FILE).evaluation
        decision = _for_task(read_decision(folder), task)
    scores, excluded = _read(table, labels, decision.task)
    judgement = judge(scores, decision, how=how)
    write_judgement(judgement, out)
    known = find_known_patients([folder], scores)[0] if folder and labels else ()
    return Judged(out, str(table), judgement, scores, excluded=excluded, known_patients=known)


def _for_task(decision: Decision, task: Task | None) -> Decision:
    """The same thresholds, perhaps for another task, without calibration: outside scores are judged as they are."""
    task = task or decision.task
    known = list(decision.points[0].thresholds)
    if task not in known:
        problem = f"the run has no threshold for it, only for {', '.join(known)}"
        raise ScoreError(f"--task {task}: {problem}; judge without --run")
    return replace(decision, task=task, calibrator=Calibrator())


def _read(table: Path, labels: Path | None, task: Task) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The checked score table, and what of a table of predictions was left out (case, patient_id, reason)."""
    raw = read_table(table, f"a score table with the columns {', '.join(REQUIRED)}", error=ScoreError)
    if set(PREDICTION_COLUMNS) <= set(raw) and not set(REQUIRED) <= set(raw):
        return _join_labels(raw, table, labels, task)
    if labels is not None:
        raise ScoreError(f"--labels {labels}: {table} is a score table with labels of its own; leave --labels out")
    return check_scores(raw, str(table)), no_exclusions()


def _join_labels(table: pd.DataFrame, path: Path, labels: Path | None, task: Task) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Join predictions with the cases of a manifest; relative paths of films start at the working folder."""
    if labels is None:
        advice = "give the manifest that has them: --labels manifest.csv"
        raise ScoreError(f"{path}: is a table of mammo predict, without patients and labels; {advice}")
    if task in PAIRED:
        problem = f"a row of a prediction is of one film or lesion, not of a {task}"
        raise ScoreError(f"{path}: {problem}; give --task image or lesion")
    samples = make_samples(read_manifest(labels), task)
    score, failed = to_numbers(table["score"]), table["error"].str.strip() != ""
    wrong = score.isna() & ~failed
    if wrong.any():
        errors = row_faults(wrong, "score must be a number where error is empty", table["score"], table)
        raise ScoreError(in_one_line(str(path), errors))
    if task == "image" and (table["x"].str.strip() != "").any():
        raise ScoreError(f"{path}: its rows are of lesions (they have boxes), not of whole films; give --task lesion")
    scored = table.assign(score=score, logit=to_numbers(table["logit"]))[~failed]
    row, case = _match_cases(scored, samples, task)
    if not len(case):
        compared = "the film's path and the box" if task == "lesion" else "the film's path"
        problem = f"none of its {len(table)} rows with a score matches one of the {len(samples)} cases of {labels}"
        raise ScoreError(f"{path}: {problem}, by {compared}; is it the manifest that was predicted?")
    first = np.unique(case, return_index=True)[1]  # a film or lesion may have been predicted twice
    cases = samples.cases.iloc[case[first]].reset_index(drop=True)
    ids = [*IDS, "finding_id"] if (cases["finding_id"] != "").all() else IDS
    frame = cases[[*ids, "label", "unsettled", *SUBGROUPS]]
    numbers = scored.iloc[row[first]]
    frame = frame.assign(score=numbers["score"].to_numpy(), logit=numbers["logit"].to_numpy())
    without_score = samples.cases.drop(index=samples.cases.index[case])
    without_case = scored["file"].drop(index=scored.index[row])
    left_out = [
        samples.excluded,
        exclusions(without_score["case_id"], without_score["patient_id"], "case has no score among the predictions"),
        exclusions(without_case, [""] * len(without_case), "prediction is of no case of the manifest"),
    ]
    return check_scores(frame, str(path)), pd.concat(left_out, ignore_index=True)


def _match_cases(table: pd.DataFrame, samples: SampleTable, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a row of predictions and its case; two cases with the same film and box share a row."""
    views = samples.views
    by_film: dict[str, list[int]] = {}
    for number, image in enumerate(views["image"]):
        by_film.setdefault(str(Path(image).resolve()), []).append(number)
    boxes, owner = views[list(BOX)].to_numpy(float), views["case"].to_numpy(int)
    predicted = np.stack([to_numbers(table[name]).to_numpy() for name in BOX], axis=1)
    found = [
        (row, owner[number])
        for row, file in enumerate(table["file"])
        for number in by_film.get(str(Path(file).resolve()), [])
        if task == "image" or np.allclose(boxes[number], predicted[row], rtol=0, atol=NEAR_PX)
    ]
    pairs = np.array(found, dtype=int).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]
