"""A report's source in, where it answers each item of CLAIM 2024 and TRIPOD+AI out, as Markdown.

What the model card shares with it stands here too: what was judged, the warnings, and the Markdown that both are made of.
"""

import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import yaml

from mammo.config import check_settings
from mammo.errors import SettingsError
from mammo.evaluation.operating_point import Decision
from mammo.report.cards.checklist_items import CLAIM, TRIPOD, Item
from mammo.report.source import ReportSource
from mammo.runs import CONFIG_FILE
from mammo.settings import Settings

WIDTH = 88
NAMES_SHOWN = 8
FROM_OUTSIDE = "the scores came from outside"
NO_LOG = "no training log lies with these scores (an ensemble's training is told by its members)"
# Files that lie with a run's training, and so in each fold's folder where there are folds.
OF_TRAINING = ("split.csv", "excluded.csv", "log.jsonl", "checkpoints/best")
OF_FOLD = (*OF_TRAINING, "environment.json", "decision.json")


def write_checklist(source: ReportSource, path: Path) -> None:
    """Write the lists as Markdown."""
    path.write_text(render_checklist(source), encoding="utf-8")


def render_checklist(source: ReportSource) -> str:
    """Say where the report of a judgement answers each item, and which items only the authors can answer.

    Raises:
        SettingsError: The run's config.yaml is not what it should be.
    """
    lists = (("CLAIM 2024", CLAIM), ("TRIPOD+AI", TRIPOD))
    blocks = [f"# Reporting checklists: {escaped(source.title)}", *warnings_of(source), _ABOUT]
    counts = [(name, len(items), *_counts(items, source)) for name, items in lists]
    blocks.append(table(("list", "items", "answered by files", "in part by files", "by the authors"), counts))
    for name, items in lists:
        rows = [(item.number, item.section, item.topic, answer(item, source)) for item in items]
        blocks += [f"## {name}", table(("no.", "section", "topic", "where answered"), rows)]
    return joined(blocks)


def answer(item: Item, source: ReportSource) -> str:
    """Where an item is answered, in words for a table's cell."""
    places, missing = places_of(item, source)
    if not item.where:
        return f"authors: {item.authors}"
    if not places:
        return f"not in this report: {next(iter(missing.values()))}; authors: {item.topic}"
    told = [", ".join(_told(places, source))]
    told += [f"not in this report: {_told([place], source)[0]}, because {why}" for place, why in missing.items()]
    return f"in part: {'; '.join(told)}; authors: {item.authors}" if item.authors else "; ".join(told)


def places_of(item: Item, source: ReportSource) -> tuple[tuple[str, ...], dict[str, str]]:
    """The places that answer an item here, and those that do not, with the reason of each."""
    useless = NEEDS[item.needs](source) if item.needs else ""
    missing = {place: why for place in item.where if (why := useless or _missing(place, source))}
    return tuple(place for place in item.where if place not in missing), missing


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
    """What the judged cases are, a key of `checklist_items.DATA`."""
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
        raise SettingsError(f"{source.title}: {CONFIG_FILE} is no YAML ({' '.join(str(error).split())}); use another run") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{source.title}: {CONFIG_FILE} must hold settings, got {type(values).__name__}; use another run")
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


def names(listed: Sequence[object]) -> str:
    """The first of many names, escaped."""
    more = f" and {len(listed) - NAMES_SHOWN} more" if len(listed) > NAMES_SHOWN else ""
    return ", ".join(escaped(name) for name in listed[:NAMES_SHOWN]) + more


def escaped(text: object) -> str:
    """Text from outside in one line that Markdown shows as it is, in tables too."""
    plain = re.sub(r"([\\`*\[\]<>|~#&])", r"\\\1", " ".join(str(text).split()))
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", plain)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; its cells are Markdown already, so what came from outside must be escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def point(label: str, text: str) -> str:
    """A line of a list, its label in bold."""
    return wrapped(f"- **{label}:** {text}", indent="  ")


def fenced(text: str) -> str:
    """A block of code, in a fence that the text cannot close."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}sh\n{text}\n{fence}"


def joined(blocks: Iterable[str]) -> str:
    """A document: an empty line between blocks, but not between the lines of a list."""
    text = ""
    for block in blocks:
        both_points = block.startswith("- ") and text.rpartition("\n\n")[2].startswith("- ")
        text += ("\n" if both_points else "\n\n" if text else "") + block
    return text + "\n"


def wrapped(text: str, *, width: int = WIDTH, indent: str = "") -> str:
    """Break a paragraph to lines, none of which begins like a list, a heading or a quotation."""
    lines = textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines[:1] + [re.sub(r"^(\s*\d*)([-+=>#.)]+)(?=\s|$)", r"\1\\\2", line) for line in lines[1:]])


_ABOUT = wrapped(
    "Where this report answers each item of CLAIM 2024 (Tejani et al., Radiology: Artificial Intelligence 2024;6:e240300) and of "
    "TRIPOD+AI (Collins et al., BMJ 2024;385:e078378). Topics are in our own words: the papers have the items. In brackets are the "
    "sections of `index.html` and the headings of `model_card.md`, both in `report/`; other files are the run's. *Authors* stands "
    "where no file can answer, or not all of it."
)


def _counts(items: Sequence[Item], source: ReportSource) -> tuple[int, int, int]:
    answered = [bool(places_of(item, source)[0]) for item in items]
    whole = sum(there and not item.authors for item, there in zip(items, answered, strict=True))
    return whole, sum(answered) - whole, len(items) - sum(answered)


def _told(places: Sequence[str], source: ReportSource) -> list[str]:
    """Places in words: sections of one document together."""
    of_kind = {
        kind: [place.removeprefix(f"{kind}:") for place in places if place.startswith(f"{kind}:")] for kind in ("page", "card", "file")
    }
    told = [f"`{file}` ({', '.join(of_kind[kind])})" for kind, file in (("page", "index.html"), ("card", "model_card.md")) if of_kind[kind]]
    return told + [f"`{_file(name, source)}`" for name in of_kind["file"]]


def _file(name: str, source: ReportSource) -> str:
    folds = what_was_judged(source) == "folds"
    if name == "scores":
        return "scores_out_of_fold.csv" if folds else "scores_test.csv"
    return f"fold_*/{name}" if folds and name in OF_FOLD else name


def _missing(place: str, source: ReportSource) -> str:
    """Why a place is not there, or nothing."""
    kind, _, name = place.partition(":")
    judged = what_was_judged(source)
    if kind == "file" and name != "report/metrics.json":
        if judged == "outside":
            return FROM_OUTSIDE
        if name == "excluded.csv" and judged == "other":
            return "the run's list of exclusions is of its own data"
        return NO_LOG if name in OF_TRAINING and source.log is None and judged != "folds" else ""
    absent = {
        "page:Learning curves": source.log is None and not source.fold_logs and (FROM_OUTSIDE if judged == "outside" else NO_LOG),
        "page:Cross-validation": not source.folds and "there was no cross-validation",
        "page:Subgroups": not source.judgement.subgroups and "the score table tells no groups",
        "page:Hardest mistakes": not source.pictures and (escaped(source.no_pictures) or "it has no pictures of films"),
    }
    return absent.get(place, "") or ""


def _no_run(source: ReportSource) -> str:
    return FROM_OUTSIDE if what_was_judged(source) == "outside" else ""


def _not_own(source: ReportSource) -> str:
    reasons = {
        "outside": FROM_OUTSIDE,
        "other": "another data set than the run's was judged",
        "unsaid": "whether the judged cases are the run's own test part is not known here",
    }
    return reasons.get(what_was_judged(source), "")


def _not_other(source: ReportSource) -> str:
    judged = what_was_judged(source)
    return "the run's own cases were judged" if judged in ("own", "folds") else "" if judged == "other" else _not_own(source)


def _not_cbis(source: ReportSource) -> str:
    settings = settings_of(source)
    if settings is None or _not_own(source):
        return _not_own(source)
    reasons = {"phantom": "the films are generated", "manifest": "the data are the user's own"}
    return reasons.get(settings.data.kind, "")


def _no_sources(source: ReportSource) -> str:
    told = any(group.column == "source" for group in source.judgement.subgroups)
    return "" if told else "the score table tells no groups by source"


# Why the places of an item are of no use here, or nothing, by what the item needs.
NEEDS: dict[str, Callable[[ReportSource], str]] = {
    "run": _no_run, "own": _not_own, "other": _not_other, "cbis": _not_cbis, "sources": _no_sources,
}  # fmt: skip
