"""A run folder in, its best network ready to score out; and one film in, its probability out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mammo.config import differences, load_settings
from mammo.errors import DataMissingError, ImageError, SettingsError, WeightsError, in_one_line
from mammo.evaluation.calibration import log_odds
from mammo.evaluation.operating_point import Decision
from mammo.images.geometry import Box
from mammo.images.network_input import InputForm, network_input
from mammo.images.preprocess import PreprocessSettings
from mammo.images.readers import readers
from mammo.inference.decisions import DECISION_FILE, is_of_its_network, read_decision
from mammo.model.checkpoint import read_checkpoint, set_network
from mammo.model.network import MammogramNet, build_network, input_channels
from mammo.runs import CONFIG_FILE, is_trained
from mammo.runtime import paddle
from mammo.settings import Settings


@dataclass(frozen=True)
class LoadedRun:
    """A run's settings, its best network in eval mode, and how its scores become calls."""

    folder: Path
    settings: Settings
    network: MammogramNet
    decision: Decision


def load_run(folder: Path, overrides: Sequence[str] = ()) -> LoadedRun:
    """Load a run's best network, its settings with overrides laid over them.

    Raises:
        WeightsError: It has no whole checkpoint, or one that does not fit its settings.
        DataMissingError: The run has not ended.
    """
    if not is_trained(folder):
        other = (
            "an ensemble: name one of the runs in its ensemble.json"
            if (folder / "ensemble.json").is_file()
            else "a judgement: name its run"
        )
        raise DataMissingError(f"{folder}: holds no network; it is {other}, or go on with a run that was stopped")
    settings = load_settings(folder / CONFIG_FILE, overrides)
    decision = read_decision(folder)
    checkpoint = read_checkpoint(folder / "checkpoints" / "best", groups=("network",))
    _check_settings(folder, settings, checkpoint.state)
    if not is_of_its_network(folder):
        raise DataMissingError(
            f"{folder / DECISION_FILE}: was made of another network than checkpoints/best, which training has changed since; "
            f"go on with tools/train.py --resume {folder}"
        )
    network, _ = build_network(settings.model, task=settings.data.task)
    set_network(network, checkpoint.tensors["network"], checkpoint.folder)
    network.eval()
    return LoadedRun(folder, settings, network, decision)


def _check_settings(folder: Path, settings: Settings, state: dict[str, Any]) -> None:
    """Hold that films are prepared and the network is built as they were in training."""
    try:
        was = {"data": state["preprocess"], "model": state["config"]["model"]}
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{folder / 'checkpoints' / 'best'}: its state lacks {error}; start a new run") from error
    now = {
        "data": PreprocessSettings.from_data(settings.data).model_dump(mode="json"),
        "model": settings.model.model_dump(mode="json"),
    }
    if faults := differences(was, now, but=("model.pretrained", "model.pretrained_sha256")):
        raise SettingsError(in_one_line(f"{folder / CONFIG_FILE}: was changed after training", faults) + "; set it back")


def predict_file(run: LoadedRun, path: Path, *, box: Box | None = None) -> float:
    """Score one image file as training and evaluation do; returns the probability of malignancy, 0-1.

    Args:
        run: A loaded run.
        path: DICOM, PNG, JPEG or PGM.
        box: The lesion's place in the file's pixels (x, y, width, height); needed by, and only for, a lesion model.

    Raises:
        ImageError: The file cannot be read, or a lesion model has no box.
    """
    film = readers(untrusted=run.settings.data.untrusted).film(path)
    try:
        image, present = network_input(film, input_form(run.settings), box=box)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    with paddle.no_grad():
        logits = log_odds(run.network(paddle.to_tensor(image), paddle.to_tensor(present)).astype("float32").numpy())
    return float(run.decision.calibrator.apply(logits.mean()))


def input_form(settings: Settings) -> InputForm:
    """What the network of some settings wants to see."""
    return InputForm(
        preprocess=PreprocessSettings.from_data(settings.data),
        channels=input_channels(settings.model),
        views=2 if settings.data.task == "breast" else 1,
        test_time=settings.evaluation.test_time,
    )
