"""What was judged and what a reader must know of it, for runs, folds, ensembles and outside scores alike."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from mammo.cases.table import no_exclusions
from mammo.evaluation.judge import Judgement
from mammo.files import write_json
from mammo.prepare.gather import PreparedSplit
from mammo.settings.schema import Settings


@dataclass(frozen=True)
class Judged:
    """A judgement and what a reader must know of it.

    Attributes:
        out: The folder of `report/`.
        about: What was judged, in words.
        judgement: The judgement; of a cross-validation, that of the pooled scores.
        scores: The score table.
        run: The run folder of the network; None for scores from outside.
        settings: The run's settings.
        prepared: The films; None where there are none.
        excluded: Cases that were left out (case, patient_id, reason).
        warned: Cases that were judged with a warning (case, patient_id, reason).
        known_patients: Patients of another data set whom the run trained or chose on; they are no independent test.
        folds: The judgements of a cross-validation's folds.
    """

    out: Path
    about: str
    judgement: Judgement
    scores: pd.DataFrame
    run: Path | None = None
    settings: Settings | None = None
    prepared: PreparedSplit | None = None
    excluded: pd.DataFrame = field(default_factory=no_exclusions)
    warned: pd.DataFrame = field(default_factory=no_exclusions)
    known_patients: tuple[str, ...] = ()
    folds: tuple[Judgement, ...] = ()

    @property
    def phantom(self) -> bool:
        """Whether the films are generated."""
        return self.settings is not None and self.settings.data.kind == "phantom"

    @property
    def file(self) -> Path:
        """The judgement as JSON."""
        return metrics_file(self.out)


def metrics_file(folder: Path) -> Path:
    """Where the judgement of a folder is kept."""
    return folder / "report" / "metrics.json"


def write_judgement(judgement: Judgement, folder: Path, *, more: dict[str, object] | None = None) -> None:
    """Write a judgement, and `more` after it, as `report/metrics.json` of a folder."""
    path = metrics_file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, judgement.as_json() | (more or {}))
