"""Reads the checkpoint from which a stopped run goes on, and refuses a run whose settings or data have changed."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mammo.cases.splits import SPLIT_COLUMNS
from mammo.errors import DataMissingError, SettingsError, TrainingError, WeightsError, few_of, in_one_line
from mammo.files import flush_folder
from mammo.inference.decision_file import DECISION_FILE
from mammo.model.checkpoint import Checkpoint, beside_of, last_good, previous_of, read_checkpoint, write_checkpoint
from mammo.prepare.gather import PreparedSplit
from mammo.runs import CONFIG_FILE, read_hash
from mammo.settings.load import check_settings, differences, load_settings
from mammo.settings.schema import Settings
from mammo.tables import read_table
from mammo.training.checkpointing import scored_network
from mammo.training.epoch_metrics import EarlyStopping
from mammo.training.trainer import FineTuner

logger = logging.getLogger(__name__)
# All others decide what is learnt, or how films are prepared: after a change, no settings would describe the run.
CHANGEABLE = (
    "training.epochs",
    "training.early_stopping.patience",
    "training.checkpoint.every_steps",
    "training.checkpoint.every_minutes",
    "training.workers",
    "training.log_histograms",
    "evaluation.batch_size",
    "data.prepare_workers",
    "data.store",
    "data.untrusted",
    "data.cluster",
    "device",
    "output",
)
SAME_IN_ALL_FOLDS = ("training.epochs", "training.early_stopping.patience")


def open_run(folder: Path, settings: Settings, *, about: dict[str, Any]) -> Checkpoint | None:
    """Read the last undamaged checkpoint of a run, before any film is read; None where the run has saved none.

    Args:
        folder: The run.
        settings: The settings with which it is to go on.
        about: What this process saves beside its state; versions and machine are compared.

    Raises:
        WeightsError: It has no undamaged checkpoint.
        SettingsError: It was trained with other settings.
    """
    if not has_begun(folder):
        _refuse_to_lose(folder)
        refuse_other_settings(folder, load_settings(folder / CONFIG_FILE).model_dump(mode="json"), settings)
        logger.info("%s: has saved nothing yet, and starts again", folder)
        return None
    last = folder / "checkpoints" / "last"
    checkpoint = last_good(last)
    if checkpoint.folder != last:  # now, or the next save would replace the good one and keep the damaged one
        shutil.rmtree(last, ignore_errors=True)
        checkpoint.folder.rename(last)
        checkpoint = replace(checkpoint, folder=last)
    refuse_other_settings(folder, checkpoint.state["config"], settings)
    for what in ("versions", "machine"):
        if checkpoint.state.get(what) != about[what]:
            difference = "the weights may differ a little from those of an unbroken run"
            logger.warning("%s: was trained with other %s until now; %s", folder, what, difference)
    return checkpoint


def _refuse_to_lose(folder: Path) -> None:
    """Refuse to start a run again that has finished its first epoch, but whose checkpoint was removed."""
    log = folder / "log.jsonl"
    epochs = log.read_bytes().count(b"\n") if log.is_file() else 0
    if epochs > 1 or (folder / DECISION_FILE).exists():
        what = f"{folder / 'checkpoints' / 'last'}: is missing, so the run cannot go on after its {epochs} epochs"
        raise WeightsError(f"{what}; bring it back, or start a new run")


def has_begun(folder: Path) -> bool:
    """Whether a run has saved a checkpoint to go on from."""
    last = folder / "checkpoints" / "last"
    return last.is_dir() or previous_of(last).is_dir()


def refuse_other_settings(
    folder: Path, before: dict[str, Any], settings: Settings, *, fixed: Sequence[str] = ()
) -> None:
    """Refuse settings that would change what a run learns, or from what.

    `before` are the run's settings as plain values. The keys `fixed` may change in other runs, but not in this one.

    Raises:
        SettingsError: Naming all differences.
    """
    before = check_settings(before, str(folder)).model_dump(mode="json")  # an earlier version lacks newer keys
    may_change = [key for key in CHANGEABLE if key not in fixed]
    if changes := differences(before, settings.model_dump(mode="json"), but=may_change):
        what = in_one_line(f"{folder}: a resumed run keeps its settings", changes)
        raise SettingsError(f"{what}; set them back, or start a new run (only {', '.join(may_change)} may change)")


def refuse_other_data(folder: Path, prepared: PreparedSplit, state: dict[str, Any] | None) -> None:
    """Refuse cases, parts or films that are not those of a run, by the hashes in its checkpoint's `state` or folder.

    Raises:
        TrainingError: It names what has changed.
    """
    try:
        names = "split_sha256", "data_sha256"
        of_split, of_data = (state[name] if state else read_hash(folder, name) for name in names)
    except KeyError as error:
        what = f"{folder}: its checkpoint's state lacks {error}"
        raise WeightsError(f"{what}, as those of other versions may; start a new run") from None
    if of_split != prepared.split.sha256:
        what = f"{folder}: the data have changed since this run began: {_changed_cases(folder, prepared)}"
        raise TrainingError(f"{what}; bring them back, or start a new run")
    if of_data != prepared.data_sha256:
        what = f"{folder}: films have other pixels than when this run began"
        raise TrainingError(f"{what}; bring the old ones back, or start a new run")


def _changed_cases(folder: Path, prepared: PreparedSplit) -> str:
    """How the cases differ from those in a run's `split.csv`."""
    before = read_table(folder / "split.csv", "the run's own list of cases", error=DataMissingError)
    kept = list(SPLIT_COLUMNS)
    if not set(kept) <= set(before):
        raise DataMissingError(f"{folder / 'split.csv'}: is damaged: it lacks columns; start a new run")
    now = prepared.split.frame().astype(str)
    both = before[kept].merge(now, on="case_id", how="outer", suffixes=("", "_now"), indicator=True)
    changes = {"new": both["_merge"] == "right_only", "gone": both["_merge"] == "left_only"}
    for column in ("part", "label", "patient_id"):
        changes[f"of another {column}"] = (both["_merge"] == "both") & (both[column] != both[f"{column}_now"])
    lines = [
        f"{changed.sum()} cases {what} ({few_of(both['case_id'][changed].tolist())})"
        for what, changed in changes.items()
        if changed.any()
    ]
    return in_one_line("cases", lines or ["those in its environment.json differ from those in its split.csv"])


def repair_best(checkpoint: Checkpoint, tuner: FineTuner, stopping: EarlyStopping, monitor: str) -> None:
    """Make `checkpoints/best` the network of the best epoch that early stopping knows, and change that if none is left.

    After a kill between the two writes of an epoch, `best` is newer than the run: the previous one is put back. A
    damaged one is written again if the run is just after that epoch. Otherwise the previous best counts, or else the
    latest network. All but the first case are logged. `tuner` and `stopping` are restored from `checkpoint`.
    """
    best, wanted = checkpoint.folder.with_name("best"), stopping.best_epoch + 1
    if not wanted:
        return
    found: dict[Path, dict[str, Any]] = {}
    errors = []
    for place in (best, previous_of(best)):
        try:
            found[place] = read_checkpoint(place, groups=("network",)).state
        except WeightsError as error:
            errors.append(str(error))
    for place, state in found.items():
        if state["epoch"] == wanted:
            _put_in_place(place, best)
            return
    older = next((place for place, state in found.items() if state["epoch"] < wanted), None)
    why = "; ".join(errors) or f"{best}: is newer than the run"
    if tuner.batch == 0 and (tuner.epoch == wanted or not older):
        stopping.best, stopping.best_epoch = stopping.latest, tuner.epoch - 1
        state = {name: value for name, value in checkpoint.state.items() if name != "keepers"}
        state["metrics"] = {monitor: stopping.best}
        write_checkpoint(best, {"network": scored_network(tuner)}, state)
        if tuner.epoch == wanted:
            logger.warning("%s. The best network was made again from checkpoints/last", why)
        else:
            logger.warning("%s. No best network is left: the latest, of epoch %d, takes its place", why, tuner.epoch)
    elif older:
        state = found[older]
        _put_in_place(older, best)
        stopping.best, stopping.best_epoch = (
            float(state["metrics"].get(monitor, state["epoch"])),
            int(state["epoch"]) - 1,
        )
        logger.warning("%s. Falling back to the best network before it, of epoch %d", why, state["epoch"])
    else:
        stopping.best, stopping.best_epoch = None, -1
        logger.warning("%s. No best network is left: that of epoch %d takes its place", why, tuner.epoch + 1)


def _put_in_place(place: Path, best: Path) -> None:
    """Copy a checkpoint to `best`, unless it is there."""
    if place == best:
        return
    beside = beside_of(best)
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(place, beside)
    shutil.rmtree(best, ignore_errors=True)
    beside.rename(best)
    flush_folder(best.parent)
