"""Trains a cross-validation's recipe once more, on all cases; the folds say for how long, and choose the thresholds.

Of an ensemble of cross-validations, each member is trained on all cases; their mean is decided by the ensemble's folds.
"""

import logging
import statistics
from pathlib import Path

from mammo.errors import SettingsError
from mammo.files import read_json, write_json
from mammo.inference.decision_file import DECISION_FILE
from mammo.judging.cross_validation import OUT_OF_FOLD_FILE, judge_folds
from mammo.judging.judged import Judged, copy_run_files, metrics_file
from mammo.judging.run_folder import decide_out_of_fold
from mammo.model.checkpoint import read_checkpoint
from mammo.prepare.gather import PreparedSplit
from mammo.runs import (
    CONFIG_FILE,
    ENSEMBLE_FILE,
    ENVIRONMENT_FILE,
    fold_folders,
    is_cross_validation,
    make_run_folder,
    point_latest_at,
    read_folds,
    read_hash,
    read_only,
)
from mammo.settings.load import check_settings, load_settings
from mammo.settings.schema import LAST, Settings
from mammo.training.fit import fit

RECIPE_FILE = "on_all.json"  # in a run on all cases: which cross-validation's recipe it follows
logger = logging.getLogger(__name__)


def train_on_all(crossed: Path, output: Path) -> Path:
    """Train on all cases of a cross-validation, and decide by its out-of-fold scores.

    No case judges this network. What is known of it are the out-of-fold results of its recipe, which
    `report/metrics.json` repeats.

    Args:
        crossed: The folder of a finished cross-validation.
        output: Where the new run goes, as `<name>_all/<time>`.

    Returns:
        The run's folder, which can be exported and can predict.

    Raises:
        SettingsError: It is no cross-validation, or has some of its folds only.
        DataMissingError: A fold has not ended.
    """
    if not is_cross_validation(crossed):
        raise SettingsError(
            f"{crossed}: expected a cross-validation (mammo train --folds 5 makes it), got another folder"
        )
    if read_only(crossed):
        advice = "name one with all: its out-of-fold scores decide"
        raise SettingsError(f"{crossed}: has some of its {read_folds(crossed)} folds only; {advice}")
    judged = judge_folds(crossed)
    if (crossed / ENSEMBLE_FILE).is_file():
        members = [Path(member) for member in read_json(crossed / ENSEMBLE_FILE)["members"]]
        runs = [_finished(member, output) or train_on_all(member, output) for member in members]
        return _join(runs, judged, output)
    settings, epochs = settings_on_all(crossed)
    logger.info("training on all cases for %d epochs, the median of the folds' best", epochs)
    made: list[Path] = []

    def make_folder(prepared: PreparedSplit) -> Path:
        folder = make_run_folder(output, f"{crossed.resolve().parent.name}_all")
        _write_results(judged, folder)
        write_json(folder / RECIPE_FILE, {"cross_validation": str(crossed.resolve())})
        point_latest_at(output, folder)
        made.append(folder)
        return folder

    fit(settings.model_copy(update={"output": output}), crossed.resolve().parent.name, into=make_folder)
    return made[0]


def _finished(crossed: Path, output: Path) -> Path | None:
    """Find a finished run of this recipe, so that an ensemble that was interrupted trains no member twice."""
    for note in sorted((output / f"{crossed.resolve().parent.name}_all").glob(f"*/{RECIPE_FILE}")):
        same = read_json(note)["cross_validation"] == str(crossed.resolve())
        if same and (note.parent / DECISION_FILE).is_file():
            logger.info("on all cases: %s is done", note.parent)
            return note.parent
    return None


def _join(members: list[Path], judged: Judged, output: Path) -> Path:
    """Write the folder of an ensemble of runs on all cases."""
    folder, settings = make_run_folder(output, "ensemble_all"), load_settings(members[0] / CONFIG_FILE)
    _write_results(judged, folder)
    copy_run_files(members[0], folder, settings, names=(ENVIRONMENT_FILE, "excluded.csv", "warnings.csv"))
    write_json(folder / ENSEMBLE_FILE, {"members": [str(member) for member in members]})
    decide_out_of_fold(settings, folder, split=read_hash(members[0], "split_sha256"))
    point_latest_at(output, folder)
    return folder


def settings_on_all(crossed: Path) -> tuple[Settings, int]:
    """Give the settings of a training on all cases, and its number of epochs: the median of the folds' best.

    The schedule of the learning rate keeps the folds' length, so that the epochs are the same as theirs.
    """
    folders = fold_folders(crossed).values()
    best = [read_checkpoint(folder / "checkpoints" / "best", groups=()).state["epoch"] for folder in folders]
    epochs = round(statistics.median(best))
    values = load_settings(crossed / CONFIG_FILE).model_dump(mode="json")
    if values["training"]["schedule"]["name"] == "plateau":
        reason = "its schedule, plateau, follows a validation part, and a training on all cases has none"
        raise SettingsError(f"{crossed}: {reason}; cross-validate with another training.schedule")
    values["data"] |= {"folds": 0, "fold": 0, "split": "all"}
    values["training"]["early_stopping"] = {"monitor": LAST, "patience": epochs}
    return check_settings(values, str(crossed / CONFIG_FILE)), epochs


def _write_results(judged: Judged, folder: Path) -> None:
    """Copy the out-of-fold scores, by which the run will decide, and their judgement."""
    for source, target in (
        (judged.out / OUT_OF_FOLD_FILE, folder / OUT_OF_FOLD_FILE),
        (judged.file, metrics_file(folder)),
    ):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
