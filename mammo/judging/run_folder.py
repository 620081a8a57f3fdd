"""Any run folder in, its judgement out: of a single run, a cross-validation, or its folds' ensemble on another data set."""

from collections.abc import Sequence
from pathlib import Path

from mammo.errors import SettingsError
from mammo.judging.cross_validation import judge_folds
from mammo.judging.ensemble import judge_ensemble
from mammo.judging.judged import Judged
from mammo.judging.single_run import copy_run_files, evaluate_run
from mammo.runs import (
    CONFIG_FILE,
    check_out,
    fold_folder,
    is_cross_validation,
    mark_cross_validation,
    read_folds,
    writing,
)
from mammo.settings.load import load_settings


def judge_any(
    folder: Path, *, output: Path, manifest: Path | None = None, out: Path | None = None, overrides: Sequence[str] = ()
) -> Judged:
    """Score and judge.

    Args:
        folder: The run.
        output: The folder of all runs, where an ensemble is kept.
        manifest: Another data set; None for the run's own test part, or parts.
        out: Where scores and report go.
        overrides: Of `evaluation.…`, kept in `out`.

    Raises:
        SettingsError: Overrides are given for an ensemble.
    """
    if not is_cross_validation(folder):
        return evaluate_run(folder, manifest=manifest, out=out, overrides=overrides)
    if manifest:
        if overrides:
            raise SettingsError(
                "-o: an ensemble takes its members' settings; judge the folds with -o and --out first, then that folder"
            )
        return judge_ensemble([folder], output=output, manifest=manifest, out=out)
    if out is not None:
        check_out(out)
        out.mkdir(parents=True, exist_ok=True)
    folds = read_folds(folder)
    with writing(out or folder):
        for fold in range(folds):
            evaluate_run(fold_folder(folder, fold), out=fold_folder(out, fold) if out else None, overrides=overrides)
        if out:
            copy_run_files(folder, out, load_settings(folder / CONFIG_FILE, overrides))
            mark_cross_validation(out, folds)
        return judge_folds(out or folder)
