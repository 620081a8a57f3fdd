"""An exported network and its run enter; what whole numbers of 8 bits gain in speed, and cost in AUC on the run's test part, leave."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mammo.bench.inference import BATCH, LEAST_S
from mammo.bench.measure import Finding, in_turns, per_second, ratio
from mammo.errors import SettingsError, first_line
from mammo.evaluation.delong import auc_covariance
from mammo.inference.load import LoadedRun, load_run
from mammo.inference.score import part_loader
from mammo.model.frozen import silent
from mammo.prepare.gather import PreparedSplit, gather_split, prepare_split
from mammo.progress import track
from mammo.runtime import available_cores
from mammo.serving.engines import ONNX_FILE, Engine, OnnxEngine

FLOAT, WHOLE = "float32", "int8"
CALIBRATION_IMAGES = 200  # of the training part: from them the range of each layer's values is taken
Images = list[tuple[np.ndarray, np.ndarray]]


def bench_int8(run: Path, export: Path, rounds: int) -> Finding:
    """Quantise with onnxruntime (static, by channel), and compare.

    Raises:
        SettingsError: The network takes several views, which this does not measure, or the package onnx is not installed.
    """
    plain, convert = OnnxEngine(export, available_cores()), quantiser()
    if len(plain.inputs) > 1:
        raise SettingsError("8-bit inference is measured for networks of one image only")
    loaded = load_run(run)
    prepared = prepare_split(loaded.settings, gather_split(loaded.settings))
    known, unseen = (prepared.split.rows(part) for part in ("train", "test"))
    test = _images(loaded, prepared, unseen, "reading the test part")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        shutil.copy(export / ONNX_FILE, folder)
        images = _images(loaded, prepared, known[:CALIBRATION_IMAGES], "reading images to calibrate by")
        convert(folder / ONNX_FILE, plain.inputs[0], [image for image, _ in images])
        engines = {FLOAT: plain, WHOLE: OnnxEngine(folder, available_cores())}
        logits = {name: np.concatenate([engine(*batch) for batch in test]) for name, engine in engines.items()}
        image, present = (array[:BATCH] for array in test[0])
        what = {
            f"{name}, batch {size}": lambda engine=engine, size=size: _speed(engine, image[:size], present[:size])
            for size in (1, len(image))
            for name, engine in engines.items()
        }
        measured = in_turns(what, rounds, "images/s")
    ratios = tuple(
        ratio(
            f"{WHOLE} / {FLOAT}, batch {size}", measured[f"{WHOLE}, batch {size}"], measured[f"{FLOAT}, batch {size}"]
        )
        for size in (1, len(image))
    )
    return Finding("8-bit inference, onnxruntime", tuple(measured.values()), ratios, (_cost(prepared, unseen, logits),))


def quantiser() -> Callable[[Path, str, Sequence[np.ndarray]], None]:
    """Give a function that puts a network of 8-bit weights and values in an ONNX file's place: the file, its input's name, images.

    Raises:
        SettingsError: A package that it needs is not installed.
    """
    try:
        from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise SettingsError(
            f"8-bit inference is not measured ({first_line(error)}); pip install onnx ml_dtypes"
        ) from None

    class Reader(CalibrationDataReader):
        def __init__(self, name: str, images: Sequence[np.ndarray]) -> None:
            self._feeds = ({name: image} for image in images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._feeds, None)

    def convert(network: Path, name: str, images: Sequence[np.ndarray]) -> None:
        folded = network.with_name("folded.onnx")
        how = {"per_channel": True, "activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
        with silent():
            quant_pre_process(str(network), str(folded), skip_symbolic_shape=True)
            quantize_static(str(folded), str(network), Reader(name, images), **how)

    return convert


def _images(run: LoadedRun, prepared: PreparedSplit, rows: np.ndarray, what: str) -> Images:
    loader = part_loader(run.settings, prepared, rows)
    return [(image.numpy(), present.numpy()) for image, present, *_ in track(loader, len(loader), what)]


def _speed(engine: Engine, image: np.ndarray, present: np.ndarray) -> float:
    return per_second(lambda: engine(image, present), len(image), LEAST_S)


def _cost(prepared: PreparedSplit, rows: np.ndarray, logits: dict[str, np.ndarray]) -> str:
    cases = prepared.split.samples.cases.iloc[rows]
    _, patient = np.unique(cases["patient_id"].to_numpy(str), return_inverse=True)
    found = auc_covariance(cases["label"].to_numpy(int), np.stack([logits[FLOAT], logits[WHOLE]]), patient)
    deviation = float(np.sqrt(found.covariance[0, 0] + found.covariance[1, 1] - 2 * found.covariance[0, 1]))
    lost, apart = found.auc[1] - found.auc[0], np.abs(logits[WHOLE] - logits[FLOAT])
    return (
        f"test AUC {found.auc[0]:.4f} in {FLOAT}, {found.auc[1]:.4f} in {WHOLE}: {lost:+.4f} ({lost - 1.96 * deviation:+.4f} to "
        f"{lost + 1.96 * deviation:+.4f}, DeLong for clusters); logits apart by {apart.mean():.3f}, at most {apart.max():.3f}"
    )
