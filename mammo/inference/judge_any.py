"""Any run folder in, its judgement out: of a single run, a cross-validation, or its folds' ensemble on another data set."""

from collections.abc import Sequence
from pathlib import Path

from mammo.config import load_settings
from mammo.errors import SettingsError
from mammo.inference.cross_validation import judge_folds
from mammo.inference.ensemble import judge_ensemble
from mammo.inference.evaluate import copy_run_files, evaluate_run
from mammo.inference.judged import Judged
from mammo.runs import CONFIG_FILE, check_out, fold_folder, is_cross_validation, mark_cross_validation, read_folds, writing


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
            raise SettingsError("-o: an ensemble takes its members' settings; judge the folds with -o and --out first, then that folder")
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
