"""Measures an export on every engine beside the checkpoint in paddle, and what 8-bit numbers gain and cost."""

import functools
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mammo.bench.measure import Finding, Series, in_turns, per_second, ratio
from mammo.errors import SettingsError, first_line
from mammo.evaluation.intervals import auc_covariance
from mammo.inference.load import LoadedRun, load_run
from mammo.inference.score import part_loader
from mammo.model.frozen import silent
from mammo.prepare.gather import PreparedSplit, gather_split, prepare_split
from mammo.progress import track
from mammo.runtime import available_cores, paddle
from mammo.serving.engines import ONNX_FILE, Engine, installed_engines, open_engine
from mammo.serving.export_description import read_description

BATCH = 8
LEAST_S = 1.0  # each measurement takes at least so long
PLAIN = "paddle, layer by layer"
FLOAT, WHOLE = "float32", "int8"
CALIBRATION_IMAGES = 200  # of the training part: they give the range of each layer's values


def bench_engines(run: Path, export: Path, rounds: int) -> list[Finding]:
    """Measure single images and batches of `BATCH` on the export of a run."""
    shape = read_description(export).form.shape
    network = load_run(run).network
    engines = {name: open_engine(export, name, threads=available_cores()) for name in installed_engines()}
    default = next(iter(engines))
    engines[PLAIN] = functools.partial(_plain, network)
    findings = []
    for size in (1, BATCH):
        image = np.random.default_rng(0).normal(size=(size, *shape)).astype(np.float32)
        present = np.ones(image.shape[:2], bool)
        what = {name: functools.partial(_speed, engine, image, present) for name, engine in engines.items()}
        measured = in_turns(what, rounds, "images/s")
        compiled = [one.values for name, one in measured.items() if name != PLAIN]
        fastest = Series("fastest engine", tuple(max(values) for values in zip(*compiled, strict=True)), "images/s")
        own = measured[default]
        slower = ratio(fastest, own, "<= 1.1", name=f"{fastest.name} / {default}, the default")
        title = f"inference, {shape[2]}×{shape[3]} px, batch {size}"
        findings.append(Finding(title, tuple(measured.values()), (slower, ratio(own, measured[PLAIN]))))
    return findings


def _plain(network: paddle.nn.Layer, image: np.ndarray, present: np.ndarray) -> np.ndarray:
    with paddle.no_grad():
        return np.asarray(network(paddle.to_tensor(image), paddle.to_tensor(present)).numpy())


def _speed(engine: Engine, image: np.ndarray, present: np.ndarray) -> float:
    return per_second(lambda: engine(image, present), len(image), LEAST_S)


def bench_int8(run: Path, export: Path, rounds: int) -> Finding:
    """Quantise with onnxruntime (static, by channel), and compare with float32 on the run's test part.

    Raises:
        SettingsError: The network takes several views, which is not measured, or the package onnx is not installed.
    """
    if read_description(export).form.views > 1:
        raise SettingsError("8-bit inference is measured for networks of one image only")
    convert, loaded = quantiser(), load_run(run)
    prepared = prepare_split(loaded.settings, gather_split(loaded.settings))
    known, unseen = (prepared.split.rows(part) for part in ("train", "test"))
    test = _images(loaded, prepared, unseen, "reading the test part")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        shutil.copy(export / ONNX_FILE, folder)
        images = _images(loaded, prepared, known[:CALIBRATION_IMAGES], "reading images to calibrate by")
        convert(folder / ONNX_FILE, [image for image, _ in images])
        kinds = {FLOAT: export, WHOLE: folder}
        engines = {name: open_engine(kind, "onnxruntime", threads=available_cores()) for name, kind in kinds.items()}
        logits = {name: np.concatenate([engine(*batch) for batch in test]) for name, engine in engines.items()}
        measured, ratios = dict[str, Series](), []
        for size in (1, min(BATCH, len(test[0][0]))):
            batch = [array[:size] for array in test[0]]
            what = {f"{name}, batch {size}": functools.partial(_speed, one, *batch) for name, one in engines.items()}
            found = in_turns(what, rounds, "images/s")
            plain, whole = found.values()
            ratios.append(ratio(whole, plain, name=f"{WHOLE} / {FLOAT}, batch {size}"))
            measured |= found
    note = _cost(prepared, unseen, logits)
    return Finding("8-bit inference, onnxruntime", tuple(measured.values()), tuple(ratios), (note,))


def quantiser() -> Callable[[Path, Sequence[np.ndarray]], None]:
    """Give a function that replaces an ONNX file of one input by one of 8-bit numbers, calibrated on images.

    Raises:
        SettingsError: A package that it needs is not installed.
    """
    try:
        import onnx
        from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        problem = f"8-bit inference is not measured ({first_line(error)})"
        raise SettingsError(f"{problem}; pip install onnx ml_dtypes") from None

    class Reader(CalibrationDataReader):
        def __init__(self, name: str, images: Sequence[np.ndarray]) -> None:
            self._feeds = ({name: image} for image in images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._feeds, None)

    def convert(network: Path, images: Sequence[np.ndarray]) -> None:
        folded = network.with_name("folded.onnx")
        name = onnx.load(str(network)).graph.input[0].name
        how = {"per_channel": True, "activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
        with silent():
            quant_pre_process(str(network), str(folded), skip_symbolic_shape=True)
            quantize_static(str(folded), str(network), Reader(name, images), **how)

    return convert


def _images(
    run: LoadedRun, prepared: PreparedSplit, rows: np.ndarray, what: str
) -> list[tuple[np.ndarray, np.ndarray]]:
    loader = part_loader(run.settings, prepared, rows)
    return [(image.numpy(), present.numpy()) for image, present, *_ in track(loader, len(loader), what)]


def _cost(prepared: PreparedSplit, rows: np.ndarray, logits: dict[str, np.ndarray]) -> str:
    cases = prepared.split.samples.cases.iloc[rows]
    _, patient = np.unique(cases["patient_id"].to_numpy(str), return_inverse=True)
    auc, covariance = auc_covariance(cases["label"].to_numpy(int), np.stack([logits[FLOAT], logits[WHOLE]]), patient)
    deviation = float(np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]))
    lost, apart = auc[1] - auc[0], np.abs(logits[WHOLE] - logits[FLOAT])
    low, high = lost - 1.96 * deviation, lost + 1.96 * deviation
    return (
        f"test AUC {auc[0]:.4f} in {FLOAT}, {auc[1]:.4f} in {WHOLE}: {lost:+.4f} "
        f"({low:+.4f} to {high:+.4f}, DeLong for clusters); "
        f"logits differ by {apart.mean():.3f}, at most {apart.max():.3f}"
    )
