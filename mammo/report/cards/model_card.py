"""Makes a model card in Markdown, under the nine headings of Mitchell et al. 2019 (arXiv:1810.03993)."""

from mammo import __version__
from mammo.cases.table import DataSetWords
from mammo.evaluation.operating_point import Decision
from mammo.evaluation.subgroups import COLUMNS, FEW_POSITIVES
from mammo.prepare.readers import words_of
from mammo.report.cards.markdown import escaped, render
from mammo.report.charts import NO_LOG
from mammo.report.reader_words import FEW_STEPS, limits_of, who_was_compared
from mammo.report.source import ReportSource

FROM_OUTSIDE = "the scores came from outside"
UNSAID = "whether the judged cases are the run's own test part is not known here"
OUTSIDE = DataSetWords(
    "the user's own, in a score table; the licence of those data applies.", unknown_because=FROM_OUTSIDE
)
UNKNOWN = DataSetWords("not known here, beyond what the title says.", unknown_because=UNSAID)


def render_model_card(source: ReportSource) -> str:
    """State the facts of a run and its judgement, and mark, count and list what only the authors can add."""
    judgement, settings, environment = source.judgement, source.settings, source.environment
    groups = list(dict.fromkeys(group.column for group in judgement.subgroups))
    reader = judgement.reader.levels[judgement.task] if judgement.reader else None
    split_sha256 = environment.get("split_sha256") or ("" if source.folds else judgement.decision.split_sha256)
    return render(
        "model_card.md.j2",
        source=source,
        judged=what_was_judged(source),
        version=__version__,
        judgement=judgement,
        settings=settings,
        environment=environment,
        words=words_of_judged(source),
        training_words=words_of(settings.data.kind) if settings else None,
        chosen=how_chosen(source),
        calibrated=how_calibrated(source),
        epoch=which_epoch(source),
        ended=source.log["time"].iloc[-1] if source.log is not None and "time" in source.log else "not known",
        split_sha256=split_sha256,
        groups=groups,
        not_groups=[column for column in COLUMNS if column not in groups],
        few_positives=FEW_POSITIVES,
        few_groups=[escaped(f"{group.column} {group.value}") for group in judgement.subgroups if group.few],
        augmentation=[f"{step.name} (p {step.p:g})" for step in settings.augmentation] if settings else [],
        compared=who_was_compared(reader).english if reader else "",
        few_steps=FEW_STEPS.english,
        limits=limits_of(phantom=source.phantom, outside=settings is None).english,
        fold_levels=[(number, fold.own) for number, fold in zip(judgement.fold_numbers, source.folds, strict=False)],
    )


def what_was_judged(source: ReportSource) -> str:
    """`outside` (any scores), `folds` (pooled), `own` (the run's test part), `other` (another data set) or `unsaid`."""
    if source.settings is None:
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


def words_of_judged(source: ReportSource) -> DataSetWords:
    """What is known of the data set that was judged."""
    if source.phantom:
        return words_of("phantom")
    if source.settings is None:
        return OUTSIDE
    judged = what_was_judged(source)
    if judged == "unsaid":
        return UNKNOWN
    return words_of("manifest" if judged == "other" else source.settings.data.kind)


def how_chosen(source: ReportSource) -> str:
    """The main operating point in words: its rule, and on what it was chosen."""
    decision = source.judgement.decision
    if not decision.cases or (decision.rule != "youden" and ">=" not in decision.rule):
        return f"the threshold {decision.threshold:g}, fixed beforehand: no data chose it."
    if not isinstance(source.judgement.decisions, Decision):
        return f"`{decision.rule}`, each fold's threshold chosen on its own {decision.part} part."
    whose = " of the run whose decision was taken" if source.settings is None else ""
    return (
        f"`{decision.rule}`, chosen on {decision.cases} {decision.part} cases{whose} ({decision.positives} malignant), "
        f"each level on its own; threshold {decision.threshold:.3f}."
    )


def how_calibrated(source: ReportSource) -> str:
    """How logits became the scores that were judged."""
    decision, method = source.judgement.decision, source.judgement.decision.calibrator.method
    if source.settings is None:
        return "none: the scores were judged as they came."
    if method == "none":
        return "none."
    if what_was_judged(source) == "folds":
        return f"{method}, each fold's fitted on its own {decision.part} part."
    temperature = f" {decision.calibrator.temperature:.3f}" if method == "temperature" else ""
    return f"{method}{temperature}, fitted on the {decision.part} part."


def which_epoch(source: ReportSource) -> str:
    """Which epoch of the log early stopping kept."""
    if source.log is None or source.settings is None:
        unknown = f"Which one is not known here: {NO_LOG} (of an ensemble, each member has one)."
        return "Which one is in the log of each fold." if source.folds else unknown
    kept, monitor = source.best_epoch, source.settings.training.early_stopping.monitor
    if kept is None:
        return "The log does not say which one."
    best = source.log.loc[source.log["epoch"] == kept].iloc[0]
    gap = f"; training AUC less validation AUC {best['gap/auc']:.3f}" if "gap/auc" in source.log else ""
    return f"It was epoch {kept} of {len(source.log)}: {monitor} {best[monitor]:.3f}, used for selection{gap}."
