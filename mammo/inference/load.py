"""Loads a run's best network, and scores single image files with it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mammo.errors import DataMissingError, ImageError, SettingsError, WeightsError, in_one_line
from mammo.evaluation.calibration import log_odds
from mammo.evaluation.operating_point import Decision
from mammo.images.decode import readers
from mammo.images.geometry import Box
from mammo.images.network_input import InputForm, network_input
from mammo.images.preprocess import PreprocessSettings, check_version
from mammo.inference.decision_file import DECISION_FILE, read_decision_and_network
from mammo.model.checkpoint import read_checkpoint, set_network
from mammo.model.network import MammogramNet, build_network, input_channels
from mammo.runs import CONFIG_FILE, ENSEMBLE_FILE, holder_of, is_trained, network_sha256
from mammo.runtime import paddle
from mammo.settings.load import differences, load_settings
from mammo.settings.schema import Settings
from mammo.settings.types import PAIRED


@dataclass(frozen=True)
class LoadedRun:
    """A run's settings, its best network in eval mode, its decision, and the form of the network's input."""

    folder: Path
    settings: Settings
    network: MammogramNet
    decision: Decision
    form: InputForm


def load_run(folder: Path, *, settings: Settings | None = None) -> LoadedRun:
    """Load a run's best network, with `settings` where they are already read, perhaps with other ones of `evaluation`.

    Raises:
        WeightsError: The run has no whole checkpoint, or one that does not fit its settings.
        SettingsError: The run's settings were changed after training.
        DataMissingError: The run has not ended.
    """
    if not is_trained(folder):
        raise DataMissingError(f"{folder}: holds no network{_why_no_network(folder)}")
    settings = settings or load_settings(folder / CONFIG_FILE)
    form = InputForm(
        preprocess=PreprocessSettings.from_data(settings.data),
        channels=input_channels(settings.model),
        views=2 if settings.data.task in PAIRED else 1,
        test_time=settings.evaluation.test_time,
    )
    decision, scored_network = read_decision_and_network(folder)
    checkpoint = read_checkpoint(folder / "checkpoints" / "best", groups=("network",))
    _check_settings(folder, settings, form.preprocess, checkpoint.state)
    if scored_network != network_sha256(folder):
        problem = "was made with another network than checkpoints/best, which has changed since"
        raise DataMissingError(f"{folder / DECISION_FILE}: {problem}; go on with mammo train --resume {folder}")
    network, _ = build_network(settings.model, task=settings.data.task)
    set_network(network, checkpoint)
    network.eval()
    return LoadedRun(folder, settings, network, decision, form)


def _why_no_network(folder: Path) -> str:
    """What a folder without checkpoints is, and what to do."""
    if (folder / ENSEMBLE_FILE).is_file():
        return "; it is an ensemble: name one of the runs in its ensemble.json"
    if (folder / "report" / "metrics.json").is_file():
        return "; it is a judgement: name its run"
    if holder := holder_of(folder):
        return f" yet: it is being trained{holder}; wait for its first epoch to end"
    return f" yet: it was stopped before its first epoch ended; go on with mammo train --resume {folder}"


def _check_settings(folder: Path, settings: Settings, preprocess: PreprocessSettings, state: dict[str, Any]) -> None:
    """Check that films are prepared and the network is built as in training."""
    try:
        before = {"data": state["preprocess"], "model": state["config"]["model"]}
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{folder / 'checkpoints' / 'best'}: its state lacks {error}; start a new run") from error
    if before["data"].get("version") != preprocess.version:
        check_version(PreprocessSettings.model_validate(before["data"]), folder, "train it again with this version")
    before["data"] = PreprocessSettings.model_validate(before["data"]).model_dump(mode="json")  # with later settings
    now = {"data": preprocess.model_dump(mode="json"), "model": settings.model.model_dump(mode="json")}
    if changed := differences(before, now, but=("model.pretrained", "model.pretrained_sha256")):
        problem = in_one_line(f"{folder / CONFIG_FILE}: was changed after training", changed)
        raise SettingsError(f"{problem}; set it back")


def predict_with_remarks(
    run: LoadedRun, path: Path, *, box: Box | None = None, pixel_aspect: float = 1.0
) -> tuple[float, tuple[str, ...]]:
    """Score one image file (DICOM, PNG, JPEG or PGM) as training and evaluation do.

    `box` is the lesion's place in the file's pixels (x, y, width, height); needed by, and only for, a lesion model.
    `pixel_aspect` is the width of its pixels over their height.

    Returns:
        The probability of malignancy, 0-1, and the warning keys of the film, which are keys of `film.REMARKS`.

    Raises:
        ImageError: The file cannot be read, or a lesion model has no box.
    """
    film = readers(untrusted=run.settings.data.untrusted).film(path)
    try:
        shown = network_input(film, run.form, box=box, pixel_aspect=pixel_aspect)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    with paddle.no_grad():
        output = run.network(paddle.to_tensor(shown.image), paddle.to_tensor(shown.present))
        logits = log_odds(output.astype("float32").numpy())
    return float(run.decision.calibrator.apply(logits.mean())), tuple(dict.fromkeys(shown.remarks))
