"""Turns frozen layers into an inference program: the same function, with batch-norms folded into convolutions."""

import contextlib
import io
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mammo.errors import WeightsError
from mammo.runtime import paddle, restore_threads, thread_count

PROGRAM_OF_3 = ".json"
PROGRAM_ENDINGS = (PROGRAM_OF_3, ".pdmodel")  # paddle 2 writes the second
PARAMETERS_ENDING = ".pdiparams"
QUIET = threading.RLock()


class FrozenPart:
    """The first layers of a network as Paddle Inference runs them on a CPU, with oneDNN."""

    def __init__(self, layers: Sequence[paddle.nn.Layer], channels: int) -> None:
        """Translate layers, with the weights that they have now.

        Args:
            layers: In their order; in eval mode while they are translated.
            channels: Of the films.
        """
        chain = paddle.nn.Sequential(*layers)
        modes = [(layer, layer.training) for layer in chain.sublayers(include_self=True)]
        chain.eval()
        with tempfile.TemporaryDirectory() as folder, silent():
            path = Path(folder) / "frozen"
            films = paddle.static.InputSpec([None, channels, None, None], "float32", "films")
            paddle.jit.save(chain, str(path), input_spec=[films])
            self._predictor = open_program(path, threads=thread_count())
        for layer, mode in modes:
            layer.training = mode

    def __call__(self, films: paddle.Tensor) -> paddle.Tensor:
        """Turn films float32 [N, C, H, W] into a feature map without gradients."""
        return paddle.to_tensor(run_program(self._predictor, films.numpy()))


def open_program(path: Path, *, threads: int) -> Any:
    """Open what `paddle.jit.save(…, path)` wrote, for a CPU.

    Raises:
        WeightsError: A newer paddle wrote it: this one would end in a segmentation fault.
    """
    programs = (path.with_name(path.name + ending) for ending in PROGRAM_ENDINGS)
    program = next(program for program in programs if program.is_file())
    if program.suffix == PROGRAM_OF_3 and paddle.__version__.startswith("2."):
        raise WeightsError(f"{program}: was written by paddle 3, and this is {paddle.__version__}")
    config = paddle.inference.Config(str(program), str(path.with_name(path.name + PARAMETERS_ENDING)))
    config.disable_gpu()
    config.set_cpu_math_library_num_threads(threads)
    config.enable_mkldnn()
    config.disable_glog_info()
    return paddle.inference.create_predictor(config)


def run_program(predictor: Any, *inputs: np.ndarray) -> np.ndarray:
    """Run a program on its inputs in their order; returns its first output."""
    for name, value in zip(predictor.get_input_names(), inputs, strict=False):
        predictor.get_input_handle(name).copy_from_cpu(value)
    predictor.run()
    restore_threads()
    return np.asarray(predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu())


@contextmanager
def silent() -> Iterator[None]:
    """Suppress what paddle prints, in Python and in C++; one thread at a time, since all share the output."""
    sys.stdout.flush()
    with QUIET, contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        kept = os.dup(1), os.dup(2)
        nothing = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nothing, 1)
            os.dup2(nothing, 2)
            yield
        finally:
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            for descriptor in (*kept, nothing):
                os.close(descriptor)
