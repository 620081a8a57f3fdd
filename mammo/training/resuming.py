"""A stopped run's folder in, the checkpoint it can go on from out; refused where its settings or its data are others now."""

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
from mammo.training.callbacks import EarlyStopping
from mammo.training.run_state import scored_network
from mammo.training.trainer import FineTuner

logger = logging.getLogger(__name__)
# The others decide what is learnt, or how films are prepared: changing them in mid-run would leave a run that no settings describe.
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
    """Read the last whole checkpoint of a run, before hours of work and not after; None where it was stopped before the first.

    Args:
        folder: The run.
        settings: What it is to go on with.
        about: What the present process would save beside its state: versions and machine are compared.

    Raises:
        WeightsError: It has no whole checkpoint.
        SettingsError: The settings are others than those it was trained with.
    """
    if not has_begun(folder):
        _refuse_to_lose(folder)
        refuse_other_settings(folder, load_settings(folder / CONFIG_FILE).model_dump(mode="json"), settings)
        logger.info("%s: had saved nothing yet, and begins anew", folder)
        return None
    last = folder / "checkpoints" / "last"
    checkpoint = last_good(last)
    if checkpoint.folder != last:  # now, lest the next save drops the whole one for the damaged one
        shutil.rmtree(last, ignore_errors=True)
        checkpoint.folder.rename(last)
        checkpoint = replace(checkpoint, folder=last)
    refuse_other_settings(folder, checkpoint.state["config"], settings)
    for what in ("versions", "machine"):
        if checkpoint.state.get(what) != about[what]:
            logger.warning(
                "%s: began on other %s: it goes on, but not to the very same weights as if it had not been stopped",
                folder,
                what,
            )
    return checkpoint


def _refuse_to_lose(folder: Path) -> None:
    """Begin no run anew that has come further than its first epoch, and whose checkpoint somebody has removed."""
    log = folder / "log.jsonl"
    epochs = log.read_bytes().count(b"\n") if log.is_file() else 0
    if epochs > 1 or (folder / DECISION_FILE).exists():
        raise WeightsError(
            f"{folder / 'checkpoints' / 'last'}: is gone, and with it the way on from {epochs} epochs; bring it back, or start a new run"
        )


def has_begun(folder: Path) -> bool:
    """Whether a run has saved a checkpoint to go on from."""
    last = folder / "checkpoints" / "last"
    return last.is_dir() or previous_of(last).is_dir()


def refuse_other_settings(
    folder: Path, before: dict[str, Any], settings: Settings, *, fixed: Sequence[str] = ()
) -> None:
    """Refuse settings that would change what a run learns, or from what.

    Args:
        folder: The run.
        before: Its settings, as plain values.
        settings: Those it is to go on with.
        fixed: Keys that may usually change, and may not here.

    Raises:
        SettingsError: All differences are named.
    """
    before = check_settings(before, str(folder)).model_dump(mode="json")  # a version before this one lacks newer keys
    may_change = [key for key in CHANGEABLE if key not in fixed]
    if faults := differences(before, settings.model_dump(mode="json"), but=may_change):
        raise SettingsError(
            in_one_line(f"{folder}: a resumed run keeps its settings", faults)
            + f"; set them back, or start a new run (only {', '.join(may_change)} may change)"
        )


def refuse_other_data(folder: Path, prepared: PreparedSplit, state: dict[str, Any] | None) -> None:
    """Refuse cases, parts or films that are not those of a run, as its checkpoint's `state` names them, or else its folder.

    Raises:
        TrainingError: What has changed is told.
    """
    split = prepared.split
    try:
        of_split, of_data = (
            state[name] if state else read_hash(folder, name) for name in ("split_sha256", "data_sha256")
        )
    except KeyError as error:
        raise WeightsError(
            f"{folder}: its checkpoint's state lacks {error}, as those of other versions may; start a new run"
        ) from None
    if of_split == split.sha256:
        if of_data != prepared.data_sha256:
            raise TrainingError(
                f"{folder}: films have other pixels than when this run began; bring the old ones back, or start a new run"
            )
        return
    before = read_table(folder / "split.csv", "the run's own list of cases", error=DataMissingError)
    now = split.frame().astype(str)
    kept = list(SPLIT_COLUMNS)
    if not set(kept) <= set(before):
        raise DataMissingError(f"{folder / 'split.csv'}: is damaged: it lacks columns; start a new run")
    both = before[kept].merge(now, on="case_id", how="outer", suffixes=("", "_now"), indicator=True)
    changes = [("new", both[both["_merge"] == "right_only"]), ("gone", both[both["_merge"] == "left_only"])]
    for column in ("part", "label", "patient_id"):
        moved = both[(both["_merge"] == "both") & (both[column] != both[f"{column}_now"])]
        changes.append((f"of another {column}", moved))
    faults = [f"{len(rows)} cases {what} ({few_of(rows['case_id'].tolist())})" for what, rows in changes if len(rows)]
    told = in_one_line("cases", faults or ["in its environment.json are others than in its split.csv"])
    raise TrainingError(
        f"{folder}: the data have changed since this run began: {told}; bring them back, or start a new run"
    )


def mend_best(checkpoint: Checkpoint, tuner: FineTuner, stopping: EarlyStopping, monitor: str) -> None:
    """Bring `checkpoints/best` to the epoch that early stopping takes for the best.

    A kill between the two writes of an epoch leaves one that is newer: the one before it is put back. One that is damaged is
    made anew where the run stands right after that epoch; else the best before it counts, else the latest. All are said.

    Args:
        checkpoint: What the run goes on from.
        tuner: Put back to it.
        stopping: Put back to it; its best becomes the one that counts.
        monitor: The metric that early stopping follows.
    """
    best, wanted = checkpoint.folder.with_name("best"), stopping.best_epoch + 1
    if not wanted:
        return
    found, faults = _whole_ones(best)
    right = next((place for place, state in found.items() if state["epoch"] == wanted), None)
    if right:
        if right != best:
            _put_in_place(right, best)
        return
    older = next((place for place, state in found.items() if state["epoch"] < wanted), None)
    told = "; ".join(faults) or f"{best}: is newer than the run"
    if (tuner.epoch, tuner.batch) == (wanted, 0):
        _make_best(best, tuner, checkpoint.state, {monitor: stopping.best})
        logger.warning("%s. The best network was made anew from checkpoints/last", told)
    elif older:
        if older != best:
            _put_in_place(older, best)
        stopping.best, stopping.best_epoch = float(found[older]["metrics"][monitor]), int(found[older]["epoch"]) - 1
        logger.warning("%s. Falling back to the best network before it, of epoch %d", told, found[older]["epoch"])
    elif tuner.batch == 0:
        stopping.best, stopping.best_epoch = stopping.latest, tuner.epoch - 1
        _make_best(best, tuner, checkpoint.state, {monitor: stopping.best})
        logger.warning("%s. No best network is left: the latest, of epoch %d, takes its place", told, tuner.epoch)
    else:
        stopping.best, stopping.best_epoch = None, -1
        logger.warning("%s. No best network is left: that of epoch %d takes its place", told, tuner.epoch + 1)


def _whole_ones(best: Path) -> tuple[dict[Path, dict[str, Any]], list[str]]:
    found, faults = {}, []
    for place in (best, previous_of(best)):
        try:
            found[place] = read_checkpoint(place, groups=("network",)).state
        except WeightsError as error:
            faults.append(str(error))
    return found, faults


def _make_best(best: Path, tuner: FineTuner, state: dict[str, Any], metrics: dict[str, Any]) -> None:
    about = {name: value for name, value in state.items() if name != "keepers"}
    write_checkpoint(best, {"network": scored_network(tuner)}, about | {"metrics": metrics})


def _put_in_place(older: Path, best: Path) -> None:
    beside = beside_of(best)
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(older, beside)
    shutil.rmtree(best, ignore_errors=True)
    beside.rename(best)
    flush_folder(best.parent)
