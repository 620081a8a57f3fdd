"""Lists where a report answers each item of CLAIM 2024 and TRIPOD+AI, as Markdown."""

import csv
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from mammo.report.cards.markdown import escaped, render
from mammo.report.cards.model_card import FROM_OUTSIDE, UNSAID, what_was_judged, words_of_judged
from mammo.report.charts import NO_LOG
from mammo.report.source import ReportSource

ITEMS_FILE = Path(__file__).with_name("checklist_items.csv")
# Files of a run's training, which are in each fold's folder where there are folds.
OF_TRAINING = ("split.csv", "excluded.csv", "log.jsonl", "checkpoints/best")
OF_FOLD = (*OF_TRAINING, "environment.json", "decision.json")


class Item(NamedTuple):
    """An item of a list. Topics are in our own words.

    Attributes:
        number: As published.
        section: The section of the list.
        topic: What it asks for.
        where: The places that answer it: `page:` and a section of `index.html`, `card:` and a heading of
            `model_card.md`, or `file:` and a file of the run or of `report/`. Without any, only the authors can answer.
        authors: What only the authors can add.
        needs: What the places need to answer it, a key of `reasons_against`.
    """

    number: str
    section: str
    topic: str
    where: tuple[str, ...]
    authors: str
    needs: str


@cache
def read_items() -> dict[str, tuple[Item, ...]]:
    """Read the items of each list, CLAIM 2024 and TRIPOD+AI."""
    found: dict[str, list[Item]] = {}
    with ITEMS_FILE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            where = tuple(filter(None, row.pop("where").split("; ")))
            found.setdefault(row.pop("list"), []).append(Item(where=where, **row))
    return {name: tuple(items) for name, items in found.items()}


def render_checklist(source: ReportSource) -> str:
    """State where the report of a judgement answers each item, and which items only the authors can answer."""
    lists = {name: [(item, *answer(item, source)) for item in items] for name, items in read_items().items()}
    return render("checklist.md.j2", source=source, judged=what_was_judged(source), lists=lists)


def answer(item: Item, source: ReportSource) -> tuple[str, str]:
    """Whether files answer an item (`whole`, `part`, or only the `authors`), and where, as Markdown."""
    places, missing = places_of(item, source)
    if not item.where:
        return "authors", f"authors: {item.authors}"
    if not places:
        return "authors", f"not in this report: {next(iter(missing.values()))}; authors: {item.topic}"
    found = [", ".join(_in_words(places, source))]
    found += [f"not in this report: {_in_words([place], source)[0]}, because {why}" for place, why in missing.items()]
    if item.authors:
        return "part", f"in part: {'; '.join(found)}; authors: {item.authors}"
    return "whole", "; ".join(found)


def places_of(item: Item, source: ReportSource) -> tuple[tuple[str, ...], dict[str, str]]:
    """The places that answer an item here, and those that do not, with the reason of each."""
    useless = reasons_against(source)[item.needs]
    missing = {place: why for place in item.where if (why := useless or _missing(place, source))}
    return tuple(place for place in item.where if place not in missing), missing


def reasons_against(source: ReportSource) -> dict[str, str]:
    """Why no place answers an item that needs something, or nothing, by what it needs."""
    judged, words = what_was_judged(source), words_of_judged(source)
    other = "another data set than the run's was judged"
    not_own = {"outside": FROM_OUTSIDE, "other": other, "unsaid": UNSAID}.get(judged, "")
    unknown = not_own or words.unknown_because
    by_source = any(group.column == "source" for group in source.judgement.subgroups)
    return {
        "": "",
        "run": FROM_OUTSIDE if judged == "outside" else "",
        "own": not_own,
        "other": "" if judged == "other" else not_own or "the run's own cases were judged",
        "origin": unknown,
        "films": unknown or ("" if words.films else "the kind of films is not known here"),
        "standard": unknown or ("" if words.reference_standard else "the reference standard is not known here"),
        "sources": "" if by_source else "the score table has no groups by source",
    }


def _missing(place: str, source: ReportSource) -> str:
    """Why a place is not there, or nothing."""
    kind, _, name = place.partition(":")
    judged = what_was_judged(source)
    no_log = FROM_OUTSIDE if judged == "outside" else NO_LOG
    if kind == "file" and name != "report/metrics.json":
        if judged == "outside":
            return FROM_OUTSIDE
        if name == "excluded.csv" and judged == "other":
            return "the run's list of exclusions is of its own data"
        return NO_LOG if name in OF_TRAINING and source.log is None and judged != "folds" else ""
    no_pictures = escaped(source.no_pictures) or "it has no pictures of films"
    absent = {
        "page:Learning curves": "" if source.logs else no_log,
        "page:Cross-validation": "" if source.folds else "there was no cross-validation",
        "page:Subgroups": "" if source.judgement.subgroups else "the score table has no groups",
        "page:Hardest mistakes": "" if source.pictures else no_pictures,
    }
    return absent.get(place, "")


def _in_words(places: Sequence[str], source: ReportSource) -> list[str]:
    """Places in words: sections of one document together."""
    names: dict[str, list[str]] = {"page": [], "card": [], "file": []}
    for place in places:
        kind, _, name = place.partition(":")
        names[kind].append(name)
    documents = {"index.html": names["page"], "model_card.md": names["card"]}
    found = [f"`{file}` ({', '.join(sections)})" for file, sections in documents.items() if sections]
    return found + [f"`{_file(name, source)}`" for name in names["file"]]


def _file(name: str, source: ReportSource) -> str:
    folds = what_was_judged(source) == "folds"
    if name == "scores":
        return "scores_out_of_fold.csv" if folds else "scores_test.csv"
    return f"fold_*/{name}" if folds and name in OF_FOLD else name
