"""Opens an exported network and scores films with it. Needs no paddle, unless paddle is the engine."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mammo.errors import ImageError
from mammo.images.decode import readers
from mammo.images.film import Film
from mammo.images.geometry import Box
from mammo.images.network_input import network_input
from mammo.prepare.records import status_of
from mammo.serving.engines import AUTO, ENGINES, Engine, installed_engines, open_engine
from mammo.serving.export_description import ExportDescription, read_description


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
    """An export that is ready to score films; an ensemble has no engine but `members`, whose mean logit counts."""

    description: ExportDescription
    engine: Engine | None = None
    members: tuple["Predictor", ...] = ()

    def predict(
        self, path: Path, boxes: Sequence[Box | None] = (None,), *, pixel_aspect: float = 1.0, untrusted: bool = False
    ) -> list[Prediction]:
        """Score a film, decoded once, or each of its lesions.

        A film that cannot be read is an error of all its boxes; a box that does not fit is an error of its own.

        Args:
            path: DICOM, PNG, JPEG, TIFF or PGM.
            boxes: Lesions (x, y, width, height) in the film's pixels, for a lesion network.
            pixel_aspect: The width of the film's pixels over their height.
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
        return [replace(self._score(film, path, box, pixel_aspect), stamp=before) for box in boxes]

    def _score(self, film: Film, path: Path, box: Box | None, pixel_aspect: float) -> Prediction:
        try:
            logit, remarks = self.logit(film, box, pixel_aspect)
        except ImageError as error:
            return Prediction(path, box, error=f"{path}: {' '.join(str(error).split())}")
        decision = self.description.decision
        score = float(decision.calibrator.apply(np.float64(logit)))
        called = bool(score >= decision.threshold)
        return Prediction(path, box, logit, score, called, remarks=remarks)

    def logit(self, film: Film, box: Box | None, pixel_aspect: float) -> tuple[float, tuple[str, ...]]:
        """Score a film, or a lesion on it: the log-odds of malignancy before calibration, and warning keys.

        Raises:
            ImageError: The box is missing or does not fit, or the film is refused.
        """
        if self.engine is None:
            made = [member.logit(film, box, pixel_aspect) for member in self.members]
            remarks = dict.fromkeys(remark for _, remarks in made for remark in remarks)
            return float(np.mean([logit for logit, _ in made])), tuple(remarks)
        shown = network_input(film, self.description.form, box=box, pixel_aspect=pixel_aspect)
        familiarity = self.description.familiarity
        unfamiliar = familiarity is not None and familiarity.distance(shown.unit) > 1
        remarks = dict.fromkeys((*shown.remarks, *(["unfamiliar"] if unfamiliar else [])))
        return float(self.engine(shown.image, shown.present).mean()), tuple(remarks)


def open_export(folder: Path, *, engine: str = AUTO, threads: int) -> Predictor:
    """Open a folder made by `mammo export`; the engine `auto` is the first installed one compared with the checkpoint.

    Raises:
        WeightsError: The folder is not a complete export.
        SettingsError: The engine is unknown or not installed.
    """
    description = read_description(folder)
    if description.members:
        members = [open_export(folder / name, engine=engine, threads=threads) for name in description.members]
        return Predictor(description, members=tuple(members))
    if engine == AUTO:
        installed = installed_engines()
        compared = [name for name in installed if name in description.parity]
        engine = [*compared, *installed, *ENGINES][0]
    return Predictor(description, open_engine(folder, engine, threads=threads))


def stamp_of(path: Path) -> str:
    """Give size, times and inode of a file, one of which any write or replacement changes; "" for no regular file."""
    try:
        return "-".join(map(str, status_of(path)))
    except (OSError, ImageError):
        return ""
