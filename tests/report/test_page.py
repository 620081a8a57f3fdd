"""The report's page: it loads nothing, has two languages, escapes text from outside, and says what is missing."""

import re
import statistics
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from mammo.evaluation.calibration import measure_calibration
from mammo.evaluation.judge import judge
from mammo.evaluation.metrics import Metric
from mammo.evaluation.scores import Cases
from mammo.images.film import REMARKS, in_words
from mammo.prepare.film_checks import HEADER_SIDE
from mammo.report.cards.checklist import render_checklist
from mammo.report.cards.model_card import render_model_card
from mammo.report.page.page import TEMPLATE, in_a_hundred, metric_cell, render_page
from mammo.report.page.words import read_words, translate
from mammo.report.source import CasePicture
from mammo.report.write import write_documents
from mammo.settings.load import check_settings
from tests.report.page_sources import QUICK, Reader, drawn_scores, folds_source, full_source, outside_source

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def page() -> str:
    return render_page(full_source())


def test_page_fetches_nothing(page: str) -> None:
    read = Reader(page)
    assert {tag for tag, _ in read.tags} & {
        "link",
        "iframe",
        "object",
        "embed",
        "base",
        "audio",
        "video",
        "source",
        "form",
    } == set()
    for tag, attributes in read.tags:
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "data", "action", "srcset"):
                assert value.startswith(("#", "data:image/jpeg;base64,")), (tag, name, value[:60])
            assert "http" not in value or name.startswith("xmlns") or name == "http-equiv", (tag, name)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    assert "@import" not in page
    assert "<?xml" not in page
    assert page.count("<!DOCTYPE") == 1


def test_policy_allows_no_request(page: str) -> None:
    policy = [
        attributes["content"]
        for tag, attributes in Reader(page).tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"]


def test_ids_are_unique(page: str) -> None:
    ids = [attributes["id"] for _, attributes in Reader(page).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {
        value[1:] for _, attributes in Reader(page).tags for name, value in attributes.items() if name == "xlink:href"
    }
    assert targets
    assert targets <= set(ids)


def test_every_english_text_has_its_chinese(page: str) -> None:
    classes = [attributes.get("class") for _, attributes in Reader(page).tags]
    assert classes.count("en") == classes.count("zh") > 200


def test_language_is_chosen_without_a_script(page: str) -> None:
    places = [page.index(piece) for piece in ('id="lang-en" checked', 'id="lang-zh"', "<main>")]
    assert places == sorted(places)
    assert "#lang-en:checked ~ main .zh, #lang-zh:checked ~ main .en { display: none; }" in page


def test_words_of_the_template_are_known() -> None:
    template = (Path(__file__).parents[2] / "mammo" / "report" / "page" / TEMPLATE).read_text(encoding="utf-8")
    asked = set(re.findall(r'\bt\("([^"]+)"\)', template))
    assert asked
    assert asked <= set(read_words())
    assert all(re.search("[\u4e00-\u9fff]", words) or words == "AUC" for words in read_words().values())


def test_every_heading_of_a_table_has_its_chinese(page: str) -> None:
    for text in (page, render_page(folds_source())):
        columns = re.findall(r"<th>(.*?)</th>", "".join(re.findall("<thead>.*?</thead>", text)))
        assert len(columns) > 20
        assert {column for column in columns if "zh-Hans" not in column} == {"", "AUC"}


def test_reasons_of_calibration_have_their_chinese() -> None:
    table = drawn_scores(1)
    tables = [table.assign(score=0.5), table.assign(score=table["label"]), table.query("label == 0"), table.head(0)]
    measured = [measure_calibration(Cases.of(one)) for one in tables]
    reasons = {metric.undefined for metrics in measured for metric in metrics.values() if metric.undefined}
    assert len(reasons) >= 4
    assert [reason for reason in reasons if translate(reason) is None] == []


def test_sections_are_in_order() -> None:
    sections = [attributes["id"] for tag, attributes in Reader(render_page(folds_source())).tags if tag == "section"]
    assert sections == [
        "headline",
        "folds",
        "ranking",
        "points",
        "calibration",
        "subgroups",
        "learning",
        "mistakes",
        "data",
        "made",
    ]


def test_headline_counts_of_a_hundred(page: str) -> None:
    recall = full_source().judgement.own.main.metrics["recall"]
    assert recall.value is not None
    assert recall.low is not None
    assert recall.high is not None
    expected = f"{round(100 * recall.value)} ({round(100 * recall.low)}–{round(100 * recall.high)})"
    assert in_a_hundred(recall) == expected
    assert f"Of 100 malignant lesions, it calls {expected} malignant at the operating point." in Reader(page).text


def test_command_is_quoted_and_hashes_are_shown(page: str) -> None:
    text = Reader(page).text
    assert "python tools/train.py -o 'name=two words'" in text
    assert "ab" * 32 in text


def test_exclusions_are_counted_and_listed(page: str) -> None:
    assert re.search(r"lesion has no label of its own</span><span[^>]*>病灶没有自己的标签</span></th><td>1</td>", page)
    assert "L900" in Reader(page).text


def test_warnings_are_counted_in_both_languages(page: str) -> None:
    assert "There were no warnings." in page
    words = in_words("one_value")
    warned = pd.DataFrame([["L1", "P1", words], ["L2", "P2", words]], columns=["case", "patient_id", "reason"])
    warned_page = render_page(replace(full_source(), warned=warned))
    assert re.search(rf"{words}</span><span[^>]*>所有像素值相同：找不到乳房</span></th><td>2</td>", warned_page)
    assert "There were no warnings." not in warned_page


def test_every_remark_has_its_words_in_chinese() -> None:
    assert [key for key in REMARKS if translate(in_words(key)) is None] == []
    assert translate(HEADER_SIDE) is not None


def test_page_is_the_same_each_time() -> None:
    assert render_page(full_source()) == render_page(full_source())


def test_text_from_outside_is_escaped() -> None:
    scores = drawn_scores(1).assign(source=[EVIL, "$a$ & b"] * 60)
    source = full_source(scores=scores, judgement=judge(scores, full_source().judgement.decision, how=QUICK))
    source = replace(
        source,
        title=EVIL,
        settings=check_settings({"model": {"backbone": EVIL}}, "test"),
        environment={"command": ["tools/train.py", EVIL], "machine": EVIL, EVIL: EVIL},
        excluded=pd.DataFrame([[EVIL, EVIL, EVIL]], columns=["case", "patient_id", "reason"]),
        pictures=(CasePicture(EVIL, EVIL, "false positive", 0.9, 0.5, f"view: {EVIL}", b"jpeg"),),
        known_patients=(EVIL,),
    )
    page = render_page(source)
    assert EVIL not in page
    assert [tag for tag, _ in Reader(page).tags].count("script") == 1
    assert Reader(page).text.count(EVIL) > 8


def test_warnings_are_shown_only_where_they_apply(page: str) -> None:
    warned = Reader(render_page(full_source(phantom=True, known_patients=("P001",)))).text
    for words in ("PHANTOM", "Not an independent test:"):
        assert words in warned
        assert words not in Reader(page).text
    assert "not a medical device" in Reader(page).text


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_says_so(label: int) -> None:
    scores = drawn_scores(1).query(f"label == {label}")
    text = Reader(render_page(outside_source(scores))).text
    assert "– one class only" in text
    assert ("recall is not known" in text) == (label == 0)
    assert ("specificity is not known" in text) == (label == 1)


def test_one_case_is_a_page() -> None:
    assert "– one class only" in Reader(render_page(outside_source(drawn_scores(1).head(1)))).text


def test_what_an_outside_table_lacks_is_said() -> None:
    text = Reader(render_page(outside_source(drawn_scores(1)))).text
    for words in (
        "no training log belongs to these scores",
        "the scores came from outside, without films",
        "the score table has no column to group by, or the same value everywhere",
        "how the patients were split is not known",
        "no split belongs to these scores",
        "no command that made them is known",
        "The threshold was fixed beforehand; no data chose it.",
    ):
        assert words in text


def test_folds_are_shown_beside_the_pooled_scores() -> None:
    source = folds_source()
    aucs = [fold.own.ranking["auc"].value or 0 for fold in source.folds]
    text = Reader(render_page(source)).text
    assert f"{statistics.fmean(aucs):.3f}± {statistics.stdev(aucs):.3f}" in text
    assert "The threshold and calibration of a fold are its own" in text
    assert "each fold's own" in text
    assert f"pooled AUC {source.judgement.own.ranking['auc'].with_bounds()}" in text


def test_groups_of_few_malignant_cases_are_starred(page: str) -> None:
    groups = {(group.column, group.value): group.few for group in full_source().judgement.subgroups}
    assert groups == {("density", "1"): True, ("density", "2"): False, ("view", "CC"): False, ("view", "MLO"): False}
    assert '<th scope="row">1 *</th>' in page
    assert '<th scope="row">2</th>' in page


def test_metric_without_a_value_gives_its_reason() -> None:
    assert "–<small" in metric_cell(Metric(None, "no benign case"))
    assert "no benign case" in metric_cell(Metric(None, "no benign case"))
    assert metric_cell(Metric(0.12345, "", -0.5, 0.25)) == "0.123<small>(−0.500–0.250)</small>"
    assert "711" in metric_cell(Metric(0.5, no_interval="it has no value in 711 of 2000 resamples"))


def test_numbers_keep_their_place_in_chinese() -> None:
    assert translate("it has no value in 711 of 2000 resamples") == "在 2000 次重抽样中有 711 次没有值"
    assert translate("recall ≥ 0.90, threshold 0.315") == "召回率 ≥ 0.90，阈值 0.315"
    assert translate("mass *") == "肿块 *"
    assert translate("– one class only") == "– 只有一个类别"
    assert translate("something else 3") is None


def test_page_and_cards_are_the_only_files_written(tmp_path: Path) -> None:
    source = full_source(parts=None)
    write_documents(source, tmp_path / "report")
    written = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "report").iterdir()}
    assert written == {
        "index.html": render_page(source),
        "model_card.md": render_model_card(source),
        "checklist.md": render_checklist(source),
    }
