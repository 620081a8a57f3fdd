"""A report's source in, where it answers each item of CLAIM 2024 and TRIPOD+AI out, as Markdown."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mammo.files import write_text
from mammo.report.cards.checklist_items import CLAIM, TRIPOD, Item
from mammo.report.cards.facts import FROM_OUTSIDE, NO_LOG, settings_of, warnings_of, what_was_judged
from mammo.report.cards.markdown import escaped, joined, table, wrapped
from mammo.report.source import ReportSource

# Files that lie with a run's training, and so in each fold's folder where there are folds.
OF_TRAINING = ("split.csv", "excluded.csv", "log.jsonl", "checkpoints/best")
OF_FOLD = (*OF_TRAINING, "environment.json", "decision.json")


def write_checklist(source: ReportSource, path: Path) -> None:
    """Write the lists as Markdown."""
    write_text(path, render_checklist(source))


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
        kind: [place.removeprefix(f"{kind}:") for place in places if place.startswith(f"{kind}:")]
        for kind in ("page", "card", "file")
    }
    told = [
        f"`{file}` ({', '.join(of_kind[kind])})"
        for kind, file in (("page", "index.html"), ("card", "model_card.md"))
        if of_kind[kind]
    ]
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
        "page:Learning curves": source.log is None
        and not source.fold_logs
        and (FROM_OUTSIDE if judged == "outside" else NO_LOG),
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
    return (
        "the run's own cases were judged"
        if judged in ("own", "folds")
        else ""
        if judged == "other"
        else _not_own(source)
    )


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
