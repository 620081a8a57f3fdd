"""A report's source in, what card and lists must know of it out: what was judged, how it was chosen, what to be warned of."""

from dataclasses import dataclass

import yaml

from mammo.errors import SettingsError
from mammo.evaluation.operating_point import Decision
from mammo.report.cards.markdown import WIDTH, names, point, wrapped
from mammo.report.source import ReportSource
from mammo.runs import CONFIG_FILE
from mammo.settings.load import check_settings
from mammo.settings.schema import Settings

FROM_OUTSIDE = "the scores came from outside"
TO_FILL_IN = "TO BE FILLED IN BY THE AUTHORS"
NO_LOG = "no training log lies with these scores (an ensemble's training is told by its members)"


@dataclass(frozen=True)
class Blank:
    """What only a person can fill in."""

    topic: str
    what: str

    def __str__(self) -> str:
        return point(self.topic, f"**{TO_FILL_IN}**: {self.what}")


Blocks = list[str | Blank]


def what_was_judged(source: ReportSource) -> str:
    """`outside` (anyone's scores), `folds` (pooled out of fold), `own` (a run's test part), `other` (another data set), or `unsaid`."""
    if not source.config:
        return "outside"
    if not isinstance(source.judgement.decisions, Decision):
        return "folds"
    if source.known_patients:
        return "other"
    if source.parts is None:
        return "unsaid"
    cases = dict(zip(source.parts["part"], source.parts["cases"], strict=True))
    if "train" not in cases:
        return "other"
    return "own" if cases.get("test") == source.judgement.own.n else "unsaid"


def how_chosen(source: ReportSource) -> str:
    """The main operating point in words: its rule, and on what it was chosen."""
    decision = source.judgement.decision
    if not decision.cases or (decision.rule != "youden" and ">=" not in decision.rule):
        return f"the threshold {decision.threshold:g}, fixed beforehand: no data chose it."
    if not isinstance(source.judgement.decisions, Decision):
        return f"`{decision.rule}`, each fold's threshold chosen on its own {decision.part} part."
    whose = " of the run whose decision was taken" if what_was_judged(source) == "outside" else ""
    chosen = f"chosen on {decision.cases} {decision.part} cases{whose} ({decision.positives} malignant), each level on its own"
    return f"`{decision.rule}`, {chosen}; threshold {decision.threshold:.3f}."


def how_calibrated(source: ReportSource) -> str:
    """How logits became the scores that were judged."""
    decision, judged = source.judgement.decision, what_was_judged(source)
    method = decision.calibrator.method
    if judged == "outside":
        return "none: the scores were judged as they came."
    if method == "none" or judged == "folds":
        return "none." if method == "none" else f"{method}, each fold's fitted on its own {decision.part} part."
    return f"{method}{f' {decision.calibrator.temperature:.3f}' if method == 'temperature' else ''}, fitted on the {decision.part} part."


def kind_of_data(source: ReportSource, settings: Settings | None) -> str:
    """What the judged cases are, a key of `card_words.DATA`."""
    judged = what_was_judged(source)
    if source.phantom or settings is None:
        return "phantom" if source.phantom else "outside"
    return {"other": "manifest", "unsaid": "unsaid"}.get(judged, settings.data.kind)


def settings_of(source: ReportSource) -> Settings | None:
    """The run's settings, None for scores from outside.

    Raises:
        SettingsError: They are damaged.
    """
    if not source.config:
        return None
    try:
        values = yaml.safe_load(source.config)
    except yaml.YAMLError as error:
        raise SettingsError(
            f"{source.title}: {CONFIG_FILE} is no YAML ({' '.join(str(error).split())}); use another run"
        ) from error
    if not isinstance(values, dict):
        raise SettingsError(
            f"{source.title}: {CONFIG_FILE} must hold settings, got {type(values).__name__}; use another run"
        )
    return check_settings(values, f"{source.title}: {CONFIG_FILE}")


def warnings_of(source: ReportSource) -> list[str]:
    """What must be known before any number is read, each a quoted block."""
    said = []
    if source.phantom:
        said.append("**PHANTOM.** The films are generated. Nothing below says anything about patients.")
    if source.known_patients:
        said.append(
            f"**NO TEST.** This run trained or chose on patients that are judged here: {len(source.known_patients)} "
            f"({names(source.known_patients)}). On new patients results would be worse than those below."
        )
    if what_was_judged(source) == "outside":
        said.append(
            f"**Scores from outside.** {FROM_OUTSIDE.capitalize()} of mammo: which system made them, and from what, is not known here."
        )
    return ["> " + wrapped(text, width=WIDTH - 2).replace("\n", "\n> ") for text in said]
