"""A report's source in, a model card under the nine headings of Mitchell et al. 2019 (arXiv:1810.03993) out, as Markdown."""

import shlex
from pathlib import Path

from mammo import __version__
from mammo.evaluation.operating_point import Decision
from mammo.evaluation.subgroups import COLUMNS, FEW_POSITIVES
from mammo.files import write_text
from mammo.report.cards import card_words as say
from mammo.report.cards.facts import (
    FROM_OUTSIDE,
    NO_LOG,
    Blank,
    Blocks,
    how_calibrated,
    how_chosen,
    kind_of_data,
    settings_of,
    warnings_of,
    what_was_judged,
)
from mammo.report.cards.markdown import escaped, fenced, joined, names, point, table, wrapped
from mammo.report.cards.results import results
from mammo.report.charts.learning import best_epoch
from mammo.report.source import ReportSource
from mammo.settings.schema import EarlyStoppingSettings, Settings

UNKNOWN = f"not known: {FROM_OUTSIDE}"


def write_model_card(source: ReportSource, path: Path) -> None:
    """Write the card as Markdown."""
    write_text(path, render_model_card(source))


def render_model_card(source: ReportSource) -> str:
    """Tell what is true of a run and its judgement, and mark, count and list what only the authors can say.

    Raises:
        SettingsError: The run's config.yaml is not what it should be.
    """
    settings = settings_of(source)
    sections = {heading: make(source, settings) for heading, make in SECTIONS.items()}
    about = wrapped(say.ABOUT.format(version=__version__))
    blocks = [f"# Model card: {escaped(source.title)}", *warnings_of(source), about]
    for heading, section in sections.items():
        blocks += [f"## {heading}", *map(str, section)]
    blanks = [
        (heading, block) for heading, section in sections.items() for block in section if isinstance(block, Blank)
    ]
    blocks.append(f"### To be filled in by the authors: {len(blanks)} places")
    return joined([*blocks, *(point(heading, blank.topic) for heading, blank in blanks)])


def _points(phrases: tuple[tuple[str, str], ...], **facts: object) -> Blocks:
    return [point(label, text.format(**facts)) for label, text in phrases]


def _details(source: ReportSource, settings: Settings | None) -> Blocks:
    people = [Blank(*one) for one in say.PEOPLE]
    kind = f"a classifier of {say.TASKS[source.judgement.task]}: its score is the probability of malignancy, 0 to 1."
    if settings is None:
        unknown = point("Type, network, input, training, software, machine", UNKNOWN)
        return [unknown, Blank("System", "which system made the scores, and what it is."), *people]
    model, (height, width) = settings.model, settings.data.image_size
    gray = "one gray channel" if model.gray_input == "sum" else "the gray film in three channels"
    weights: Blocks = [
        point("Starting weights", {"none": "none, random"}.get(model.pretrained, escaped(model.pretrained)))
    ]
    if model.pretrained not in ("none", "ssld"):
        weights.append(Blank("Origin of the starting weights", "what they were trained on, and their licence."))
    return [
        point("Type", f"{kind} It sees pixels only; the BI-RADS assessment is never an input."),
        point(
            "Network",
            f"{escaped(model.backbone)}, {model.pooling} pooling, dropout {model.dropout:g}, one linear layer.",
        ),
        point("Input", f"{height}×{width} px (height × width), {gray}."),
        *weights,
        *_recipe(source, settings),
        *_made(source),
        *people,
    ]


def _recipe(source: ReportSource, settings: Settings) -> Blocks:
    training, looks = settings.training, settings.evaluation.test_time
    facts = {
        "optimizer": training.optimizer,
        "schedule": training.schedule,
        "loss": training.loss,
        "training": training,
    }
    learnt = say.RECIPE.format(**facts, batch=training.batch_size * training.accumulate, seed=settings.seed)
    stop = training.early_stopping
    mean = f"the mean logit over flips ({looks.flips}) and shifts of {looks.shift_px} px."
    kept = f"the epoch with the best {stop.monitor} (patience {stop.patience}). {_kept(source, stop)}"
    once = looks.flips == "none" and not looks.shift_px
    return [
        point("Training", learnt),
        point("Kept", kept),
        point("Scoring", "each case once, as it is." if once else mean),
    ]


def _kept(source: ReportSource, stop: EarlyStoppingSettings) -> str:
    """Which epoch of the log early stopping kept."""
    log = source.log
    if log is None:
        return "Which one, each fold's log tells." if source.folds else f"Which one is not known here: {NO_LOG}."
    kept = best_epoch(source)
    if kept is None:
        return "The log does not tell which one."
    best = log.loc[log["epoch"] == kept].iloc[0]
    gap = f"; training AUC less validation AUC {best['gap/auc']:.3f}" if "gap/auc" in log else ""
    return f"It was epoch {best['epoch']:.0f} of {len(log)}: {stop.monitor} {best[stop.monitor]:.3f}, used for selection{gap}."


def _made(source: ReportSource) -> Blocks:
    """With what, where and by which command."""
    environment = source.environment
    if not environment:
        where = (
            "told by each fold's `environment.json`" if source.folds else "not known: the run has no `environment.json`"
        )
        return [point("Software, machine, command", f"{where}.")]
    packages, command = environment.get("packages"), environment.get("command")
    versions = [f"{name} {version}" for name, version in packages.items()] if isinstance(packages, dict) else []
    ended = source.log["time"].iloc[-1] if source.log is not None and "time" in source.log else "not known"
    told = {"Software": ", ".join([f"Python {environment.get('python', 'not known')}", *versions])}
    told |= {"Machine": str(environment.get("machine", "not known")), "Last epoch ended": ended}
    run = ["run with Python:", fenced(shlex.join(map(str, command)))] if isinstance(command, list) else ["not known"]
    judged = environment.get("judged_with")
    told |= {"Judged with": str(judged)} if judged else {}
    return [*(point(label, escaped(text)) for label, text in told.items()), point("Command", run[0]), *run[1:]]


def _use(source: ReportSource, settings: Settings | None) -> Blocks:
    place = say.NO_PLACE[source.judgement.task] if settings else ""
    return [
        *_points(say.USE, place=place),
        Blank("Intended deployment", "setting, users and role, or that none is intended."),
    ]


def _factors(source: ReportSource, settings: Settings | None) -> Blocks:
    groups = list(dict.fromkeys(group.column for group in source.judgement.subgroups))
    absent = [
        *(column for column in COLUMNS if column not in groups),
        "age, ethnicity, scanner and site unless `source` tells them",
    ]
    kind = kind_of_data(source, settings)
    films = {"cbis_ddsm": say.CBIS_FILMS, "phantom": say.DATA["phantom"]}.get(kind, "not known.")
    told = {
        "Judged by group": f"{', '.join(groups) or 'none'}.",
        "Not judged by group": f"{', '.join(absent)}.",
        "Films": films,
    }
    people = Blank("Instruments and people", "scanners, sites, age, and other groups that matter.")
    return [*(point(label, text) for label, text in told.items()), *([] if kind == "phantom" else [people])]


def _metrics(source: ReportSource, settings: Settings | None) -> Blocks:
    decision, how = source.judgement.decision, source.judgement.how
    score = {"max": "highest", "mean": "mean", "noisy_or": "noisy-or"}[decision.level_score]
    words = {"chosen": how_chosen(source), "calibrated": how_calibrated(source), "level_score": score}
    numbers = {"resamples": how.resamples, "seed": how.seed, "ill": 1000 * how.prevalence, "few": FEW_POSITIVES}
    return _points(say.METRICS, **words, **numbers)


def _evaluation(source: ReportSource, settings: Settings | None) -> Blocks:
    own, kind = source.judgement.own, kind_of_data(source, settings)
    shares = [
        f"{100 * share:.3g}\u00a0%" for share in (own.n_positive / max(own.n, 1), source.judgement.how.prevalence)
    ]
    size = f"{own.n} cases of {own.n_patients} patients; {own.n_positive} are malignant ({shares[0]}, where screening has {shares[1]})."
    said: Blocks = [
        point("Judged", say.JUDGED[what_was_judged(source)]),
        point("Size", size),
        point("Data", say.DATA[kind]),
    ]
    if kind == "cbis_ddsm":
        said.append(point("Reference standard", say.CBIS_STANDARD))
    elif kind != "phantom":
        said.append(
            Blank(
                "Source and reference standard", "whose films, how chosen, what proved the labels, under which licence."
            )
        )
    if settings is None:
        return [*said, point("Preprocessing and exclusions", UNKNOWN)]
    return [*said, *_preparation(settings), *_parts(source, settings), *_excluded(source)]


def _preparation(settings: Settings) -> Blocks:
    data, (height, width) = settings.data, settings.data.image_size
    cut = (
        f"cut to a window of {data.context:g} times the box's longer side"
        if data.task == "lesion"
        else "cropped to the breast"
    )
    words = {"bad": say.BAD_IMAGES[data.bad_images], "callback": say.CALLBACK[data.benign_without_callback]}
    return _points(say.PREPARATION, cut=cut, height=height, width=width, gray=say.INTENSITY[data.intensity], **words)


def _parts(source: ReportSource, settings: Settings) -> Blocks:
    data, parts = settings.data, source.parts
    drawn = f"`data.split: {data.split}`, seed {data.split_seed}" + (f", {data.folds} folds" if data.folds else "")
    sha256 = source.environment.get("split_sha256") or ("" if source.folds else source.judgement.decision.split_sha256)
    told = escaped(sha256) or ("told by each fold's `environment.json`" if source.folds else "not known")
    rule = point(
        "Parts of the run",
        f"{say.SPLITS[data.split].format(side=data.clean_from)} ({drawn}). A run with a patient in two parts is refused.",
    )
    said: Blocks = [rule, point("Hash of the run's split", f"SHA-256 {told}")]
    caption = "The judged data:" if what_was_judged(source) == "other" else "Who is in which part:"
    rows = [] if parts is None else [list(parts), *parts.to_numpy().tolist()]
    cells = [[escaped(cell) for cell in row] for row in rows]
    return [*said, caption, table(cells[0], cells[1:])] if cells else said


def _excluded(source: ReportSource) -> Blocks:
    if source.excluded.empty:
        return ["Left out: not known here." if what_was_judged(source) == "unsaid" else "Left out: nothing."]
    rows = [(escaped(reason), count) for reason, count in source.excluded["reason"].value_counts().items()]
    return [f"Left out, {len(source.excluded)} in all:", table(("reason", "cases"), rows)]


def _training(source: ReportSource, settings: Settings | None) -> Blocks:
    if settings is None:
        return [
            point("Training data", UNKNOWN),
            Blank("Training data of the system", "what it learnt from; which patients are shared."),
        ]
    data, training = settings.data, settings.training
    steps = ", ".join(f"{step.name} (p {step.p:g})" for step in settings.augmentation) or "none"
    size = say.PARTS_TOLD.get(what_was_judged(source), "")
    said: Blocks = [
        point("Data", f"{say.DATA[data.kind]} Lesion types asked for: {', '.join(data.lesion_types)}."),
        point("Parts", f"{size}`split.csv` names every case. Films are prepared as those of the evaluation."),
        point("Augmentation", f"{steps}."),
        point(
            "Class imbalance",
            f"sampler {training.sampler}, class weights {training.loss.class_weights}; thresholds are chosen after.",
        ),
    ]
    return (
        [*said, Blank("Source of the training films", "whose they are and how they were chosen.")]
        if data.kind == "manifest"
        else said
    )


def _ethics(source: ReportSource, settings: Settings | None) -> Blocks:
    main = source.judgement.own.main.confusion
    ill, well = main.false_negative + main.true_positive, main.false_positive + main.true_negative
    counts = {"missed": main.false_negative, "malignant": ill, "alarms": main.false_positive, "benign": well}
    return [*_points(say.ETHICS, **counts), Blank("Ethics approval and consent", "by whom, or why none is needed.")]


def _caveats(source: ReportSource, settings: Settings | None) -> Blocks:
    judgement = source.judgement
    decision, here = judgement.decision, judgement.own.main.metrics["recall"]
    few = ", ".join(f"{escaped(one.column)} {escaped(one.value)}" for one in judgement.subgroups if one.few)
    moved = f"it reached recall {decision.points[0].recall} on the {decision.part} part it was chosen on, {here} here."
    said = {
        "The operating point moves": moved if isinstance(judgement.decisions, Decision) and decision.points[0].recall is not None else "",
        "Prevalence": "PPV, NPV, accuracy and calibration belong to this mix of cases and carry over to no other.",
        "No test": f"patients that the run had seen are judged here: {names(source.known_patients)}." if source.known_patients else "",
        "Few malignant cases": f"in {few}." if few else "",
        "One recipe": "the spread over seeds is in no interval here: train several, and compare." if settings else "",
        "One source": "training and judged cases come from the same; other sites, scanners and years were not tested."
        if what_was_judged(source) in ("own", "folds") else "",
        "Old films": say.CBIS_FILMS if settings and settings.data.kind == "cbis_ddsm" else "",
    }  # fmt: skip
    told = [point(label, text) for label, text in said.items() if text]
    return [*told, Blank("Further limits and tests", "what else limits the results, and what is to be tested next.")]


# The nine headings of Mitchell et al. 2019, in their order.
SECTIONS = {
    "Model Details": _details, "Intended Use": _use, "Factors": _factors, "Metrics": _metrics, "Evaluation Data": _evaluation,
    "Training Data": _training, "Quantitative Analyses": results, "Ethical Considerations": _ethics,
    "Caveats and Recommendations": _caveats,
}  # fmt: skip
