"""Several runs in, the judgement of their mean logit out: of seeds on their common test part, or of any on another data set."""

from pathlib import Path

import pandas as pd

from mammo.config import load_settings
from mammo.errors import DataMissingError, SplitError
from mammo.evaluation.ensemble import mean_logits
from mammo.evaluation.scores import read_scores
from mammo.inference.cross_validation import judge_folds
from mammo.inference.decisions import write_json
from mammo.inference.evaluate import copy_run_files, known_patients, prepare_manifest
from mammo.inference.judge_run import keep_decision, keep_judgement
from mammo.inference.judged import Judged
from mammo.inference.load import load_run
from mammo.inference.score import score_part
from mammo.prepare.gather import PreparedSplit
from mammo.runs import (
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    find_run,
    fold_folder,
    is_cross_validation,
    make_run_folder,
    read_folds,
    read_split_hash,
)
from mammo.tables import read_table

MEMBERS_FILE = "ensemble.json"


def judge_ensemble(runs: list[Path], *, output: Path, manifest: Path | None = None, out: Path | None = None) -> Judged:
    """Judge the mean of several networks' logits.

    The folds of a cross-validation have no common validation part: their ensemble takes calibration and thresholds from the
    pooled out-of-fold scores, which are single networks'. A mean is less spread, so these carry over only roughly.

    Args:
        runs: At least two runs of one split, or one cross-validation, whose folds are the members.
        output: The folder of all runs; the ensemble is kept there as a run, `ensemble/<time>`.
        manifest: Another data set; None for the members' common test part.
        out: Where the ensemble is kept instead.

    Raises:
        SplitError: The members have no common test part and no other data set is given.
    """
    folders = [find_run(run.parent, run) for run in runs]
    crossed = len(folders) == 1 and is_cross_validation(folders[0])
    members = [fold_folder(folders[0], fold) for fold in range(read_folds(folders[0]))] if crossed else folders
    if len(members) < 2:
        raise SplitError(f"{members[0]}: an ensemble needs at least two runs, or a cross-validation; name them after --ensemble")
    hashes = {read_split_hash(member) for member in members}
    if len(hashes) > 1 and not (crossed and manifest):
        raise SplitError(f"{members[0]} and the others have no common test part (their splits differ); judge another data set with --data")
    settings = load_settings(members[0] / CONFIG_FILE)
    target = out or make_run_folder(output, "ensemble", latest=False)
    target.mkdir(parents=True, exist_ok=True)
    copy_run_files(members[0], target, settings, names=(ENVIRONMENT_FILE, "excluded.csv"))
    write_json(target / MEMBERS_FILE, {"members": [str(member) for member in members]})
    chosen_on = judge_folds(folders[0]).scores if crossed else _mean(members, "scores_validation.csv", target.name)
    part = "out-of-fold" if crossed else "validation"
    decision = keep_decision(settings, chosen_on, ", ".join(sorted(hashes)), target, part=part)
    known: tuple[str, ...] = ()
    prepared: tuple[PreparedSplit, ...] = ()
    if manifest:
        scores, films = _score_manifest(members, manifest, target.name)
        prepared, excluded = (films,), films.split.samples.excluded
        known = known_patients(members, scores["patient_id"])
    else:
        scores = _mean(members, "scores_test.csv", target.name)
        excluded = read_table(members[0] / "excluded.csv", "the list of excluded cases", error=DataMissingError)
    judgement, scores = keep_judgement(settings, scores, target, decision=decision)
    about = f"{manifest or 'test part'}, ensemble of {len(members)}"
    return Judged(target, about, judgement, scores, target, settings, prepared, excluded, known)


def _mean(members: list[Path], file: str, model_id: str) -> pd.DataFrame:
    tables = [read_scores(member / file) for member in members]
    return mean_logits(tables, [str(member / file) for member in members], model_id=model_id)


def _score_manifest(members: list[Path], manifest: Path, model_id: str) -> tuple[pd.DataFrame, PreparedSplit]:
    """Each member sees films as its own training did; the first one's are returned for the report's pictures."""
    tables, films = [], []
    for member in members:
        loaded = load_run(member)
        settings, prepared = prepare_manifest(loaded.settings, manifest)
        films.append(prepared)
        tables.append(score_part(settings, prepared, loaded.network, part="test", model_id=model_id))
    return mean_logits(tables, [str(member) for member in members], model_id=model_id), films[0]
