"""What was judged, with what, and where the report goes: what `fit`, evaluation, folds and ensembles all hand on."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from mammo.cases.table import no_exclusions
from mammo.evaluation.judge import Judgement
from mammo.prepare.gather import PreparedSplit
from mammo.settings.schema import Settings


@dataclass(frozen=True)
class Judged:
    """A judgement and what a reader must know of it.

    `out` holds `report/`; `run` is the run folder whose network it was, None for scores from outside. `prepared` has the
    films, None where none are at hand. `excluded` lists what was left out, `warned` what was taken with a doubt.
    `known_patients` of another data set stood in the run's training or validation part: their scores are no test. `folds`
    are those of a cross-validation, whose pooled scores `judgement` is of.
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
        return self.out / "report" / "metrics.json"
