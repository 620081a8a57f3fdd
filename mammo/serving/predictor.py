"""An exported folder enters; a predictor that scores films by it leaves. No paddle, unless it is the engine."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mammo.errors import ImageError
from mammo.evaluation.operating_point import Decision
from mammo.images.film import Film
from mammo.images.geometry import Box
from mammo.images.network_input import network_input
from mammo.images.readers import readers
from mammo.prepare.stamps import looks_of
from mammo.serving.engines import AUTO, Engine, installed_engines, open_engine
from mammo.serving.export_description import Manifest, read_manifest


@dataclass(frozen=True)
class Prediction:
    """What an export says of a film, or of a lesion on it; or the `error` for which it says nothing.

    `logit` is the log-odds before calibration, `score` the probability of malignancy, 0-1; `called` whether that is at or above
    the threshold of the main operating point. `remarks` are keys of `film.REMARKS`; `stamp` tells the film's content from another's
    by size and times.
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
    """An export, ready to be asked."""

    manifest: Manifest
    decision: Decision
    engine: Engine

    def predict(
        self, path: Path, boxes: Sequence[Box | None] = (None,), *, untrusted: bool = False
    ) -> list[Prediction]:
        """Score a film, decoded once, or each of its lesions; a bad file is every box's error, a bad box its own.

        Args:
            path: DICOM, PNG, JPEG or PGM.
            boxes: Lesions (x, y, width, height) in the film's pixels, for a network for lesions.
            untrusted: Decode in a process of its own, with limits; the pixels are the same.
        """
        try:
            before = stamp_of(path)
            film = readers(untrusted=untrusted).film(path)
            if stamp_of(path) != before:
                raise ImageError(
                    f"{path}: the file changed while it was read; run the command again once nothing writes to it any more"
                )
        except (ImageError, OSError) as error:
            return [Prediction(path, box, error=" ".join(str(error).split())) for box in boxes]
        return [replace(self._score(film, path, box), stamp=before) for box in boxes]

    def _score(self, film: Film, path: Path, box: Box | None) -> Prediction:
        try:
            shown = network_input(film, self.manifest.form, box=box)
        except ImageError as error:
            return Prediction(path, box, error=f"{path}: {' '.join(str(error).split())}")
        logit = float(self.engine(shown.image, shown.present).mean())
        score = float(self.decision.calibrator.apply(np.float64(logit)))
        return Prediction(
            path, box, logit, score, bool(score >= self.decision.threshold), remarks=tuple(dict.fromkeys(shown.remarks))
        )


def stamp_of(path: Path) -> str:
    """Size and times of a file, of which any write or replacement changes one; "" where it is not there or no regular file."""
    try:
        return "-".join(map(str, looks_of(path)))
    except (OSError, ImageError):
        return ""


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
