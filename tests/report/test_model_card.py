"""The model card: what it says is the run's."""

import dataclasses
import re
from pathlib import Path

import pandas as pd
import pytest

from mammo.errors import SettingsError
from mammo.report.cards.checklist import render_checklist
from mammo.report.cards.model_card import render_model_card
from mammo.report.source import read_run_files
from mammo.settings.load import check_settings
from tests.report.card_sources import (
    HEADINGS,
    RULES,
    SOURCES,
    folds_source,
    headings,
    outside_source,
    parse,
    run_source,
    scores,
    table_after,
    tables,
)


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
    assert screening["recalled"] == judgement.levels["patient"].main.metrics["recalled_per_1000"].with_bounds(1)
    groups = table_after(text, "Subgroups, by")
    assert [(row["group"], row["value"], row["n"], row["malignant"]) for row in groups] == [
        ("view", "CC", "60", "30"),
        ("view", "MLO", "60", "30"),
    ]
    assert [row["AUC"] for row in groups] == [group.metrics["auc"].with_bounds() for group in judgement.subgroups]


def test_few_malignant_and_undefined_are_said(tmp_path: Path) -> None:
    table = scores(view=["CC"] * 116 + ["MLO", "CC", "MLO", "MLO"])
    rows = {
        row["value"]: row for row in table_after(render_model_card(run_source(tmp_path, table=table)), "Subgroups, by")
    }
    assert (rows["MLO"]["n"], rows["MLO"]["note"], rows["CC"]["note"]) == ("3", "few malignant", "")
    one_class = table[table["label"] == 1]
    text = render_model_card(run_source(tmp_path, table=one_class))
    assert table_after(text, "Levels, at")[0]["AUC"] == "undefined: one class only"


def test_kept_epoch_is_that_of_early_stopping(tmp_path: Path) -> None:
    text = " ".join(render_model_card(run_source(tmp_path)).split())
    assert (
        "It was epoch 3 of 4: validation/auc 0.805, used for selection; training AUC less validation AUC 0.095." in text
    )
    settings = check_settings({"training": {"early_stopping": {"min_delta": 0.01}}}, "test")
    source = dataclasses.replace(run_source(tmp_path), settings=settings)
    assert "It was epoch 2 of 4: validation/auc 0.800" in " ".join(render_model_card(source).split())


def test_versions_command_and_split_of_the_run_are_stated(tmp_path: Path) -> None:
    text = render_model_card(run_source(tmp_path))
    assert "Python 3.11.7, numpy 1.24.4" in text
    assert "SHA-256 abc123" in text
    (command,) = [token.content for token in parse(text) if token.type == "fence"]
    assert command == "python tools/train.py -c 'a\n```\nb.yaml'\n"


@pytest.mark.parametrize("render", [render_model_card, render_checklist])
def test_phantom_and_known_patients_are_said_first(render: object, tmp_path: Path) -> None:
    for kind, words in (
        ("phantom", "PHANTOM"),
        ("other", "Not an independent test:"),
        ("outside", "Scores from outside"),
    ):
        text = render(SOURCES[kind](tmp_path))  # type: ignore[operator]
        assert text.split("\n\n")[1].startswith(f"> **{words}")
    plain = render(SOURCES["own"](tmp_path))  # type: ignore[operator]
    assert "PHANTOM" not in plain
    assert "Not an independent test" not in plain


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
        assert shown in "".join(
            child.content for child in next(token for token in parse(text) if token.type == "inline").children
        )
    card = render_model_card(source)
    assert table_after(card, "Left out, 1")[0] == {"reason": shown, "cases": "1"}
    assert [row["value"] for row in table_after(card, "Subgroups, by") if row["group"] == "source"] == [shown, "plain"]
    assert shown in table_after(card, "The judged data")[0]


def test_damaged_config_is_one_line(tmp_path: Path) -> None:
    run_source(tmp_path)
    for config, words in (
        ("a: [", r"config\.yaml: is not YAML"),
        ("- a", "expected a mapping of settings, got list"),
        ("modle: {}", "unknown key modle; did you mean model"),
    ):
        (tmp_path / "config.yaml").write_text(config, encoding="utf-8")
        with pytest.raises(SettingsError, match=words) as caught:
            read_run_files(tmp_path)
        assert "\n" not in str(caught.value)


def test_an_unknown_data_set_is_said_to_be_unknown(tmp_path: Path) -> None:
    text = " ".join(render_model_card(SOURCES["vindr"](tmp_path)).split())
    assert "- **Data:** vindr: not known to this version of mammo. Lesion types asked for: mass" in text
    assert "- **Films:** not known." in text
    assert "**Source and reference standard:** **TO BE FILLED IN BY THE AUTHORS**" in text
    assert "**Source of the training films:** **TO BE FILLED IN BY THE AUTHORS**" in text
    assert "CBIS" not in text
