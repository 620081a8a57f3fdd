"""Measures what a network gives at inference: speed by engine, what 8-bit numbers gain and cost, and a baseline."""

import functools
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from mammo.bench.measure import Finding, Series, in_turns, per_second, ratio
from mammo.data.loader import Loader
from mammo.errors import SettingsError, first_line
from mammo.evaluation.intervals import auc_covariance
from mammo.evaluation.metrics import Metric, count_confusion, measure_at, measure_ranking
from mammo.inference.load import load_run
from mammo.inference.score import part_loader
from mammo.model.frozen import silent
from mammo.model.network import start_from_pretrained
from mammo.prepare.gather import PreparedSplit, gather_split, prepare_split
from mammo.progress import track
from mammo.runtime import available_cores, paddle
from mammo.serving.engines import ONNX_FILE, Engine, installed_engines, open_engine
from mammo.serving.export_description import read_description
from mammo.settings.schema import Settings
from mammo.training.assemble import make_network

BATCH = 8
LEAST_S = 1.0  # each measurement takes at least so long
PLAIN, FLOAT, WHOLE = "paddle, layer by layer", "float32", "int8"
CALIBRATION_IMAGES = 200  # of the training part: they give the range of each layer's values
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)  # of the baseline: inverse regularisation, chosen on validation


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
    convert, loaded = _quantiser(), load_run(run)
    prepared = prepare_split(loaded.settings, gather_split(loaded.settings))
    known, unseen = (prepared.split.rows(part) for part in ("train", "test"))
    test = _batches(loaded.settings, prepared, unseen, "reading the test part")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        shutil.copy(export / ONNX_FILE, folder)
        fitted = _batches(loaded.settings, prepared, known[:CALIBRATION_IMAGES], "reading images to calibrate by")
        convert(folder / ONNX_FILE, [image for image, _ in fitted])
        kinds = {FLOAT: export, WHOLE: folder}
        engines = {name: open_engine(kind, "onnxruntime", threads=available_cores()) for name, kind in kinds.items()}
        logits = {name: np.concatenate([engine(*batch) for batch in test]) for name, engine in engines.items()}
        measured: dict[str, Series] = {}
        ratios = []
        for size in (1, min(BATCH, len(test[0][0]))):
            batch = [array[:size] for array in test[0]]
            what = {f"{name}, batch {size}": functools.partial(_speed, one, *batch) for name, one in engines.items()}
            found = in_turns(what, rounds, "images/s")
            plain, whole = found.values()
            ratios.append(ratio(whole, plain, name=f"{WHOLE} / {FLOAT}, batch {size}"))
            measured |= found
    notes = (_cost(prepared, unseen, logits),)
    return Finding("8-bit inference, onnxruntime", tuple(measured.values()), tuple(ratios), notes)


def _quantiser() -> Callable[[Path, Sequence[np.ndarray]], None]:
    """Give a function that replaces an ONNX file of one input by one of 8-bit numbers, calibrated on images."""
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


def _batches(settings: Settings, prepared: PreparedSplit, rows: np.ndarray, what: str) -> list[list[np.ndarray]]:
    """Read cases; returns image float32 [N, V, C, H, W] and present bool [N, V] of each batch."""
    loader = part_loader(settings, prepared, rows)
    return [[image.numpy(), present.numpy()] for image, present, *_ in track(loader, len(loader), what)]


def _cost(prepared: PreparedSplit, rows: np.ndarray, logits: dict[str, np.ndarray]) -> str:
    cases = prepared.split.samples.cases.iloc[rows]
    _, patient = np.unique(cases["patient_id"].to_numpy(str), return_inverse=True)
    auc, covariance = auc_covariance(cases["label"].to_numpy(int), np.stack([logits[FLOAT], logits[WHOLE]]), patient)
    deviation = float(np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]))
    lost, apart = auc[1] - auc[0], np.abs(logits[WHOLE] - logits[FLOAT])
    low, high = lost - 1.96 * deviation, lost + 1.96 * deviation
    aucs = f"test AUC {auc[0]:.4f} in {FLOAT}, {auc[1]:.4f} in {WHOLE}: {lost:+.4f}"
    interval = f"({low:+.4f} to {high:+.4f}, DeLong for clusters)"
    return f"{aucs} {interval}; logits differ by {apart.mean():.3f}, at most {apart.max():.3f}"


def measure_yardstick(settings: Settings) -> dict[str, Metric]:
    """Measure logistic regression on the features of a frozen, pretrained backbone: the baseline of a run.

    It is fitted on training, its regularisation is chosen on validation, and it is measured on test, at 0.5 where a
    threshold is needed. Features are the mean and the maximum over the backbone's feature map, standardised.
    """
    prepared = prepare_split(settings, gather_split(settings))
    _, backbone = make_network(settings)
    start_from_pretrained(backbone, settings.model)
    backbone.network.eval()
    all_labels = prepared.split.samples.cases["label"].to_numpy(int)
    parts = {}
    for part in ("train", "validation", "test"):
        rows = prepared.split.rows(part)
        parts[part] = (_features(backbone.network, part_loader(settings, prepared, rows), part), all_labels[rows])
    models = [make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000)) for strength in STRENGTHS]
    fitted = [model.fit(*parts["train"]) for model in models]
    best = max(fitted, key=lambda model: _auc(model, *parts["validation"]))
    features, labels = parts["test"]
    scores = best.predict_proba(features)[:, 1]
    return measure_ranking(labels, scores) | measure_at(count_confusion(labels, scores, 0.5))


def _auc(model: Pipeline, features: np.ndarray, labels: np.ndarray) -> float:
    return measure_ranking(labels, model.predict_proba(features)[:, 1])["auc"].value or 0.0


def _features(network: paddle.nn.Layer, loader: Loader, part: str) -> np.ndarray:
    """Compute the features of a part's cases, float32 [cases, 2 × channels]."""
    pooled = []
    with paddle.no_grad():
        for image, *_ in track(loader, len(loader), f"features of {part}"):
            feature_map = network(image[:, 0])
            pooled.append(paddle.concat([feature_map.mean(axis=[2, 3]), feature_map.max(axis=[2, 3])], axis=1).numpy())
    return np.concatenate(pooled)
