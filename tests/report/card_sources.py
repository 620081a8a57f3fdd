"""Reports of all kinds for the tests of card and lists, and what parses their Markdown back."""

import dataclasses
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from markdown_it import MarkdownIt

from mammo.evaluation.judge import judge
from mammo.evaluation.operating_point import half_decision, make_decision
from mammo.evaluation.scores import check_scores
from mammo.report.source import ReportSource, read_run_files
from mammo.settings.load import check_settings, dump_settings
from mammo.settings.schema import EvaluationSettings

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
    "1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 15 16 17 "
    "18a 18b 18c 18d 18e 18f 19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c"
)
HOW = EvaluationSettings(resamples=100)
RULES = ["recall>=0.90", "youden"]
CHOSEN = EvaluationSettings(operating_point=RULES[0], also_report=RULES[1:])
LOG = [(1, 0.60, 0.70), (2, 0.70, 0.80), (3, 0.90, 0.805), (4, 0.95, 0.75)]  # epoch, training AUC, validation AUC


def scores(patients: int = 60, *, seed: int = 0, **columns: object) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), 2)
    label = patient % 2
    logit = label * 1.5 + generator.normal(0, 1, len(label))
    ids = [f"P{number:03d}" for number in patient]
    frame = pd.DataFrame(
        {"case_id": [f"C{number}" for number in range(len(label))], "patient_id": ids, "label": label, "logit": logit}
    )
    frame["breast_id"], frame["image_id"] = frame["patient_id"] + "_LEFT", frame["case_id"] + ".png"
    frame["score"], frame["view"] = 1 / (1 + np.exp(-logit)), np.where(np.arange(len(label)) % 2, "MLO", "CC")
    return check_scores(frame.assign(**columns), "scores")


def run_source(
    folder: Path, settings: dict | None = None, *, table: pd.DataFrame | None = None, **changes: object
) -> ReportSource:
    """A run folder's files written and read again, and a judgement with the decision of other patients."""
    data = {"kind": "manifest", "manifest": "films|of us.csv"} | (settings or {})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(
        dump_settings(check_settings({"data": data, "model": {"pretrained": "none"}}, "test")), encoding="utf-8"
    )
    environment = {
        "command": ["tools/train.py", "-c", "a\n```\nb.yaml"],
        "split_sha256": "abc123",
        "machine": "cpu",
        "python": "3.11.7",
    }
    (folder / "environment.json").write_text(
        json.dumps(environment | {"packages": {"numpy": "1.24.4"}}), encoding="utf-8"
    )
    lines = [
        {
            "epoch": epoch,
            "train/auc": train,
            "validation/auc": validation,
            "gap/auc": train - validation,
            "time": "2022-01-01",
        }
        for epoch, train, validation in LOG
    ]
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    decision, _ = make_decision(scores(40, seed=1), CHOSEN, task="lesion", split_sha256="abc123")
    table = scores() if table is None else table
    table = table.assign(score=decision.calibrator.apply(table["logit"].to_numpy()))
    parts = pd.DataFrame(
        {"part": ["train", "validation", "test"], "patients": [200, 40, 60], "cases": [400, 80, len(table)]}
    )
    source = ReportSource(
        judgement=judge(table, decision, how=HOW), scores=table, parts=parts, **read_run_files(folder)
    )
    return dataclasses.replace(source, **changes)


def outside_source(**columns: object) -> ReportSource:
    table = scores(**columns).drop(columns="logit")
    decision = half_decision("lesion")
    return ReportSource(
        title="theirs.csv", judgement=judge(table, decision, how=HOW), scores=table, no_pictures="no films"
    )


def folds_source(folder: Path) -> ReportSource:
    table = scores().assign(fold=np.repeat([0, 1], 60))
    decisions = {fold: make_decision(scores(40, seed=fold + 1), CHOSEN, task="lesion")[0] for fold in (0, 1)}
    single = tuple(judge(table[table["fold"] == fold], decisions[fold], how=HOW) for fold in (0, 1))
    pooled = judge(table, decisions, how=HOW)
    return run_source(
        folder, {"folds": 2}, judgement=pooled, folds=single, log=None, environment={}, parts=None, scores=table
    )


SOURCES = {
    "own": run_source,
    "cbis": lambda folder: run_source(folder, {"kind": "cbis_ddsm", "root": "d"}),
    "vindr": lambda folder: run_source(folder, {"kind": "vindr"}),
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
