"""The model card and the reporting lists: what they say is the run's, and where they point is there."""

import dataclasses
import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from mammo.config import check_settings, dump_settings
from mammo.errors import SettingsError
from mammo.evaluation.decide import make_decision
from mammo.evaluation.judge import How, judge
from mammo.evaluation.operating_point import fixed_decision
from mammo.evaluation.scores import check_scores
from mammo.report.cards.checklist import NEEDS, places_of, render_checklist, what_was_judged, wrapped, write_checklist
from mammo.report.cards.checklist_items import CLAIM, TRIPOD
from mammo.report.cards.model_card import render_model_card, write_model_card
from mammo.report.page.page import render_page
from mammo.report.source import ReportSource, read_run_files

HEADINGS = [
    "Model Details", "Intended Use", "Factors", "Metrics", "Evaluation Data", "Training Data", "Quantitative Analyses",
    "Ethical Considerations", "Caveats and Recommendations",
]  # fmt: skip
PAGE_SECTIONS = {
    "Headline", "Cross-validation", "Ranking", "Operating points", "Calibration", "Subgroups", "Learning curves",
    "Hardest mistakes", "Data", "How it was made",
}  # fmt: skip
RUN_FILES = {
    "config.yaml", "split.csv", "excluded.csv", "environment.json", "log.jsonl", "decision.json", "scores_test.csv",
    "scores_out_of_fold.csv", "report/metrics.json", "checkpoints/best",
}  # fmt: skip
REPORT_FILES = {"report/", "index.html", "model_card.md"}
TRIPOD_NUMBERS = (
    "1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 15 16 17 18a 18b 18c 18d 18e 18f "
    "19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c"
)
HOW = How(resamples=100)
RULES = ["recall>=0.90", "youden"]
LOG = [(1, 0.60, 0.70), (2, 0.70, 0.80), (3, 0.90, 0.805), (4, 0.95, 0.75)]  # epoch, training AUC, validation AUC


def scores(patients: int = 60, *, seed: int = 0, **columns: object) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), 2)
    label = patient % 2
    logit = label * 1.5 + generator.normal(0, 1, len(label))
    ids = [f"P{number:03d}" for number in patient]
    frame = pd.DataFrame({"case_id": [f"C{number}" for number in range(len(label))], "patient_id": ids, "label": label, "logit": logit})
    frame["breast_id"], frame["image_id"] = frame["patient_id"] + "_LEFT", frame["case_id"] + ".png"
    frame["score"], frame["view"] = 1 / (1 + np.exp(-logit)), np.where(np.arange(len(label)) % 2, "MLO", "CC")
    return check_scores(frame.assign(**columns), "scores")


def run_source(folder: Path, settings: dict | None = None, *, table: pd.DataFrame | None = None, **changes: object) -> ReportSource:
    """A run folder's files written and read again, and a judgement with the decision of other patients."""
    data = {"kind": "manifest", "manifest": "films|of us.csv"} | (settings or {})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(
        dump_settings(check_settings({"data": data, "model": {"pretrained": "none"}}, "test")), encoding="utf-8"
    )
    environment = {"command": ["tools/train.py", "-c", "a\n```\nb.yaml"], "split_sha256": "abc123", "machine": "cpu", "python": "3.11.7"}
    (folder / "environment.json").write_text(json.dumps(environment | {"packages": {"numpy": "1.24.4"}}), encoding="utf-8")
    lines = [
        {"epoch": epoch, "train/auc": train, "validation/auc": validation, "gap/auc": train - validation, "time": "2022-01-01"}
        for epoch, train, validation in LOG
    ]
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    decision, _ = make_decision(scores(40, seed=1), rules=RULES, task="lesion", split_sha256="abc123")
    table = scores() if table is None else table
    table = table.assign(score=decision.calibrator.apply(table["logit"].to_numpy()))
    parts = pd.DataFrame({"part": ["train", "validation", "test"], "patients": [200, 40, 60], "cases": [400, 80, len(table)]})
    source = ReportSource(judgement=judge(table, decision, how=HOW), scores=table, parts=parts, **read_run_files(folder))
    return dataclasses.replace(source, **changes)


def outside_source(**columns: object) -> ReportSource:
    table = scores(**columns).drop(columns="logit")
    decision = fixed_decision(0.5, rule="0.5", task="lesion", levels=["lesion", "image", "breast", "patient"])
    return ReportSource(title="theirs.csv", judgement=judge(table, decision, how=HOW), scores=table, no_pictures="no films")


def folds_source(folder: Path) -> ReportSource:
    table = scores().assign(fold=np.repeat([0, 1], 60))
    decisions = {fold: make_decision(scores(40, seed=fold + 1), rules=RULES, task="lesion")[0] for fold in (0, 1)}
    single = tuple(judge(table[table["fold"] == fold], decisions[fold], how=HOW) for fold in (0, 1))
    pooled = judge(table, decisions, how=HOW)
    return run_source(folder, {"folds": 2}, judgement=pooled, folds=single, log=None, environment={}, parts=None, scores=table)


SOURCES = {
    "own": run_source,
    "cbis": lambda folder: run_source(folder, {"kind": "cbis_ddsm", "root": "d"}),
    "phantom": lambda folder: run_source(folder, {"kind": "phantom"}, phantom=True),
    "other": lambda folder: run_source(folder, known_patients=("P001",), parts=None),
    "ensemble": lambda folder: run_source(folder, parts=None, log=None),
    "folds": folds_source,
    "outside": lambda folder: outside_source(),
}


def parse(text: str) -> list:
    return MarkdownIt("commonmark").enable("table").parse(text)


def headings(text: str, tag: str = "h2") -> list[str]:
    tokens = parse(text)
    return [after.content for token, after in pairwise(tokens) if token.type == "heading_open" and token.tag == tag]


def tables(text: str) -> list[list[list[str]]]:
    """Every table's rows, cells as a reader sees them."""
    found: list[list[list[str]]] = []
    cell = False
    for token in parse(text):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in ("td_open", "th_open"):
            cell = True
        elif token.type == "inline" and cell:
            found[-1][-1].append("".join(child.content for child in token.children))
            cell = False
    return found


def table_after(text: str, words: str) -> list[dict[str, str]]:
    (found,) = tables(text[text.index(words) :].split("|\n\n")[0] + "|\n")
    return [dict(zip(found[0], row, strict=True)) for row in found[1:]]


@pytest.mark.parametrize("kind", SOURCES)
def test_card_has_the_nine_headings_in_their_order(kind: str, tmp_path: Path) -> None:
    assert headings(render_model_card(SOURCES[kind](tmp_path / "a" / "b"))) == HEADINGS


@pytest.mark.parametrize("kind", SOURCES)
def test_places_to_fill_in_are_counted_and_listed(kind: str, tmp_path: Path) -> None:
    text = render_model_card(SOURCES[kind](tmp_path))
    (title,) = headings(text, "h3")
    listed = re.findall(r"^- \*\*(.+?):\*\* (.+)$", text.split(title)[1], flags=re.M)
    marked = re.findall(r"- \*\*(.+?):\*\*\s+\*\*TO\s+BE\s+FILLED\s+IN\s+BY\s+THE\s+AUTHORS\*\*", text)
    assert title == f"To be filled in by the authors: {len(marked)} places"
    assert [topic for _, topic in listed] == marked
    assert {"Developers and contact", "Intended deployment", "Ethics approval and consent"} <= set(marked)


def test_levels_and_points_are_the_judgements(tmp_path: Path) -> None:
    source = run_source(tmp_path)
    text, own = render_model_card(source), source.judgement.own
    levels = {row["level"]: row for row in table_after(text, "Levels, at")}
    for name, level in source.judgement.levels.items():
        assert levels[name]["AUC"] == level.ranking["auc"].with_bounds()
        assert levels[name]["AUC, DeLong"] == level.delong.with_bounds()
        assert levels[name]["recall"] == level.main.metrics["recall"].with_bounds()
        assert (levels[name]["n"], levels[name]["threshold"]) == (str(level.n), f"{level.main.threshold:.3f}")
    points = table_after(text, "Operating points, level lesion")
    assert [row["rule"] for row in points] == [*RULES, "0.5"]
    for row, point in zip(points, own.points, strict=True):
        assert row["PPV"] == point.metrics["precision"].with_bounds()
        counts = (
            point.confusion.true_positive,
            point.confusion.false_positive,
            point.confusion.true_negative,
            point.confusion.false_negative,
        )
        assert tuple(int(row[name]) for name in ("TP", "FP", "TN", "FN")) == counts


def test_calibration_screening_and_groups_are_the_judgements(tmp_path: Path) -> None:
    source = run_source(tmp_path)
    text, judgement = render_model_card(source), source.judgement
    raw, judged = table_after(text, "Calibration, level")
    assert raw["slope"] == judgement.before.metrics["calibration_slope"].with_bounds()
    assert judged["Brier"] == judgement.after.metrics["brier"].with_bounds()
    screening = table_after(text, "What 1,000 people")[0]
    assert screening["called back"] == judgement.levels["patient"].main.metrics["recalled_per_1000"].with_bounds(1)
    groups = table_after(text, "Subgroups, by")
    assert [(row["group"], row["value"], row["n"], row["malignant"]) for row in groups] == [
        ("view", "CC", "60", "30"),
        ("view", "MLO", "60", "30"),
    ]
    assert [row["AUC"] for row in groups] == [group.metrics["auc"].with_bounds() for group in judgement.subgroups]


def test_few_malignant_and_undefined_are_said(tmp_path: Path) -> None:
    table = scores(view=["CC"] * 116 + ["MLO", "CC", "MLO", "MLO"])
    rows = {row["value"]: row for row in table_after(render_model_card(run_source(tmp_path, table=table)), "Subgroups, by")}
    assert (rows["MLO"]["n"], rows["MLO"]["remark"], rows["CC"]["remark"]) == ("3", "few malignant", "")
    one_class = table[table["label"] == 1]
    text = render_model_card(run_source(tmp_path, table=one_class))
    assert table_after(text, "Levels, at")[0]["AUC"] == "undefined: one class only"


def test_kept_epoch_is_that_of_early_stopping(tmp_path: Path) -> None:
    text = " ".join(render_model_card(run_source(tmp_path)).split())
    assert "It was epoch 3 of 4: validation/auc 0.805, used for selection; training AUC less validation AUC 0.095." in text
    source = run_source(tmp_path)
    config = source.config.replace("min_delta: 0.0", "min_delta: 0.01")
    assert "It was epoch 2 of 4: validation/auc 0.800" in " ".join(render_model_card(dataclasses.replace(source, config=config)).split())


def test_run_tells_its_versions_command_and_split(tmp_path: Path) -> None:
    text = render_model_card(run_source(tmp_path))
    assert "Python 3.11.7, numpy 1.24.4" in text
    assert "SHA-256 abc123" in text
    (command,) = [token.content for token in parse(text) if token.type == "fence"]
    assert command == "tools/train.py -c 'a\n```\nb.yaml'\n"


@pytest.mark.parametrize("render", [render_model_card, render_checklist])
def test_phantom_and_known_patients_are_said_first(render: object, tmp_path: Path) -> None:
    for kind, words in (("phantom", "PHANTOM"), ("other", "NO TEST"), ("outside", "Scores from outside")):
        text = render(SOURCES[kind](tmp_path))  # type: ignore[operator]
        assert text.split("\n\n")[1].startswith(f"> **{words}")
    plain = render(SOURCES["own"](tmp_path))  # type: ignore[operator]
    assert "PHANTOM" not in plain
    assert "NO TEST" not in plain


def test_phantom_has_no_question_about_its_source(tmp_path: Path) -> None:
    text = render_model_card(SOURCES["phantom"](tmp_path))
    assert "PHANTOM: these numbers say nothing about patients." in text
    assert "Source and reference standard" not in text


def test_scores_from_outside_are_said_to_be_unknown() -> None:
    text = " ".join(render_model_card(outside_source()).split())
    assert text.count("not known: the scores came from outside") == 3
    assert "the threshold 0.5, fixed beforehand: no data chose it." in text
    assert "none: the scores were judged as they came." in text
    assert "BI-RADS" not in text
    assert "box" not in text
    assert "ResNet" not in text
    where = {row[0]: row[3] for row in tables(render_checklist(outside_source()))[1][1:]}
    assert where["22"] == "not in this report: the scores came from outside; authors: the model in full detail"
    assert where["37"].startswith("index.html (Headline")


def test_licence_is_cc_by_only_for_cbis_ddsm(tmp_path: Path) -> None:
    with_licence = {kind for kind, make in SOURCES.items() if "CC BY 3.0" in render_model_card(make(tmp_path))}
    assert with_licence == {"cbis"}
    assert "the licence of those data applies" in " ".join(render_model_card(run_source(tmp_path)).split())


def test_callback_setting_is_said(tmp_path: Path) -> None:
    for value, words in (("benign", "count as benign"), ("exclude", "are left out")):
        text = " ".join(render_model_card(run_source(tmp_path, {"benign_without_callback": value})).split())
        assert f"BENIGN_WITHOUT_CALLBACK lesions {words}" in text


def test_folds_have_their_table_and_thresholds_by_fold(tmp_path: Path) -> None:
    source = folds_source(tmp_path)
    text = render_model_card(source)
    rows = table_after(text, "Folds, level lesion")
    assert [row["fold"] for row in rows] == ["0", "1"]
    assert [row["AUC"] for row in rows] == [fold.own.ranking["auc"].with_bounds() for fold in source.folds]
    assert table_after(text, "Levels, at")[0]["threshold"] == "by fold"
    assert "`fold_*/split.csv`" in render_checklist(source)


def test_test_part_is_known_by_its_size(tmp_path: Path) -> None:
    source = run_source(tmp_path)
    of_another = pd.DataFrame({"part": ["train", "test"], "cases": [90, 30]})
    all_of_it = pd.DataFrame({"part": ["test", "all"], "cases": [120, 120]})
    judged = [what_was_judged(dataclasses.replace(source, parts=parts)) for parts in (source.parts, of_another, all_of_it, None)]
    assert judged == ["own", "unsaid", "other", "unsaid"]


def test_text_from_outside_breaks_no_table(tmp_path: Path) -> None:
    bad = "a|b\n# x \\| `c` **d** <e> _f_ [g](h) &amp; ~~i~~"
    shown = " ".join(bad.split())
    excluded = pd.DataFrame({"case": ["C1"], "patient_id": ["P1"], "reason": [bad]})
    table = scores(source=[bad, "plain"] * 60)
    source = run_source(tmp_path, table=table, excluded=excluded, title=bad, known_patients=(bad,), no_pictures=bad)
    source = dataclasses.replace(source, parts=pd.DataFrame({"part": ["test"], bad: [bad], "cases": [1]}))
    for text in (render_model_card(source), render_checklist(source)):
        assert [len({len(row) for row in rows}) for rows in tables(text)] == [1] * len(tables(text))
        assert len(headings(text, "h1")) == 1
        assert [heading for heading in headings(text) if "x" in heading and heading not in HEADINGS] == []
        assert shown in "".join(child.content for child in next(token for token in parse(text) if token.type == "inline").children)
    card = render_model_card(source)
    assert table_after(card, "Left out, 1")[0] == {"reason": shown, "cases": "1"}
    assert [row["value"] for row in table_after(card, "Subgroups, by") if row["group"] == "source"] == [shown, "plain"]
    assert shown in table_after(card, "The judged data")[0]


def test_lists_are_numbered_as_published() -> None:
    assert [item.number for item in CLAIM] == [str(number) for number in range(1, 45)]
    assert [item.number for item in TRIPOD] == TRIPOD_NUMBERS.split()
    assert len(TRIPOD) == 52


def test_every_place_is_one_that_reports_and_runs_have(tmp_path: Path) -> None:
    card = headings(render_model_card(run_source(tmp_path)))
    there = {f"page:{name}" for name in PAGE_SECTIONS} | {f"card:{name}" for name in card} | {f"file:{name}" for name in RUN_FILES}
    named = {place for item in (*CLAIM, *TRIPOD) for place in item.where}
    assert named - {"file:scores"} <= there
    assert {item.needs for item in (*CLAIM, *TRIPOD)} <= {"", *NEEDS}
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


def test_wrapped_text_begins_no_list_or_heading() -> None:
    text = "word " * 20 + "- dash 1. one # head > quote + plus " * 8
    lines = wrapped(text, width=20).splitlines()
    assert [line for line in lines if re.match(r"\s*([-+#>]|\d+[.)])(\s|$)", line)] == []
    assert [token.type for token in parse("\n".join(lines))] == ["paragraph_open", "inline", "paragraph_close"]


def test_damaged_config_is_one_line(tmp_path: Path) -> None:
    source = run_source(tmp_path)
    for config, words in (("a: [", "config.yaml is no YAML"), ("- a", "must hold settings, got list"), ("modle: {}", "modle")):
        with pytest.raises(SettingsError, match=words):
            render_model_card(dataclasses.replace(source, config=config))


def test_both_are_written(tmp_path: Path) -> None:
    source = run_source(tmp_path)
    write_model_card(source, tmp_path / "model_card.md")
    write_checklist(source, tmp_path / "checklist.md")
    assert (tmp_path / "model_card.md").read_text(encoding="utf-8") == render_model_card(source)
    assert (tmp_path / "checklist.md").read_text(encoding="utf-8") == render_checklist(source)


def test_the_sections_that_are_named_are_those_of_the_page(tmp_path: Path) -> None:
    contents = re.search(r"<nav.*?</nav>", render_page(folds_source(tmp_path)), re.DOTALL)[0]
    assert set(re.findall(r'<span class="en">([^<]+)</span>', contents)) == PAGE_SECTIONS
