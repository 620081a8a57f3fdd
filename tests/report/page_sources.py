"""Sources of reports for tests: of a run, of folds, of a table from outside; and a reader of the pages made of them."""

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd

from mammo.evaluation.judge import judge
from mammo.evaluation.operating_point import half_decision, make_decision
from mammo.report.source import CasePicture, ReportSource
from mammo.settings.load import check_settings
from mammo.settings.schema import EvaluationSettings

QUICK = EvaluationSettings(resamples=100)
RULES = EvaluationSettings(operating_point="recall>=0.90", also_report=("specificity>=0.90", "youden"))
LOG = pd.DataFrame(
    {
        "epoch": [1, 2, 3, 4],
        "train/auc": [0.60, 0.70, 0.80, 0.90],
        "validation/auc": [0.62, 0.71, 0.74, 0.70],
        "train/loss": [0.7, 0.6, 0.5, 0.4],
        "validation/loss": [0.7, 0.65, 0.66, 0.64],
        "train/recall": [0.5, 0.6, 0.7, 0.8],
        "validation/recall": [0.5, 0.6, 0.6, 0.6],
    }
)


def drawn_scores(seed: int, n: int = 120) -> pd.DataFrame:
    """Two lesions a patient, every second patient malignant; malignant logits lie 1.5 higher."""
    generator = np.random.default_rng(seed)
    patient = np.arange(n) // 2
    label = patient % 2
    logit = generator.normal(size=n) + 1.5 * label - 0.75
    names = [f"P{number:03d}" for number in patient]
    return pd.DataFrame(
        {
            "case_id": [f"L{number:03d}" for number in range(n)],
            "patient_id": names,
            "breast_id": [f"{name}_LEFT" for name in names],
            "image_id": [f"{name}_{view}" for name, view in zip(names, ["CC", "MLO"] * (n // 2), strict=True)],
            "label": label,
            "logit": logit,
            "score": 1 / (1 + np.exp(-logit)),
            "view": ["CC", "MLO"] * (n // 2),
            "density": np.where(np.arange(n) < 16, 1.0, 2.0),
        }
    )


def full_source(**changes: object) -> ReportSource:
    scores = drawn_scores(1)
    decision, _ = make_decision(drawn_scores(2), RULES, task="lesion", split_sha256="ab" * 32)
    scores = scores.assign(score=decision.calibrator.apply(scores["logit"].to_numpy()))
    source = ReportSource(
        title="a run",
        judgement=judge(scores, decision, how=QUICK),
        scores=scores,
        log=LOG,
        environment={
            "command": ["tools/train.py", "-o", "name=two words"],
            "machine": "device cpu",
            "packages": {"numpy": "2.0"},
        },
        settings=check_settings({"seed": 7}, "test"),
        excluded=pd.DataFrame(
            [["L900", "P900", "lesion has no label of its own"]], columns=["case", "patient_id", "reason"]
        ),
        parts=pd.DataFrame([["train", 30], ["test", 60]], columns=["part", "patients"]),
        pictures=(CasePicture("L001", "P001", "false negative", 0.05, 0.3, "view: CC; density: 2", b"\xff\xd8jpeg"),),
    )
    return replace(source, **changes)  # type: ignore[arg-type]


def folds_source() -> ReportSource:
    decisions, tables, single = {}, [], []
    for fold in range(3):
        decisions[fold], _ = make_decision(drawn_scores(10 + fold), RULES, task="lesion", part="inner-validation")
        table = drawn_scores(20 + fold).assign(fold=fold)
        for column in ("case_id", "patient_id", "breast_id", "image_id"):
            table[column] = f"F{fold}" + table[column]
        tables.append(table.assign(score=decisions[fold].calibrator.apply(table["logit"].to_numpy())))
        single.append(judge(tables[-1], decisions[fold], how=QUICK))
    pooled = pd.concat(tables, ignore_index=True)
    return ReportSource("folds", judge(pooled, decisions, how=QUICK), pooled, folds=tuple(single))


def assessed_scores(seed: int = 1, n: int = 240) -> pd.DataFrame:
    """Scores with BI-RADS 2 to 5, higher where malignant; one case has 0, one 6 and two none."""
    frame = drawn_scores(seed, n)
    drawn = np.round(3 + frame["label"] + np.random.default_rng(seed).normal(size=n)).clip(2, 5)
    drawn[:4] = [0, 6, np.nan, np.nan]
    return frame.assign(assessment=drawn, subtlety=np.where(np.arange(n) < n // 2, 2, 5))


def reader_source(scores: pd.DataFrame | None = None) -> ReportSource:
    """A run whose cases have assessments."""
    scores = assessed_scores() if scores is None else scores
    source = full_source(scores=scores, parts=None)
    return replace(source, judgement=judge(scores, source.judgement.decision, how=QUICK))


def outside_source(scores: pd.DataFrame) -> ReportSource:
    """Only the required columns, no run."""
    scores = scores[["case_id", "patient_id", "breast_id", "image_id", "label", "score"]]
    decision = half_decision("lesion")
    return ReportSource(
        "outside.csv",
        judge(scores, decision, how=QUICK),
        scores,
        no_pictures="the scores came from outside, without films",
    )


class Reader(HTMLParser):
    """Collects a page's tags with their attributes, its ids, and its text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._raw = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._raw = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._raw = False

    def handle_data(self, data: str) -> None:
        if not self._raw:
            self.text += data
