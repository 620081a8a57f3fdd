"""Opens an export: checks its files, loads its network with an inference engine, and scores films with it.

An engine's package is imported only when it is used, so that scoring needs no paddle unless paddle is the engine.
"""

import importlib.util
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, PlainSerializer, ValidationError

from mammo.errors import ImageError, SettingsError, WeightsError, first_line, in_one_line
from mammo.evaluation.calibration import log_odds
from mammo.evaluation.operating_point import Decision
from mammo.files import read_json
from mammo.images.decode import readers
from mammo.images.film import Film
from mammo.images.geometry import Box
from mammo.images.network_input import InputForm, network_input
from mammo.images.preprocess import check_version
from mammo.model.tensors import sha256_of
from mammo.prepare.records import status_of
from mammo.settings.types import Strict, Task

NETWORK = "network"
ONNX_FILE = f"{NETWORK}.onnx"
DESCRIPTION_FILE = "export_description.json"
FORMER_FILE = "manifest.json"  # the name of the description in exports of earlier versions
AUTO = "auto"
# Classifies image float32 [N, V, C, H, W] with present bool [N, V]; returns the log-odds of malignancy, float64 [N].
Engine = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Parity(Strict):
    """The largest difference between an engine's logits and the checkpoint's; relative for logits above 1."""

    images: int
    largest_difference: float


class Origin(Strict):
    """The run that a network comes from, and the data that the run was trained on."""

    run: str
    network_sha256: str
    data: str
    patients: int
    cases: int
    split_sha256: str


class ExportDescription(Strict):
    """Describes an export, so that whoever loads it prepares films exactly as training did.

    Attributes:
        format: Version of this file; others are refused.
        classes: In the order of the logits.
        form: The input that the network expects.
        decision: How a logit becomes a score and a call, as in the run's `decision.json`.
        results: Metrics of the run's test part with their intervals, by level; empty for a run that was not evaluated.
        parity: By engine, as measured during the export.
        versions: Of the packages that made the export.
        files: SHA-256 of each file of the network.
    """

    format: Literal[1] = 1
    task: Task
    classes: tuple[str, str] = ("benign", "malignant")
    form: InputForm
    decision: Annotated[Decision, BeforeValidator(Decision.of_json), PlainSerializer(Decision.as_json)]
    origin: Origin
    results: dict[str, Any]
    parity: dict[str, Parity]
    versions: dict[str, str]
    files: dict[str, str]


@dataclass(frozen=True)
class Prediction:
    """The result for a film, or for a lesion on it; or the `error` because of which there is none.

    Attributes:
        box: The lesion; None for the whole film.
        logit: Log-odds of malignancy before calibration.
        score: Probability of malignancy, 0-1.
        called: Whether the score is at or above the threshold of the main operating point.
        error: Why there is no score; else "".
        remarks: Warning keys, of `film.REMARKS`.
        stamp: Size and times of the file that was scored, as `stamp_of` gives them.
    """

    path: Path
    box: Box | None = None
    logit: float | None = None
    score: float | None = None
    called: bool | None = None
    error: str = ""
    remarks: tuple[str, ...] = ()
    stamp: str = ""


@dataclass(frozen=True)
class Predictor:
    """An export that is ready to score films."""

    description: ExportDescription
    engine: Engine

    def predict(
        self, path: Path, boxes: Sequence[Box | None] = (None,), *, untrusted: bool = False
    ) -> list[Prediction]:
        """Score a film, decoded once, or each of its lesions.

        A film that cannot be read is an error of all its boxes; a box that does not fit is an error of its own.

        Args:
            path: DICOM, PNG, JPEG, TIFF or PGM.
            boxes: Lesions (x, y, width, height) in the film's pixels, for a lesion network.
            untrusted: Decode in a separate process, with limits; the pixels are the same.
        """
        try:
            before = stamp_of(path)
            film = readers(untrusted=untrusted).film(path)
            if stamp_of(path) != before:
                advice = "run the command again when nothing writes to it any more"
                raise ImageError(f"{path}: the file changed while it was read; {advice}")
        except (ImageError, OSError) as error:
            return [Prediction(path, box, error=" ".join(str(error).split())) for box in boxes]
        return [replace(self._score(film, path, box), stamp=before) for box in boxes]

    def _score(self, film: Film, path: Path, box: Box | None) -> Prediction:
        try:
            shown = network_input(film, self.description.form, box=box)
        except ImageError as error:
            return Prediction(path, box, error=f"{path}: {' '.join(str(error).split())}")
        decision = self.description.decision
        logit = float(self.engine(shown.image, shown.present).mean())
        score = float(decision.calibrator.apply(np.float64(logit)))
        called = bool(score >= decision.threshold)
        return Prediction(path, box, logit, score, called, remarks=tuple(dict.fromkeys(shown.remarks)))


def open_export(folder: Path, *, engine: str = AUTO, threads: int) -> Predictor:
    """Open a folder made by `mammo export`; the engine `auto` is the first installed one compared with the checkpoint.

    Raises:
        WeightsError: The folder is not a complete export.
        SettingsError: The engine is unknown or not installed.
    """
    description = read_description(folder)
    if engine == AUTO:
        installed = installed_engines()
        compared = [name for name in installed if name in description.parity]
        engine = [*compared, *installed, *ENGINES][0]
    return Predictor(description, open_engine(folder, engine, threads=threads))


def read_description(folder: Path) -> ExportDescription:
    """Read the description of an export, and check that the files beside it are the ones that it describes.

    Raises:
        WeightsError: The folder is not an export, comes from another version, or is damaged.
    """
    path = folder / DESCRIPTION_FILE
    again = "export the run again: mammo export RUN"
    if not path.exists() and (folder / FORMER_FILE).exists():
        raise WeightsError(f"{folder}: is an export of an earlier version ({FORMER_FILE} for {path.name}); {again}")
    try:
        description = ExportDescription.model_validate(read_json(path))
        advice = "export it again from a run that was trained with this version"
        check_version(description.form.preprocess, path, advice)
        for name, sha256 in description.files.items():
            (folder / name).stat()  # reports a missing file as missing
            if "/" in name or sha256_of(folder / name) != sha256:
                problem = f"is damaged or of another export (its hash is not that of {path.name})"
                raise WeightsError(f"{folder / name}: {problem}; {again}")
    except FileNotFoundError as error:
        raise WeightsError(f"{error.filename}: is missing; expected a folder that mammo export made") from None
    except ValueError as error:
        errors = [str(error)]
        if isinstance(error, ValidationError):
            errors = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        problem = in_one_line(f"{path}: is no description of an export, or of another version", errors)
        raise WeightsError(f"{problem}; {again}") from error
    return description


def stamp_of(path: Path) -> str:
    """Give size, times and inode of a file, one of which any write or replacement changes; "" for no regular file."""
    try:
        return "-".join(map(str, status_of(path)))
    except (OSError, ImageError):
        return ""


def open_openvino(folder: Path, threads: int) -> Engine:
    """OpenVINO on the CPU, in float32: where it can, it computes in bfloat16, which changes logits by hundredths."""
    import openvino

    how = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(str(folder / ONNX_FILE), "CPU", how)
    request = compiled.create_infer_request()

    def classify(image: np.ndarray, present: np.ndarray) -> np.ndarray:
        inputs = (image, present)[: len(compiled.inputs)]
        return log_odds(request.infer(dict(enumerate(inputs)))[0])

    return classify


def open_onnxruntime(folder: Path, threads: int) -> Engine:
    """onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors only: it warns about initializers that paddle2onnx left unused
    session = onnxruntime.InferenceSession(str(folder / ONNX_FILE), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def classify(image: np.ndarray, present: np.ndarray) -> np.ndarray:
        return log_odds(session.run(None, dict(zip(names, (image, present), strict=False)))[0])

    return classify


def open_paddle(folder: Path, threads: int) -> Engine:
    """Paddle Inference on the CPU, with oneDNN."""
    from mammo.model.frozen import open_program, run_program, silent

    predictor = open_program(folder / NETWORK, threads=threads)
    first = True

    def classify(image: np.ndarray, present: np.ndarray) -> np.ndarray:
        nonlocal first
        with silent() if first else nullcontext():  # paddle 3.3.1 prints a line when its kernels first run
            logits = run_program(predictor, image, present)
        first = False
        return log_odds(logits)

    return classify


# By the name of the package, in the order of preference. docs/experiments.md has the measured speed of each.
ENGINES: dict[str, Callable[[Path, int], Engine]] = {
    "openvino": open_openvino,
    "onnxruntime": open_onnxruntime,
    "paddle": open_paddle,
}


def installed_engines() -> list[str]:
    """List the engines whose package is installed, the preferred one first."""
    return [name for name in ENGINES if importlib.util.find_spec(name) is not None]


def open_engine(folder: Path, name: str, *, threads: int) -> Engine:
    """Open the network of an export with one of `ENGINES`.

    Raises:
        SettingsError: The engine is unknown or not installed.
        WeightsError: The engine cannot read the network.
    """
    if name not in ENGINES:
        raise SettingsError(f"engine {name}: expected {AUTO}, {', '.join(ENGINES)}")
    installed = installed_engines()
    if name not in installed:
        found = ", ".join(installed) or "none"
        raise SettingsError(f"engine {name}: is not installed (installed: {found}); pip install {name}")
    try:
        return ENGINES[name](folder, threads)
    except Exception as error:  # each engine raises errors of its own
        advice = "export the run again, or take another engine"
        raise WeightsError(f"{folder}: {name} cannot read the network ({first_line(error)}); {advice}") from error
