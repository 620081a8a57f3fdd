"""Trains one run, or one for each fold of a cross-validation, and returns their pooled judgement.

Each fold is a run like any other: its test part is that fold's patients, and its stopping, calibration and thresholds
come from a validation part of the other patients. A stopped cross-validation goes on with its unfinished fold.
"""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from mammo.errors import DataMissingError, SettingsError, SplitError
from mammo.files import write_text
from mammo.judging.cross_validation import is_judged, judge_folds
from mammo.judging.judged import Judged
from mammo.prepare.gather import PreparedSplit
from mammo.runs import (
    CONFIG_FILE,
    fold_folder,
    fold_folders,
    is_cross_validation,
    make_run_folder,
    mark_cross_validation,
    point_latest_at,
    read_folds,
    writing,
)
from mammo.settings.load import check_settings, dump_settings, load_settings
from mammo.settings.schema import Settings
from mammo.tables import read_table
from mammo.training.distributed import join_world
from mammo.training.fit import fit, naming_resume_command, write_environment
from mammo.training.resuming import SAME_IN_ALL_FOLDS, has_begun, refuse_other_settings

logger = logging.getLogger(__name__)


def train(settings: Settings, name: str, *, folds: int = 0, resume: Path | None = None) -> Judged | None:
    """Train one run, or with `folds` (or when a cross-validation is resumed) one for each fold.

    Returns:
        Its judgement; of several processes that train it together, in the first one only.

    Raises:
        SettingsError: A run is resumed with another number of folds than it has.
    """
    has = read_folds(resume) if resume and is_cross_validation(resume) else 0
    if resume and folds and folds != has:
        what = f"{resume}: has {has or 'no'} folds, got --folds {folds}"
        raise SettingsError(f"{what}; resume it without --folds, or start a new run")
    world = join_world()
    if folds or has:
        if world.size > 1:
            what = f"--folds: one process trains the folds one by one, got {world.size}"
            raise SettingsError(f"{what}; start it without the launcher")
        return cross_validate(settings, name, folds=folds, resume=resume)
    return fit(settings, name, resume=resume, world=world)


def cross_validate(settings: Settings, name: str, *, folds: int = 0, resume: Path | None = None) -> Judged:
    """Train every fold, and judge them one by one and pooled.

    `folds` is at least 2. A stopped cross-validation is resumed with its own `settings`, and keeps its number of folds.
    """
    folds = read_folds(resume) if resume else folds
    first = of_fold(settings, folds, 0)
    with ExitStack() as stack:
        if resume:
            stack.enter_context(writing(resume))
            stack.enter_context(naming_resume_command(resume))
            before = load_settings(resume / CONFIG_FILE).model_dump(mode="json")
            refuse_other_settings(resume, before, first, fixed=SAME_IN_ALL_FOLDS)
        whole = _WholeFolder(first, name, folds, resume, stack)
        for fold in fold_folders(resume) if resume else range(folds):
            part = fold_folder(whole.folder, fold) if whole.folder else None
            if part and is_judged(part):
                logger.info("fold %d of %d: is done, in %s", fold + 1, folds, part)
                continue
            logger.info("fold %d of %d", fold + 1, folds)
            started = part if part and has_begun(part) else None
            fit(of_fold(settings, folds, fold), name, resume=started, into=partial(whole.make_fold, fold))
        return judge_folds(whole.folder or Path())


class _WholeFolder:
    """The folder of all folds, made and locked when the first is ready to train, so that a failed start leaves none."""

    def __init__(self, settings: Settings, name: str, folds: int, folder: Path | None, stack: ExitStack) -> None:
        self._settings, self._name, self._folds, self.folder, self._stack = settings, name, folds, folder, stack

    def make_fold(self, fold: int, prepared: PreparedSplit) -> Path:
        """Make the folder of a prepared fold.

        Raises:
            SplitError: The data set has changed since the first fold.
        """
        if self.folder is None:
            self.folder = make_run_folder(self._settings.output, self._name)
            self._stack.enter_context(writing(self.folder))
            self._stack.enter_context(naming_resume_command(self.folder))
            describe_folds(self.folder, self._settings, self._folds)
            point_latest_at(self._settings.output, self.folder)
        first = fold_folder(self.folder, 0) / "split.csv"
        if first.is_file():
            before = read_table(first, "a fold's list of cases", error=DataMissingError)["case_id"]
            now = prepared.split.samples.cases["case_id"]
            if set(before) != set(now):
                what = f"the data set has changed since its first fold ({len(before)} cases then, {len(now)} now)"
                raise SplitError(f"{self.folder}: {what}; bring the old one back, or start a new cross-validation")
        part = fold_folder(self.folder, fold)
        part.mkdir(exist_ok=True)
        return part


def describe_folds(folder: Path, settings: Settings, folds: int, *, only: Sequence[int] = ()) -> None:
    """Write what a cross-validation's own folder holds: its folds (all, or some `only`), environment and settings."""
    mark_cross_validation(folder, folds, only)
    write_environment(folder, {})
    write_text(folder / CONFIG_FILE, dump_settings(settings))


def of_fold(settings: Settings, folds: int, fold: int) -> Settings:
    """The settings of one fold; the data must be split by hold-out, of which folds are drawn."""
    values = settings.model_dump(mode="json")
    values["data"] |= {"folds": folds, "fold": fold}
    return check_settings(values, "--folds")
