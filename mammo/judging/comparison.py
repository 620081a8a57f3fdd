"""Compares judged runs and score tables from outside. No paddle needed."""

from pathlib import Path

from mammo.errors import DataMissingError, ScoreError
from mammo.evaluation.compare import Comparison, System, compare
from mammo.evaluation.operating_point import half_decision, known_levels
from mammo.evaluation.scores import read_scores
from mammo.inference.decision_file import read_decision
from mammo.judging.cross_validation import OUT_OF_FOLD_FILE
from mammo.judging.judged import check_scored
from mammo.runs import CONFIG_FILE, fold_folders, is_cross_validation, refuse_doubles
from mammo.settings.types import Task


def compare_paths(
    paths: list[Path], *, level: str = "", task: Task = "lesion"
) -> tuple[tuple[System, ...], tuple[Comparison, ...]]:
    """Compare the others with the first.

    Args:
        paths: Run folders (their test part, or a cross-validation's pooled folds), or CSV files, called at 0.5.
        level: Where to compare; by default the task of the first.
        task: What a case of a CSV file is.

    Raises:
        DataMissingError: A path is missing, or not judged yet.
        ScoreError: They were judged on different cases.
    """
    if len(paths) < 2:
        raise ScoreError(f"compare: expected two runs or more, got {len(paths)}; list the runs with --list")
    refuse_doubles(paths)
    named = list(zip(paths, _short_names(paths), strict=True))
    systems = tuple(_read_system(path, name, task) for path, name in named)
    levels = [known_levels(system.scores, system.decisions) for system in systems]
    known = [name for name in levels[0] if all(name in others for others in levels)]
    if level and level not in known:
        raise ScoreError(f"--level {level}: expected one of {', '.join(known)}, the levels that all of them have")
    return systems, compare(systems, level=level)


def _read_system(path: Path, name: str, task: Task) -> System:
    if path.is_file():
        return System(name, read_scores(path), half_decision(task))
    if not (path / CONFIG_FILE).is_file():
        problem = f"{path}: is neither a run folder (it has no {CONFIG_FILE}) nor a score table"
        raise DataMissingError(f"{problem}; mammo compare --list shows all runs")
    if is_cross_validation(path):
        scores = read_scores(path / OUT_OF_FOLD_FILE)
        return System(name, scores, {fold: read_decision(part) for fold, part in fold_folders(path).items()})
    scores = read_scores(path / "scores_test.csv")
    if (path / "split.csv").is_file():  # an ensemble has none
        check_scored(path, scores)
    return System(name, scores, read_decision(path))


def _short_names(paths: list[Path]) -> list[str]:
    """The last parts of the paths, as many as make the names differ."""
    for length in range(1, 6):
        names = ["/".join(path.resolve().parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
