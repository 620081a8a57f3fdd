"""Settings and a number of folds in, a run per fold and their pooled judgement out: it only loops over `fit`.

Each fold is a run like any other: its test part is that fold's patients, and its stopping, calibration and thresholds come
from a validation part of the others. A stopped cross-validation goes on with the fold it was in.
"""

import logging
from pathlib import Path

from mammo.config import dump_settings
from mammo.errors import SettingsError
from mammo.inference.cross_validation import is_judged, judge_folds
from mammo.inference.judged import Judged
from mammo.runs import CONFIG_FILE, fold_folder, is_cross_validation, make_run_folder, mark_cross_validation, read_folds
from mammo.settings import Settings
from mammo.training.fit import fit, write_environment

logger = logging.getLogger(__name__)


def train(settings: Settings, name: str, *, folds: int = 0, resume: Path | None = None) -> Judged:
    """Train one run, or with `folds` (or when a cross-validation is resumed) one for each fold.

    Raises:
        SettingsError: A run is resumed with another number of folds than it has.
    """
    has = read_folds(resume) if resume and is_cross_validation(resume) else 0
    if resume and folds and folds != has:
        raise SettingsError(f"{resume}: has {has or 'no'} folds, got --folds {folds}; resume it without --folds, or start a new run")
    if folds or has:
        return cross_validate(settings, name, folds=folds, resume=resume)
    result = fit(settings, name, resume=resume)
    monitor = settings.training.early_stopping.monitor
    logger.info("best epoch %d: %s %.3f (used for selection)", result.best_epoch, monitor, result.best_value)
    return result.judged


def cross_validate(settings: Settings, name: str, *, folds: int = 0, resume: Path | None = None) -> Judged:
    """Train every fold, and judge them one by one and pooled.

    Args:
        settings: All of them; the cross-validation's own, when it is resumed.
        name: Of the configuration.
        folds: How many, at least 2; of no account when resuming.
        resume: The folder of a stopped cross-validation.

    Raises:
        MammoError: Anything a user can mend, in one line.
    """
    if resume:
        folder, folds = resume, read_folds(resume)
    else:
        settings = of_fold(settings, folds, 0)
        folder = make_run_folder(settings.output, name)
        mark_cross_validation(folder, folds)
        write_environment(folder, {})
    (folder / CONFIG_FILE).write_text(dump_settings(settings), encoding="utf-8")
    for fold in range(folds):
        part = fold_folder(folder, fold)
        if is_judged(part):
            logger.info("fold %d of %d: is done, in %s", fold + 1, folds, part)
            continue
        logger.info("fold %d of %d", fold + 1, folds)
        part.mkdir(exist_ok=True)
        begun = part if (part / "checkpoints" / "last").is_dir() else None
        fit(of_fold(settings, folds, fold), name, resume=begun, into=part)
    return judge_folds(folder)


def of_fold(settings: Settings, folds: int, fold: int) -> Settings:
    """The settings of one fold.

    Raises:
        SettingsError: The data are not split by hold-out, of which folds are drawn.
    """
    if settings.data.split != "holdout":
        raise SettingsError(f"--folds: folds are drawn by data.split=holdout, got {settings.data.split}; add -o data.split=holdout")
    data = settings.data.model_copy(update={"folds": folds, "fold": fold})
    return settings.model_copy(update={"data": data})
