"""The reporting lists: numbered as published, and where they point is there."""

import dataclasses
import re
from pathlib import Path

import pandas as pd
import pytest

from mammo.cases.table import DataSetWords
from mammo.report.cards.checklist import places_of, read_items, reasons_against, render_checklist
from mammo.report.cards.markdown import wrapped, wrapped_document
from mammo.report.cards.model_card import render_model_card, what_was_judged
from mammo.report.page.page import render_page
from tests.report.card_sources import (
    PAGE_SECTIONS,
    REPORT_FILES,
    RUN_FILES,
    SOURCES,
    TRIPOD_NUMBERS,
    folds_source,
    headings,
    parse,
    run_source,
    tables,
)

CLAIM, TRIPOD = read_items().values()


def test_test_part_is_known_by_its_size(tmp_path: Path) -> None:
    source = run_source(tmp_path)
    of_another = pd.DataFrame({"part": ["train", "test"], "cases": [90, 30]})
    all_of_it = pd.DataFrame({"part": ["test", "all"], "cases": [120, 120]})
    judged = [
        what_was_judged(dataclasses.replace(source, parts=parts))
        for parts in (source.parts, of_another, all_of_it, None)
    ]
    assert judged == ["own", "unsaid", "other", "unsaid"]


def test_lists_are_numbered_as_published() -> None:
    assert [item.number for item in CLAIM] == [str(number) for number in range(1, 45)]
    assert [item.number for item in TRIPOD] == TRIPOD_NUMBERS.split()
    assert len(TRIPOD) == 52


def test_every_place_is_one_that_reports_and_runs_have(tmp_path: Path) -> None:
    card = headings(render_model_card(run_source(tmp_path)))
    there = (
        {f"page:{name}" for name in PAGE_SECTIONS}
        | {f"card:{name}" for name in card}
        | {f"file:{name}" for name in RUN_FILES}
    )
    named = {place for item in (*CLAIM, *TRIPOD) for place in item.where}
    assert named - {"file:scores"} <= there
    assert {item.needs for item in (*CLAIM, *TRIPOD)} <= set(reasons_against(run_source(tmp_path)))
    assert [item.number for item in (*CLAIM, *TRIPOD) if not item.where and not item.authors] == []


@pytest.mark.parametrize("kind", SOURCES)
def test_list_names_only_files_that_exist(kind: str, tmp_path: Path) -> None:
    text = render_checklist(SOURCES[kind](tmp_path))
    named = {name.removeprefix("fold_*/") for name in re.findall(r"`([^`]+)`", text)}
    assert named <= RUN_FILES | REPORT_FILES


@pytest.mark.parametrize("kind", SOURCES)
def test_counts_are_those_of_the_rows(kind: str, tmp_path: Path) -> None:
    counts, *lists = tables(render_checklist(SOURCES[kind](tmp_path)))
    for count, rows in zip(counts[1:], lists, strict=True):
        where = [row[3] for row in rows[1:]]
        in_part = sum(text.startswith("in part: ") for text in where)
        authors = sum(text.startswith(("authors: ", "not in this report: ")) for text in where)
        assert list(map(int, count[1:])) == [len(where), len(where) - in_part - authors, in_part, authors]


def test_what_a_run_lacks_is_not_pointed_at(tmp_path: Path) -> None:
    by_number = {item.number: item for item in CLAIM}
    own, ensemble = run_source(tmp_path), SOURCES["ensemble"](tmp_path)
    assert "file:log.jsonl" in places_of(by_number["25"], own)[0]
    assert "file:log.jsonl" not in places_of(by_number["25"], ensemble)[0]
    assert places_of(by_number["32"], ensemble)[0] == ()
    assert places_of(by_number["33"], own)[1]["page:Headline"] == "the run's own cases were judged"
    assert places_of(by_number["33"], SOURCES["other"](tmp_path))[0] == ("page:Headline", "card:Evaluation Data")
    assert places_of(by_number["7"], SOURCES["cbis"](tmp_path))[0] == ("card:Evaluation Data", "card:Training Data")
    assert places_of(by_number["7"], own)[0] == ()


def test_items_on_the_data_are_answered_only_where_they_are_known(tmp_path: Path) -> None:
    about_data = {item.number for item in (*CLAIM, *TRIPOD) if item.needs in ("origin", "films", "standard")}
    assert about_data == {"5", "7", "13", "14", "5a", "6a", "8a", "18e"}
    for kind, reason in (
        ("cbis", ""),
        ("vindr", "the data set is not known here"),
        ("own", "the data are the user's own"),
        ("phantom", "the films are generated"),
        ("outside", "the scores came from outside"),
    ):
        against = reasons_against(SOURCES[kind](tmp_path))
        assert [against[need] for need in ("origin", "films", "standard")] == [reason] * 3
    where = {row[0]: row[3] for row in tables(render_checklist(SOURCES["vindr"](tmp_path)))[1][1:]}
    assert where["14"].startswith("not in this report: the data set is not known here; authors: ")


def test_a_data_set_without_a_reference_standard_leaves_it_to_the_authors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = DataSetWords("a data set with a licence.", films="digital films.")
    monkeypatch.setattr("mammo.report.cards.model_card.words_of", lambda kind: words)
    against = reasons_against(run_source(tmp_path))
    assert (against["origin"], against["films"]) == ("", "")
    assert against["standard"] == "the reference standard is not known here"


def test_wrapped_text_begins_no_list_or_heading() -> None:
    text = "word " * 20 + "- dash 1. one # head > quote + plus " * 8
    lines = wrapped(text, width=20).splitlines()
    assert [line for line in lines if re.match(r"\s*([-+#>]|\d+[.)])(\s|$)", line)] == []
    assert [token.type for token in parse("\n".join(lines))] == ["paragraph_open", "inline", "paragraph_close"]


def test_only_paragraphs_and_list_items_are_wrapped() -> None:
    code = "```sh\n" + "code " * 40 + "\n\n- no item\n```"
    table = "| " + "cell " * 40 + "|"
    text = (
        f"# head {'x ' * 60}\n\n{'word ' * 40}\n\n- **a:** {'word ' * 20}\n  goes on\n- **b:** c\n\n{code}\n\n{table}\n"
    )
    lines = wrapped_document(text).splitlines()
    assert wrapped_document(text).endswith(f"\n\n{code}\n\n{table}\n")
    assert max(len(line) for line in lines if line.startswith(("word", "- ", "  "))) <= 88
    assert [line for line in lines if line.startswith("  ")][-1].endswith("goes on")


def test_the_sections_that_are_named_are_those_of_the_page(tmp_path: Path) -> None:
    contents = re.search(r"<nav.*?</nav>", render_page(folds_source(tmp_path)), re.DOTALL)[0]
    assert set(re.findall(r'<span class="en">([^<]+)</span>', contents)) == PAGE_SECTIONS
