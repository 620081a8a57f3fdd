"""Opens an exported network with one of the installed inference engines; imports an engine's package only then."""

import importlib.util
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from mammo.errors import SettingsError, WeightsError, first_line
from mammo.evaluation.calibration import log_odds

NETWORK = "network"
ONNX_FILE = f"{NETWORK}.onnx"
AUTO = "auto"
# Classifies image float32 [N, V, C, H, W] with present bool [N, V]; returns the log-odds of malignancy, float64 [N].
Engine = Callable[[np.ndarray, np.ndarray], np.ndarray]


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
