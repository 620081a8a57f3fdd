"""An exported folder enters; a predictor that scores films by it leaves. No paddle, unless it is the engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mammo.errors import ImageError
from mammo.evaluation.operating_point import Decision
from mammo.images.geometry import Box
from mammo.images.network_input import network_input
from mammo.images.readers import readers
from mammo.serving.engines import AUTO, Engine, installed_engines, open_engine
from mammo.serving.manifest import Manifest, read_manifest


@dataclass(frozen=True)
class Prediction:
    """What an export says of a film, or of a lesion on it; or the `error` for which it says nothing.

    `logit` is the log-odds before calibration, `score` the probability of malignancy, 0-1; `called` whether that is at or above
    the threshold of the main operating point.
    """

    path: Path
    box: Box | None = None
    logit: float | None = None
    score: float | None = None
    called: bool | None = None
    error: str = ""


@dataclass(frozen=True)
class Predictor:
    """An export, ready to be asked."""

    manifest: Manifest
    decision: Decision
    engine: Engine

    def predict(self, path: Path, boxes: Sequence[Box | None] = (None,), *, untrusted: bool = False) -> list[Prediction]:
        """Score a film, decoded once, or each of its lesions; a bad file is every box's error, a bad box its own.

        Args:
            path: DICOM, PNG, JPEG or PGM.
            boxes: Lesions (x, y, width, height) in the film's pixels, for a network for lesions.
            untrusted: Decode in a process of its own, with limits; the pixels are the same.
        """
        try:
            film = readers(untrusted=untrusted).film(path)
        except (ImageError, OSError) as error:
            return [Prediction(path, box, error=" ".join(str(error).split())) for box in boxes]
        predictions = []
        for box in boxes:
            try:
                image, present = network_input(film, self.manifest.form, box=box)
            except ImageError as error:
                predictions.append(Prediction(path, box, error=f"{path}: {' '.join(str(error).split())}"))
                continue
            logit = float(self.engine(image, present).mean())
            score = float(self.decision.calibrator.apply(np.float64(logit)))
            predictions.append(Prediction(path, box, logit, score, bool(score >= self.decision.threshold)))
        return predictions


def open_export(folder: Path, *, engine: str = AUTO, threads: int) -> Predictor:
    """Open an export.

    Args:
        folder: Made by tools/export.py.
        engine: One of `engines.ENGINES`, or `auto`: the first installed of those that the export was proved with.
        threads: On which the engine computes.

    Raises:
        WeightsError: It is no whole export.
        SettingsError: The engine is unknown or not installed.
    """
    manifest = read_manifest(folder)
    proved = [name for name in installed_engines() if name in manifest.parity]
    chosen = proved[0] if engine == AUTO and proved else engine
    return Predictor(manifest, manifest.read_decision(), open_engine(folder, chosen, threads=threads))
