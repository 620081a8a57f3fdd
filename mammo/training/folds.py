"""Settings and a number of folds in, a run per fold and their pooled judgement out: it only loops over `fit`.

Each fold is a run like any other: its test part is that fold's patients, and its stopping, calibration and thresholds come
from a validation part of the others. A stopped cross-validation goes on with the fold it was in.
"""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from mammo.errors import DataMissingError, SettingsError, SplitError
from mammo.files import write_text
from mammo.judging.cross_validation import is_judged, judge_folds
from mammo.judging.judged import Judged
from mammo.prepare.gather import PreparedSplit
from mammo.runs import (
    CONFIG_FILE,
    fold_folder,
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
from mammo.training.fit import fit, saying_how_to_go_on, write_environment
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
        raise SettingsError(
            f"{resume}: has {has or 'no'} folds, got --folds {folds}; resume it without --folds, or start a new run"
        )
    world = join_world()
    if (folds or has) and world.size > 1:
        raise SettingsError(
            f"--folds: folds are trained one by one, by one process each, got {world.size}; start them without the launcher"
        )
    if folds or has:
        return cross_validate(settings, name, folds=folds, resume=resume)
    result = fit(settings, name, resume=resume, world=world)
    if result is None:
        return None
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
    folds = read_folds(resume) if resume else folds
    first = of_fold(settings, folds, 0)
    with ExitStack() as stack:
        if resume:
            stack.enter_context(writing(resume))
            stack.enter_context(saying_how_to_go_on(resume))
            before = load_settings(resume / CONFIG_FILE).model_dump(mode="json")
            refuse_other_settings(resume, before, first, fixed=SAME_IN_ALL_FOLDS)
        place = _Place(first, name, folds, resume, stack)
        return _train_folds(settings, name, folds, place)


def _train_folds(settings: Settings, name: str, folds: int, place: "_Place") -> Judged:
    for fold in range(folds):
        part = fold_folder(place.folder, fold) if place.folder else None
        if part and is_judged(part):
            logger.info("fold %d of %d: is done, in %s", fold + 1, folds, part)
            continue
        logger.info("fold %d of %d", fold + 1, folds)
        begun = part if part and has_begun(part) else None
        fit(of_fold(settings, folds, fold), name, resume=begun, into=place.claim(fold))
    return judge_folds(place.folder or Path())


class _Place:
    """Where the folds go. The folder is made, and kept to this process, when the first is ready to train: a failed start leaves none."""

    def __init__(self, settings: Settings, name: str, folds: int, folder: Path | None, stack: ExitStack) -> None:
        self._settings, self._name, self._folds, self.folder, self._stack = settings, name, folds, folder, stack

    def claim(self, fold: int) -> Callable[[PreparedSplit], Path]:
        """What gives a prepared fold its folder, once it is sure to be of the first fold's data."""

        def make(prepared: PreparedSplit) -> Path:
            if self.folder is None:
                self.folder = make_run_folder(self._settings.output, self._name)
                self._stack.enter_context(writing(self.folder))
                self._stack.enter_context(saying_how_to_go_on(self.folder))
                mark_cross_validation(self.folder, self._folds)
                write_environment(self.folder, {})
                write_text(self.folder / CONFIG_FILE, dump_settings(self._settings))
                point_latest_at(self._settings.output, self.folder)
            check_same_cases(prepared, fold_folder(self.folder, 0))
            part = fold_folder(self.folder, fold)
            part.mkdir(exist_ok=True)
            return part

        return make


def check_same_cases(prepared: PreparedSplit, first: Path) -> None:
    """Hold that a fold is of the same cases as the first, if that has begun.

    Raises:
        SplitError: The data set has changed in between.
    """
    if not (first / "split.csv").is_file():
        return
    before = read_table(first / "split.csv", "a fold's list of cases", error=DataMissingError)
    now = prepared.split.samples.cases
    if set(before["case_id"]) != set(now["case_id"]):
        raise SplitError(
            f"{first.parent}: the data set has changed since its first fold ({len(before)} cases then, {len(now)} now); "
            "bring the old one back, or start a new cross-validation"
        )


def of_fold(settings: Settings, folds: int, fold: int) -> Settings:
    """The settings of one fold.

    Raises:
        SettingsError: The data are not split by hold-out, of which folds are drawn.
    """
    values = settings.model_dump(mode="json")
    values["data"] |= {"folds": folds, "fold": fold}
    return check_settings(values, "--folds")
