"""Judged runs, or anyone's score tables, in; their comparison out. No paddle needed."""

from pathlib import Path

from mammo.errors import DataMissingError, ScoreError
from mammo.evaluation.compare import Comparison, System, compare
from mammo.evaluation.judge import HALF, one_decision
from mammo.evaluation.levels import levels_of
from mammo.evaluation.operating_point import fixed_decision
from mammo.evaluation.scores import read_scores
from mammo.inference.decision_file import read_decisions
from mammo.judging.cross_validation import OUT_OF_FOLD_FILE
from mammo.judging.run_cases import check_scored
from mammo.runs import CONFIG_FILE, is_cross_validation, refuse_doubles
from mammo.settings.types import Task


def compare_paths(
    paths: list[Path], *, level: str = "", task: Task = "lesion"
) -> tuple[tuple[System, ...], tuple[Comparison, ...]]:
    """Compare the others with the first.

    Args:
        paths: Run folders (their test part, or a cross-validation's pooled folds), or CSV files, called at 0.5.
        level: Where to compare; the first one's task, where it is not given.
        task: What a case of a CSV file is.

    Raises:
        DataMissingError: One is not there, or not judged yet.
        ScoreError: They were judged on different cases.
    """
    if len(paths) < 2:
        raise ScoreError(f"compare: expected two runs or more, got {len(paths)}; list those there are with --list")
    refuse_doubles(paths)
    named = list(zip(paths, _short_names(paths), strict=True))
    systems = tuple(_from_file(path, name, task) if path.is_file() else _from_run(path, name) for path, name in named)
    first = one_decision(systems[0].decisions)
    if level and level not in first.points[0].thresholds:
        raise ScoreError(
            f"--level {level}: expected one of {', '.join(first.points[0].thresholds)}, the levels of {systems[0].name}"
        )
    return systems, compare(systems, level=level)


def _from_run(path: Path, name: str) -> System:
    if not (path / CONFIG_FILE).is_file():
        raise DataMissingError(f"{path}: is neither a run folder (it has no {CONFIG_FILE}) nor a score table")
    file = OUT_OF_FOLD_FILE if is_cross_validation(path) else "scores_test.csv"
    scores = read_scores(path / file)
    if not is_cross_validation(path) and (path / "split.csv").is_file():
        check_scored(path, scores)
    return System(name, scores, read_decisions(path))


def _from_file(path: Path, name: str, task: Task) -> System:
    return System(name, read_scores(path), fixed_decision(0.5, rule=HALF, task=task, levels=levels_of(task)))


def _short_names(paths: list[Path]) -> list[str]:
    """The last parts of the paths that tell them apart."""
    for length in range(1, 6):
        names = ["/".join(path.resolve().parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
