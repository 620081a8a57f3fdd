"""Anyone's score table in, a judgement out: at a run's threshold, or at 0.5 where no run chose one. No paddle needed."""

from pathlib import Path

from mammo.config import load_settings
from mammo.evaluation.judge import Judgement, judge
from mammo.evaluation.operating_point import Decision
from mammo.evaluation.scores import read_scores
from mammo.inference.decisions import read_decision, write_judgement
from mammo.runs import CONFIG_FILE, find_run
from mammo.settings import EvaluationSettings


def judge_scores(
    table: Path, *, run_folder: Path | None = None, task: str | None = None, out: Path | None = None
) -> tuple[Judgement, Path]:
    """Judge a score table and write `report/metrics.json` beside it or below `out`.

    Args:
        table: The CSV.
        run_folder: The run whose threshold is taken.
        task: What a case is; the run's task, or lesion, where it is not given.
        out: Where the report goes.

    Raises:
        ScoreError: It breaks the contract of score tables.
        DataMissingError: The table or the run is not there.
    """
    scores = read_scores(table)
    gather = EvaluationSettings().level_score
    decision = Decision("fixed 0.5: no run was named", 0.5, 1.0, "none", 0, 0, "")
    if run_folder is not None:
        folder = find_run(run_folder.parent, run_folder)
        settings = load_settings(folder / CONFIG_FILE)
        decision, gather = read_decision(folder), settings.evaluation.level_score
        task = task or settings.data.task
    judgement = judge(scores, decision, task=task or "lesion", gather=gather)
    return judgement, write_judgement(judgement, out or table.parent)
