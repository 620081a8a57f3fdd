"""A cross-validation's folder in, its pooled out-of-fold scores and each fold judged, side by side, out. No paddle needed."""

import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from mammo.cases.splits import SPLIT_COLUMNS
from mammo.errors import DataMissingError, ScoreError
from mammo.evaluation.judge import How, Judgement, judge
from mammo.evaluation.operating_point import Decision
from mammo.evaluation.scores import read_scores, write_scores
from mammo.inference.decision_file import DECISION_FILE, read_decision, write_json
from mammo.judging.judged import Judged
from mammo.judging.run_cases import read_warnings
from mammo.runs import CONFIG_FILE, fold_folder, read_folds
from mammo.settings.load import load_settings
from mammo.settings.schema import Settings
from mammo.tables import read_table

ANEW = "remove {part}, and tools/train.py --resume {folder} makes it anew"
OUT_OF_FOLD_FILE = "scores_out_of_fold.csv"


@dataclass(frozen=True)
class OverFolds:
    """A metric's mean and standard deviation over the folds that have it, and how many those are."""

    mean: float
    deviation: float
    folds: int


def judge_folds(folder: Path) -> Judged:
    """Judge each fold's test part, and all of them pooled: every case once, by the network that had not seen its patient.

    A case is called at its own fold's threshold. `scores_out_of_fold.csv` and `report/metrics.json` are written.

    Raises:
        DataMissingError: A fold has not ended.
        ScoreError: A case stands in two folds, or the folds' rules differ.
    """
    settings = load_settings(folder / CONFIG_FILE)
    how = How.of(settings.evaluation)
    decisions, tables, single, excluded, warned = {}, [], [], [], []
    for fold in range(read_folds(folder)):
        of_fold = fold_folder(folder, fold)
        if not is_judged(of_fold):
            raise DataMissingError(f"{of_fold}: this fold has not ended; go on with tools/train.py --resume {folder}")
        decisions[fold] = read_decision(of_fold)
        tables.append(read_scores(of_fold / "scores_test.csv").assign(fold=fold))
        single.append(judge(tables[-1], decisions[fold], how=how))
        excluded.append(read_table(of_fold / "excluded.csv", "the list of excluded cases", error=DataMissingError))
        warned.append(read_warnings(of_fold))
    pooled = pd.concat(tables, ignore_index=True)
    _check_folds(folder, tables, decisions)
    write_scores(pooled, folder / OUT_OF_FOLD_FILE)
    judgement = judge(pooled, decisions, how=how)
    (folder / "report").mkdir(exist_ok=True)
    over = {level: over_folds(single, level) for level in judgement.levels}
    write_json(
        folder / "report" / "metrics.json",
        judgement.as_json() | {"folds": [one.as_json() for one in single], "over_folds": _plain(over)},
    )
    listed, doubts = (pd.concat(one, ignore_index=True).drop_duplicates() for one in (excluded, warned))
    about = f"{folder.parent.name}, {folder.name}: {len(single)} folds pooled"
    return Judged(
        folder, about, judgement, pooled, folder, settings, excluded=listed, warned=doubts, folds=tuple(single)
    )


def over_folds(folds: list[Judgement] | tuple[Judgement, ...], level: str) -> dict[str, OverFolds]:
    """Mean and spread over folds of every metric of a level, at the main operating point."""
    found = {}
    for name in folds[0].levels[level].ranking | folds[0].levels[level].main.metrics:
        metrics = [(one.levels[level].ranking | one.levels[level].main.metrics)[name] for one in folds]
        values = [metric.value for metric in metrics if metric.value is not None]
        if values:
            found[name] = OverFolds(
                statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0, len(values)
            )
    return found


def unlike(first: Settings, second: Settings) -> str:
    """The groups of settings that decide what is learnt and differ between two folds, by name; empty where none does."""
    names = ("seed", "data", "augmentation", "model", "training")
    sides = [{name: one.model_dump()[name] for name in names} for one in (first, second)]
    for side in sides:
        for name in ("fold", "store", "prepare_workers"):
            side["data"].pop(name)
        for name in ("workers", "log_histograms"):
            side["training"].pop(name)
    return ", ".join(name for name in names if sides[0][name] != sides[1][name])


def is_judged(folder: Path) -> bool:
    """Whether a fold's run has ended."""
    return (folder / DECISION_FILE).is_file() and (folder / "report" / "metrics.json").is_file()


def _check_folds(folder: Path, tables: list[pd.DataFrame], decisions: dict[int, Decision]) -> None:
    """Hold that each fold has the cases it set aside, that all are of one data set, and that no case is missing or doubled."""
    everyone: set[tuple[str, str]] = set()
    for fold, table in enumerate(tables):
        part = fold_folder(folder, fold)
        split = _read_split(part, folder)
        cases = set(zip(split["case_id"], split["label"], strict=True))
        everyone = everyone or cases
        if fold and (
            other := unlike(load_settings(part / CONFIG_FILE), load_settings(fold_folder(folder, 0) / CONFIG_FILE))
        ):
            raise ScoreError(
                f"{part}: was trained with other settings than the first fold ({other}); {ANEW.format(part=part, folder=folder)}"
            )
        if cases != everyone:
            raise ScoreError(
                f"{part}: was made of another data set than the first fold; {ANEW.format(part=part, folder=folder)}"
            )
        if set(split.loc[split["part"] == "test", "case_id"]) != set(table["case_id"]):
            raise ScoreError(
                f"{part}: its scores are not of the cases that it set aside; {ANEW.format(part=part, folder=folder)}"
            )
    total = sum(len(table) for table in tables)
    if total != len(everyone):
        raise ScoreError(
            f"{folder}: expected each of {len(everyone)} cases in one fold, got {total} scores; train the folds again"
        )
    rules = {tuple(point.rule for point in decision.points) for decision in decisions.values()}
    if len(rules) > 1:
        raise ScoreError(
            f"{folder}: the folds have different operating points: {rules}; judge them anew with tools/eval.py --run {folder}"
        )


def _read_split(part: Path, folder: Path) -> pd.DataFrame:
    split = read_table(part / "split.csv", "a fold's list of cases", error=DataMissingError)
    if missing := [name for name in SPLIT_COLUMNS if name not in split]:
        raise DataMissingError(
            f"{part / 'split.csv'}: has no column {', '.join(missing)}, which this run wrote; {ANEW.format(part=part, folder=folder)}"
        )
    return split


def _plain(over: dict[str, dict[str, OverFolds]]) -> dict[str, object]:
    return {level: {name: asdict(value) for name, value in metrics.items()} for level, metrics in over.items()}
