"""An exported folder and an engine's name enter; a function from images to logits leaves. Each engine is loaded only where asked for."""

import importlib.util
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

import numpy as np

from mammo.errors import SettingsError, WeightsError, first_line
from mammo.evaluation.calibration import log_odds

NETWORK = "network"
ONNX_FILE = f"{NETWORK}.onnx"
AUTO = "auto"


class Engine(Protocol):
    """Runs an exported network."""

    name: str

    def __call__(self, image: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Classify: image float32 [N, V, C, H, W] and present bool [N, V] in, log-odds of malignancy float64 [N] out."""


class OnnxEngine:
    """onnxruntime, on the CPU."""

    name = "onnxruntime"

    def __init__(self, folder: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors; its warnings are of initializers that paddle2onnx left unused
        self._session = onnxruntime.InferenceSession(
            str(folder / ONNX_FILE), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [value.name for value in self._session.get_inputs()]

    def __call__(self, image: np.ndarray, present: np.ndarray) -> np.ndarray:
        return log_odds(self._session.run(None, dict(zip(self.inputs, (image, present), strict=False)))[0])


class OpenVinoEngine:
    """OpenVINO, on the CPU, in full precision: where it can, it takes bfloat16, which moves logits by hundredths."""

    name = "openvino"

    def __init__(self, folder: Path, threads: int) -> None:
        import openvino

        how = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        self._compiled = openvino.Core().compile_model(str(folder / ONNX_FILE), "CPU", how)
        self._request = self._compiled.create_infer_request()
        self._inputs = len(self._compiled.inputs)

    def __call__(self, image: np.ndarray, present: np.ndarray) -> np.ndarray:
        return log_odds(self._request.infer(dict(enumerate((image, present)[: self._inputs])))[0])


class PaddleEngine:
    """Paddle Inference, on the CPU, with oneDNN."""

    name = "paddle"

    def __init__(self, folder: Path, threads: int) -> None:
        from mammo.model.frozen import open_program, run_program, silent

        self._predictor, self._run = open_program(folder / NETWORK, threads=threads), run_program
        self._around: Callable[[], AbstractContextManager[None]] = (
            silent  # paddle 3.3.1 says things of its kernels when they first run
        )

    def __call__(self, image: np.ndarray, present: np.ndarray) -> np.ndarray:
        with self._around():
            logits = self._run(self._predictor, image, present)
        self._around = nullcontext
        return log_odds(logits)


# In the order of preference: the first that is installed is taken. See docs/experiments.md for what each measured.
ENGINES: dict[str, tuple[str, Callable[[Path, int], Engine]]] = {
    "openvino": ("openvino", OpenVinoEngine),
    "onnxruntime": ("onnxruntime", OnnxEngine),
    "paddle": ("paddle", PaddleEngine),
}


def installed_engines() -> list[str]:
    """The engines whose package is here, the preferred one first."""
    return [name for name, (package, _) in ENGINES.items() if importlib.util.find_spec(package) is not None]


def open_engine(folder: Path, name: str = AUTO, *, threads: int) -> Engine:
    """Load an exported network.

    Args:
        folder: The export.
        name: One of `ENGINES`, or `auto` for the first that is installed.
        threads: On which it computes.

    Raises:
        SettingsError: The engine is unknown or not installed.
        WeightsError: It cannot read the network.
    """
    installed = installed_engines()
    if name != AUTO and name not in ENGINES:
        raise SettingsError(f"engine {name}: expected {AUTO}, {', '.join(ENGINES)}")
    if name != AUTO and name not in installed:
        raise SettingsError(
            f"engine {name}: is not installed; pip install {ENGINES[name][0]}, or take one of {', '.join(installed)}"
        )
    chosen = installed[0] if name == AUTO else name
    try:
        return ENGINES[chosen][1](folder, threads)
    except Exception as error:  # each engine has a tree of its own
        raise WeightsError(
            f"{folder}: {chosen} cannot read the network ({first_line(error)}); export the run again, or take another engine"
        ) from error
