"""A run folder in, its best network ready to score out; and one film in, its probability out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mammo.errors import DataMissingError, ImageError, SettingsError, WeightsError, in_one_line
from mammo.evaluation.calibration import log_odds
from mammo.evaluation.operating_point import Decision
from mammo.images.geometry import Box
from mammo.images.network_input import InputForm, network_input
from mammo.images.preprocess import PreprocessSettings, check_version
from mammo.images.readers import readers
from mammo.inference.decision_file import DECISION_FILE, is_of_its_network, read_decision
from mammo.model.checkpoint import read_checkpoint, set_network
from mammo.model.network import MammogramNet, build_network, input_channels
from mammo.runs import CONFIG_FILE, holder_of, is_trained
from mammo.runtime import paddle
from mammo.settings.load import differences, load_settings
from mammo.settings.schema import Settings


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
        raise DataMissingError(f"{folder}: holds no network{_why_no_network(folder)}")
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


def _why_no_network(folder: Path) -> str:
    """What a folder without checkpoints is, and what to do."""
    if (folder / "ensemble.json").is_file():
        return "; it is an ensemble: name one of the runs in its ensemble.json"
    if (folder / "report" / "metrics.json").is_file():
        return "; it is a judgement: name its run"
    if holder := holder_of(folder):
        return f" yet: it is being trained{holder}; wait for its first epoch to end"
    return f" yet: it was stopped before its first epoch ended; go on with tools/train.py --resume {folder}"


def _check_settings(folder: Path, settings: Settings, state: dict[str, Any]) -> None:
    """Hold that films are prepared and the network is built as they were in training."""
    try:
        was = {"data": state["preprocess"], "model": state["config"]["model"]}
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{folder / 'checkpoints' / 'best'}: its state lacks {error}; start a new run") from error
    if was["data"].get("version") != PreprocessSettings.from_data(settings.data).version:
        check_version(PreprocessSettings.model_validate(was["data"]), folder, "train it again with this version")
    now = {
        "data": PreprocessSettings.from_data(settings.data).model_dump(mode="json"),
        "model": settings.model.model_dump(mode="json"),
    }
    if faults := differences(was, now, but=("model.pretrained", "model.pretrained_sha256")):
        raise SettingsError(
            in_one_line(f"{folder / CONFIG_FILE}: was changed after training", faults) + "; set it back"
        )


def predict_file(run: LoadedRun, path: Path, *, box: Box | None = None) -> float:
    """Score one image file as training and evaluation do; returns the probability of malignancy, 0-1, as `predict_with_remarks`."""
    return predict_with_remarks(run, path, box=box)[0]


def predict_with_remarks(run: LoadedRun, path: Path, *, box: Box | None = None) -> tuple[float, tuple[str, ...]]:
    """Score one image file as training and evaluation do.

    Args:
        run: A loaded run.
        path: DICOM, PNG, JPEG or PGM.
        box: The lesion's place in the file's pixels (x, y, width, height); needed by, and only for, a lesion model.

    Returns:
        The probability of malignancy, 0-1, and the remarks on the film, keys of `film.REMARKS`.

    Raises:
        ImageError: The file cannot be read, or a lesion model has no box.
    """
    film = readers(untrusted=run.settings.data.untrusted).film(path)
    try:
        shown = network_input(film, input_form(run.settings), box=box)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    with paddle.no_grad():
        logits = log_odds(
            run.network(paddle.to_tensor(shown.image), paddle.to_tensor(shown.present)).astype("float32").numpy()
        )
    return float(run.decision.calibrator.apply(logits.mean())), tuple(dict.fromkeys(shown.remarks))


def input_form(settings: Settings) -> InputForm:
    """What the network of some settings wants to see."""
    return InputForm(
        preprocess=PreprocessSettings.from_data(settings.data),
        channels=input_channels(settings.model),
        views=2 if settings.data.task == "breast" else 1,
        test_time=settings.evaluation.test_time,
    )
