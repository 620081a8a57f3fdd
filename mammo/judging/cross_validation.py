"""Judges a cross-validation: each fold, and the pooled out-of-fold scores. No paddle needed."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from mammo.errors import DataMissingError, ScoreError
from mammo.evaluation.judge import Judgement, judge
from mammo.evaluation.operating_point import Decision
from mammo.evaluation.scores import read_scores, write_scores
from mammo.inference.decision_file import DECISION_FILE, read_decision
from mammo.judging.judged import Judged, check_scored, metrics_file, read_exclusions, read_split, write_judgement
from mammo.runs import CONFIG_FILE, fold_folders, read_folds, read_only
from mammo.settings.load import load_settings
from mammo.settings.schema import Settings

OUT_OF_FOLD_FILE = "scores_out_of_fold.csv"


@dataclass(frozen=True)
class OverFolds:
    """A metric's mean and standard deviation over the folds in which it has a value, and the number of those folds."""

    mean: float
    deviation: float
    folds: int


def judge_folds(folder: Path) -> Judged:
    """Judge each fold's test part and all of them pooled; write `scores_out_of_fold.csv` and `report/metrics.json`.

    In the pooled scores each case is scored once, by the network that was trained without its patient, and called at
    that fold's threshold. Of a cross-validation with some folds only, the cases of the others have no score.

    Raises:
        DataMissingError: A fold has not ended.
        ScoreError: A case is in two folds, or the folds' rules differ.
    """
    settings = load_settings(folder / CONFIG_FILE)
    how = settings.evaluation
    parts = fold_folders(folder)
    for part in parts.values():
        if not is_judged(part):
            raise DataMissingError(f"{part}: this fold has not ended; go on with mammo train --resume {folder}")
    decisions = {fold: read_decision(part) for fold, part in parts.items()}
    tables = [read_scores(part / "scores_test.csv").assign(fold=fold) for fold, part in parts.items()]
    if not all("finding_id" in table for table in tables):  # folds of an earlier version have no findings
        tables = [table.drop(columns="finding_id", errors="ignore") for table in tables]
    _check_folds(folder, list(parts.values()), tables, decisions)
    single = tuple(judge(table, decisions[fold], how=how) for fold, table in zip(parts, tables, strict=True))
    pooled = pd.concat(tables, ignore_index=True)
    write_scores(pooled, folder / OUT_OF_FOLD_FILE)
    judgement = judge(pooled, decisions, how=how)
    means = {
        level: {name: asdict(value) for name, value in over_folds(single, level).items()} for level in judgement.levels
    }
    write_judgement(judgement, folder, more={"folds": [one.as_json() for one in single], "over_folds": means})
    lists = zip(*(read_exclusions(part) for part in parts.values()), strict=True)
    excluded, warned = (pd.concat(one, ignore_index=True).drop_duplicates() for one in lists)
    some = f" of {read_folds(folder)}" if read_only(folder) else ""
    about = f"{folder.parent.name}, {folder.name}: {len(single)}{some} folds pooled"
    return Judged(folder, about, judgement, pooled, folder, settings, excluded=excluded, warned=warned, folds=single)


def over_folds(folds: Sequence[Judgement], level: str) -> dict[str, OverFolds]:
    """Mean and standard deviation over folds of every metric of a level, at the main operating point."""
    levels = [fold.levels[level] for fold in folds if level in fold.levels]
    metrics = [one.ranking | one.main.metrics for one in levels]
    found = {}
    for name in metrics[0]:
        values = [value for of_fold in metrics if (value := of_fold[name].value) is not None]
        if values:
            deviation = statistics.stdev(values) if len(values) > 1 else 0.0
            found[name] = OverFolds(statistics.fmean(values), deviation, len(values))
    return found


def is_judged(folder: Path) -> bool:
    """Whether a fold's run has ended."""
    return (folder / DECISION_FILE).is_file() and metrics_file(folder).is_file()


def _check_folds(folder: Path, parts: list[Path], tables: list[pd.DataFrame], decisions: dict[int, Decision]) -> None:
    """Check that the folds have the same data, settings and rules, and that each case is in one fold."""
    first = load_settings(parts[0] / CONFIG_FILE)
    cases: set[tuple[str, str]] = set()
    for part, table in zip(parts, tables, strict=True):
        split = read_split(part)
        labelled = set(zip(split["case_id"], split["label"], strict=True))
        cases = cases or labelled
        problem = ""
        if other := _differing_settings(first, load_settings(part / CONFIG_FILE)):
            problem = f"was trained with other settings than the first fold ({other})"
        elif labelled != cases:
            problem = "was made from another data set than the first fold"
        if problem:
            raise ScoreError(f"{part}: {problem}; remove it, and mammo train --resume {folder} makes it again")
        check_scored(part, table, split=split)
    total, scored = sum(len(table) for table in tables), len({case for table in tables for case in table["case_id"]})
    if total != (scored if read_only(folder) else len(cases)):
        expected = f"expected each of {len(cases)} cases in one fold"
        raise ScoreError(f"{folder}: {expected}, got {total} scores; train the folds again")
    rules = {tuple(point.rule for point in decision.points) for decision in decisions.values()}
    if len(rules) > 1:
        problem = f"the folds have different operating points: {rules}"
        raise ScoreError(f"{folder}: {problem}; judge them again with mammo eval --run {folder}")


def _differing_settings(first: Settings, second: Settings) -> str:
    """The groups of settings that decide what is learnt and that differ between two folds; empty where none differs."""
    names = ("seed", "data", "augmentation", "model", "training")
    ignored = {"data": {"fold", "store", "prepare_workers"}, "training": {"workers", "log_histograms"}}
    sides = [settings.model_dump(include=set(names), exclude=ignored) for settings in (first, second)]
    return ", ".join(name for name in names if sides[0][name] != sides[1][name])
