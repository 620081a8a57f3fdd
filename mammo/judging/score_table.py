"""Anyone's score table in, a judgement out: at a run's threshold, or at 0.5 where no run chose one. No paddle needed."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from mammo.cases.table import no_exclusions
from mammo.errors import ScoreError
from mammo.evaluation.calibration import Calibrator
from mammo.evaluation.judge import HALF, How, judge
from mammo.evaluation.levels import levels_of
from mammo.evaluation.operating_point import Decision, fixed_decision
from mammo.evaluation.scores import REQUIRED, check_scores
from mammo.inference.decision_file import read_decision, write_judgement
from mammo.judging.judged import Judged
from mammo.judging.prediction_table import is_predictions, with_labels
from mammo.judging.run_cases import known_patients
from mammo.runs import CONFIG_FILE, check_out, find_run
from mammo.settings.load import load_settings
from mammo.settings.schema import EvaluationSettings
from mammo.settings.types import Task
from mammo.tables import read_table


def judge_scores(
    table: Path,
    *,
    run_folder: Path | None = None,
    task: Task | None = None,
    out: Path | None = None,
    labels: Path | None = None,
) -> Judged:
    """Judge a score table and write `report/metrics.json` below `out`, or a folder of its name beside it.

    Args:
        table: The CSV.
        run_folder: The run whose threshold is taken.
        task: What a case is; the run's task, or lesion, where it is not given.
        out: Where the report goes.
        labels: A manifest, which a table of tools/predict.py needs: it has no patients and no labels of its own.

    Raises:
        ScoreError: It breaks the contract of score tables.
        DataMissingError: The table or the run is not there.
    """
    check_out(out or table.with_suffix(""))
    evaluation, folder = EvaluationSettings(), None
    if run_folder is None:
        task = task or "lesion"
        decision = fixed_decision(0.5, rule=HALF, task=task, levels=levels_of(task), level_score=evaluation.level_score)
    else:
        folder = find_run(run_folder.parent, run_folder)
        evaluation = load_settings(folder / CONFIG_FILE).evaluation
        decision = for_task(read_decision(folder), task)
    scores, excluded = _read(table, labels, decision.task)
    judgement = judge(scores, decision, how=How.of(evaluation))
    out = out or table.with_suffix("")
    write_judgement(judgement, out)
    known = known_patients([folder], scores["patient_id"]) if folder is not None and labels is not None else ()
    return Judged(out, str(table), judgement, scores, excluded=excluded, known_patients=known)


def _read(table: Path, labels: Path | None, task: Task) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The score table, and what of a table of predictions was left out."""
    raw = read_table(table, f"a score table with the columns {', '.join(REQUIRED)}", error=ScoreError)
    if is_predictions(raw):
        return with_labels(raw, table, labels, task)
    if labels is not None:
        raise ScoreError(f"--labels {labels}: {table} is a score table with labels of its own; leave --labels out")
    return check_scores(raw, str(table)), no_exclusions()


def for_task(decision: Decision, task: Task | None) -> Decision:
    """The same thresholds for outside scores, which are judged as they come, of cases of another task if they know that.

    Raises:
        ScoreError: It knows none.
    """
    task = task or decision.task
    known = list(decision.points[0].thresholds)
    if task not in known:
        raise ScoreError(
            f"--task {task}: the run has no threshold for it, only for {', '.join(known)}; judge without --run"
        )
    return replace(decision, task=task, calibrator=Calibrator())
