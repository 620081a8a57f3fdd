"""Judges the mean logit of several runs: on their common test part, or on another data set."""

from pathlib import Path

import pandas as pd

from mammo.errors import SplitError
from mammo.evaluation.scores import mean_logits, read_scores
from mammo.files import write_json
from mammo.inference.load import load_run
from mammo.inference.score import score_part
from mammo.judging.cross_validation import judge_folds
from mammo.judging.judged import Judged
from mammo.judging.part import decide_on, judge_logits, prepare_manifest
from mammo.judging.run_cases import check_scored, copy_run_files, find_known_patients, read_exclusions
from mammo.prepare.gather import PreparedSplit
from mammo.runs import (
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    check_out,
    find_run,
    fold_folder,
    is_cross_validation,
    make_run_folder,
    read_folds,
    read_hash,
    refuse_doubles,
)
from mammo.settings.load import load_settings

MEMBERS_FILE = "ensemble.json"


def judge_ensemble(runs: list[Path], *, output: Path, manifest: Path | None = None, out: Path | None = None) -> Judged:
    """Judge the mean of several networks' logits.

    The folds of a cross-validation have no common validation part: their ensemble takes calibration and thresholds from
    the pooled out-of-fold scores, which are single networks'. A mean is less spread, so these fit it only roughly.

    Args:
        runs: At least two runs of one split, or one cross-validation, whose folds are the members.
        output: The folder of all runs; the ensemble is written there as a run, `ensemble/<time>`.
        manifest: Another data set; None for the members' common test part.
        out: Where the ensemble is written instead.

    Raises:
        SplitError: The runs have different tasks or splits, or they are folds and no other data set is given.
    """
    refuse_doubles(runs)
    members, crossed = _members(runs)
    _check_members(members, crossed=crossed, manifest=manifest)
    if out is not None:
        check_out(out)
    settings = load_settings(members[0] / CONFIG_FILE)
    chosen_on = judge_folds(runs[0].resolve()).scores if crossed else _mean(members, "scores_validation.csv")
    known: tuple[str, ...] = ()
    prepared: PreparedSplit | None = None
    if manifest:
        scores, prepared = _score_manifest(members, manifest)
        samples = prepared.split.samples
        known, resembling = find_known_patients(members, samples.cases)
        excluded, warned = samples.excluded, samples.warn(resembling).warned
    else:
        scores = _mean(members, "scores_test.csv")
        excluded, warned = read_exclusions(members[0])
    target = out or make_run_folder(output, "ensemble")
    copy_run_files(members[0], target, settings, names=(ENVIRONMENT_FILE, "excluded.csv", "warnings.csv"))
    write_json(target / MEMBERS_FILE, {"members": [str(member) for member in members]})
    hashes = ", ".join(sorted({read_hash(member, "split_sha256") for member in members}))
    part = "out-of-fold" if crossed else "validation"
    decision = decide_on(chosen_on, settings, target, split_sha256=hashes, part=part)
    judgement, scores = judge_logits(scores.assign(model_id=target.name), settings, target, decision=decision)
    about = f"{manifest or 'test part'}, ensemble of {len(members)}"
    return Judged(target, about, judgement, scores, target, settings, prepared, excluded, warned, known)


def _members(runs: list[Path]) -> tuple[list[Path], bool]:
    """The runs, or the folds of a single cross-validation, and whether they are folds."""
    folders = [find_run(run.parent, run) for run in runs]
    if len(folders) == 1 and is_cross_validation(folders[0]):
        return [fold_folder(folders[0], fold) for fold in range(read_folds(folders[0]))], True
    return folders, False


def _check_members(members: list[Path], *, crossed: bool, manifest: Path | None) -> None:
    if len(members) < 2:
        raise SplitError(
            f"{members[0]}: an ensemble needs at least two runs, or a cross-validation; name them after --ensemble"
        )
    tasks = {load_settings(member / CONFIG_FILE).data.task for member in members}
    if len(tasks) > 1:
        raise SplitError(
            f"{members[0]} and the others have different tasks ({', '.join(sorted(tasks))}); name runs of one task"
        )
    if crossed and not manifest:
        raise SplitError(
            f"{members[0].parent}: its folds have no common test part; "
            "judge their ensemble on another data set with --data"
        )
    if not crossed and len({read_hash(member, "split_sha256") for member in members}) > 1:
        raise SplitError(
            f"{members[0]} and the others have no common validation and test part (their splits differ); "
            "name runs of one split, or one cross-validation with --data"
        )


def _mean(members: list[Path], file: str) -> pd.DataFrame:
    tables = [read_scores(member / file) for member in members]
    if file == "scores_test.csv":
        for member, table in zip(members, tables, strict=True):
            check_scored(member, table)
    return mean_logits(tables, [str(member / file) for member in members])


def _score_manifest(members: list[Path], manifest: Path) -> tuple[pd.DataFrame, PreparedSplit]:
    """Score films prepared as in each member's training; also returns the first member's films."""
    tables, films = [], []
    for member in members:
        loaded = load_run(member)
        settings, prepared = prepare_manifest(loaded.settings, manifest)
        films.append(prepared)
        tables.append(score_part(settings, prepared, loaded.network, part="test"))
    return mean_logits(tables, [str(member) for member in members]), films[0]
