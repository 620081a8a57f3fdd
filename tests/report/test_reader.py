"""The radiologists' assessments in every form of the report: terminal, page, chart, card and JSON."""

import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import same_color
from sklearn.metrics import recall_score, roc_auc_score, roc_curve

from mammo.evaluation.human_reader import ReaderLevel
from mammo.evaluation.judge import judge
from mammo.evaluation.metrics import Metric
from mammo.plots.style import GREEN
from mammo.report.cards.model_card import render_model_card
from mammo.report.charts import CHARTS
from mammo.report.page.page import difference_cell, render_page
from mammo.report.page.words import translate
from mammo.report.reader_words import GENERATED, LIMITS, MAYBE_AN_INPUT, NEVER_AN_INPUT, who_was_compared
from mammo.report.source import ReportSource
from mammo.report.text import show_judgement
from tests.report.card_sources import tables
from tests.report.page_sources import QUICK, Reader, assessed_scores, folds_source, full_source, reader_source


@pytest.fixture(scope="module")
def source() -> ReportSource:
    return reader_source()


@pytest.fixture(scope="module")
def level(source: ReportSource) -> ReaderLevel:
    assert source.judgement.reader is not None
    return source.judgement.reader.levels["lesion"]


@pytest.fixture(scope="module")
def page(source: ReportSource) -> str:
    return render_page(source)


def test_terminal_shows_the_reader_in_80_columns(
    source: ReportSource, level: ReaderLevel, capsys: pytest.CaptureFixture[str]
) -> None:
    show_judgement(source.judgement, "a run")
    printed = capsys.readouterr().out
    shown = printed[printed.index("beside the radiologists' BI-RADS") :]
    assert max(map(len, shown.splitlines())) <= 80
    scores = assessed_scores()
    known = scores[scores["assessment"].notna() & (scores["assessment"] != 6)]
    auc = roc_auc_score(known["label"], known["assessment"])
    recall = recall_score(known["label"], known["assessment"] >= 4)
    (row,) = [line for line in shown.splitlines() if line.startswith("lesion ")]
    assert [cell.strip().split()[0] for cell in row.split("│")] == [
        "lesion",
        "237",
        f"{auc:.3f}",
        str(level.system_auc),
        f"{level.auc_difference.value:+.3f}",
    ]
    assert re.search(rf">= 4 +│ +{recall:.3f} │", shown)
    assert "system at recall>=0.90 - reader at BI-RADS >= 4:" in shown
    words = " ".join(shown.split())
    assert "Compared on 237 of 240 cases; left out: 2 without an assessment, 1 with BI-RADS 6 (cancer known)." in words
    assert LIMITS.english in words
    show_judgement(source.judgement, "a run", phantom=True)
    printed = " ".join(capsys.readouterr().out.split())
    assert GENERATED.english in printed
    assert LIMITS.english not in printed


def test_nothing_is_shown_where_there_are_no_assessments(capsys: pytest.CaptureFixture[str]) -> None:
    plain = full_source(parts=None)
    show_judgement(plain.judgement, "a run")
    texts = [capsys.readouterr().out, Reader(render_page(plain)).text, render_model_card(plain)]
    assert [text for text in texts if "reader" in text or "radiologists" in text.lower()] == []


def test_page_has_the_section_in_both_languages(page: str, level: ReaderLevel) -> None:
    read = Reader(page)
    sections = [attributes["id"] for tag, attributes in read.tags if tag == "section"]
    assert sections[2:5] == ["points", "reader", "calibration"]
    assert '<a href="#reader">' in page
    classes = [attributes.get("class") for _, attributes in read.tags]
    assert classes.count("en") == classes.count("zh")
    columns = re.findall(r"<th>(.*?)</th>", "".join(re.findall("<thead>.*?</thead>", page)))
    assert {column for column in columns if "zh-Hans" not in column} == {"", "AUC"}
    row = re.search(r'<tr class="main"><th scope="row">BI-RADS ≥ 4</th>(.*?)</tr>', page)
    assert row is not None
    cells = [re.sub("<.*", "", cell) for cell in re.findall("<td>(.*?)</td>", row[1])]
    minus = str.maketrans("-", "−")
    four = level.main
    assert cells == [
        str(four.recall),
        str(four.specificity),
        str(four.system_specificity),
        f"{four.specificity_difference.value:+.3f}".translate(minus),
        str(four.system_recall),
        f"{four.recall_difference.value:+.3f}".translate(minus),
    ]
    for words in (who_was_compared(level), LIMITS, NEVER_AN_INPUT):
        assert words.english in read.text
        assert words.chinese in read.text


def test_headline_names_the_reader_but_not_on_generated_films(page: str, source: ReportSource) -> None:
    scores = assessed_scores()
    malignant = scores[(scores["label"] == 1) & scores["assessment"].between(0, 5)]
    share = round(100 * (malignant["assessment"] >= 4).mean())
    assert re.search(
        rf"BI-RADS, where it is known, is 4 or 5 for {share} \(\d+–\d+\) of 100 malignant", Reader(page).text
    )
    phantom = Reader(render_page(replace(source, phantom=True))).text
    assert "The radiologists' BI-RADS, where it is known" not in phantom
    assert GENERATED.english in phantom
    assert LIMITS.english not in phantom


def test_scores_from_outside_may_have_used_the_assessment(source: ReportSource) -> None:
    outside = replace(source, settings=None)
    for text in (Reader(render_page(outside)).text, " ".join(render_model_card(outside).split())):
        assert MAYBE_AN_INPUT.english in text
        assert NEVER_AN_INPUT.english not in text


def test_groups_of_few_cases_say_why_they_are_not_compared() -> None:
    frame = assessed_scores().assign(subtlety=lambda rows: np.where(rows.index < 12, 1, 5))
    page = render_page(reader_source(frame))
    assert translate("fewer than 10 malignant or benign cases") == "恶性或良性病例少于 10 个"
    assert "fewer than 10 malignant or benign cases" in Reader(page).text


def test_roc_chart_has_the_readers_line_and_three_points(source: ReportSource, level: ReaderLevel) -> None:
    (axes,) = CHARTS["roc"].draw(source).axes
    scores = assessed_scores()
    known = scores[scores["assessment"].between(0, 5)]
    fpr, tpr, thresholds = roc_curve(known["label"], known["assessment"], drop_intermediate=False)
    green = [line for line in axes.lines if same_color(line.get_color(), GREEN)]
    line, *points = green
    assert line.get_label() == "reader (BI-RADS)"
    drawn = {(round(x, 9), round(y, 9)) for x, y in line.get_xydata().tolist()}
    assert drawn == {(round(x, 9), round(y, 9)) for x, y in zip(fpr.tolist(), tpr.tolist(), strict=True)}
    found = [tuple(point.get_xydata()[0]) for point in points]
    expected = [(fpr[thresholds == category][0], tpr[thresholds == category][0]) for category in (3, 4, 5)]
    assert np.array(found) == pytest.approx(np.array(expected))
    assert [text.get_text() for text in axes.texts] == ["3", "4", "5"]
    (plain,) = CHARTS["roc"].draw(full_source()).axes
    assert [line for line in plain.lines if same_color(line.get_color(), GREEN)] == []


def test_card_has_the_tables_and_the_limits(source: ReportSource, level: ReaderLevel) -> None:
    card = render_model_card(source)
    heads = {tuple(table[0][:2]): table[1:] for table in tables(card)}
    points = heads["reader's calls", "reader's recall"]
    assert [row[0] for row in points] == ["BI-RADS ≥ 3", "BI-RADS ≥ 4", "BI-RADS ≥ 5"]
    assert points[1][1] == level.main.recall.with_bounds()
    assert points[1][4] == level.main.specificity_difference.as_difference()
    levels = next(table for table in tables(card) if "reader's AUC, DeLong" in table[0])
    assert [row[0] for row in levels[1:]] == list(source.judgement.levels)
    groups = next(table for table in tables(card) if table[0][-3:] == ["system's AUC", "difference", "note"])
    assert {row[0] for row in groups[1:]} == {"subtlety", "density"}
    text = " ".join(card.split())
    assert f"**Not a reading study:** {LIMITS.english} {NEVER_AN_INPUT.english}" in text


def test_folds_are_compared_as_one() -> None:
    source = folds_source()
    scores = source.scores.assign(assessment=np.arange(len(source.scores)) % 6)
    pooled = judge(scores, source.judgement.decisions, how=QUICK)
    text = Reader(render_page(replace(source, scores=scores, judgement=pooled))).text
    assert "Comparison with the radiologists" in text
    assert f"Compared on {len(scores)} of {len(scores)} cases." in text


def test_a_difference_has_its_sign() -> None:
    assert difference_cell(Metric(-0.1284, "", -0.2, 0.0004)) == "−0.128<small>(−0.200, +0.000)</small>"
    assert difference_cell(Metric(0.01, "", 0.005, 0.0151)) == "+0.010<small>(+0.005, +0.015)</small>"
    assert "one class only" in difference_cell(Metric(None, "one class only"))
    assert Metric(-0.1284, "", -0.2, 0.0104).as_difference() == "-0.128 (-0.200 to +0.010)"
    assert Metric(None, "one class only").as_difference() == "-"
