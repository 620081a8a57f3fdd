"""A report's source in, one HTML file out that fetches nothing: English and Chinese, for screen, phone and paper."""

import base64
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from mammo import __version__
from mammo.evaluation.judge import LevelResult, PointResult
from mammo.evaluation.metrics import Metric
from mammo.evaluation.operating_point import Decision, Point
from mammo.evaluation.subgroups import FEW_POSITIVES
from mammo.files import write_text
from mammo.judging.cross_validation import over_folds
from mammo.report.charts.figures import CHARTS, why_missing
from mammo.report.charts.learning import best_epoch
from mammo.report.charts.style import DASH, rule_name
from mammo.report.charts.svg import to_svg
from mammo.report.page.words import WORDS, translate
from mammo.report.source import ReportSource

FOLDER = Path(__file__).parent
TEMPLATE = "page.html"
MOST_LISTED, MOST_REASONS = 200, 30
SHOWN_APART = ("command", "machine", "python", "packages")


@dataclass(frozen=True)
class Nouns:
    """What cases are called in the headline."""

    malignant: str
    benign: str
    malignant_zh: str
    benign_zh: str
    cases_zh: str


# What a case of each task is called; Chinese nouns come with their measure words.
NOUNS = {
    "lesion": Nouns("malignant lesions", "benign lesions", "个恶性病灶", "个良性病灶", "个病灶"),
    "image": Nouns(
        "films with a malignant lesion", "films without one", "张含恶性病灶的影像", "张不含恶性病灶的影像", "张影像"
    ),
    "breast": Nouns(
        "breasts with a malignant lesion", "breasts without one", "侧含恶性病灶的乳房", "侧不含恶性病灶的乳房", "侧乳房"
    ),
    "patient": Nouns(
        "patients with a malignant lesion",
        "patients without one",
        "名有恶性病灶的患者",
        "名没有恶性病灶的患者",
        "名患者",
    ),
}


def write_page(source: ReportSource, path: Path) -> None:
    """Write the page beside and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, render_page(source))


def render_page(source: ReportSource) -> str:
    """Render the page."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"metric": metric_cell, "rule": rule_name, "hundred": in_a_hundred}
    environment.globals |= {"t": both, "say": say, "DASH": DASH}
    return environment.get_template(TEMPLATE).render(_values(source))


def both(text: str) -> Markup:
    """Words of the page in both languages.

    Raises:
        KeyError: `words.py` does not have them.
    """
    return _spans(text, WORDS[text])


def say(text: object) -> Markup:
    """Text of which the Chinese may be known; otherwise it stands as it is. Escaped either way."""
    chinese = translate(str(text))
    return escape(str(text)) if chinese is None or chinese == text else _spans(str(text), chinese)


def _spans(english: str, chinese: str) -> Markup:
    return Markup('<span class="en">{}</span><span class="zh" lang="zh-Hans">{}</span>').format(english, chinese)


def metric_cell(metric: Metric | None, digits: int = 3) -> Markup:
    """A metric in a table: its value, its interval below, or the reason why it has none."""
    if metric is None:
        return Markup(DASH)
    if metric.value is None:
        return Markup('{}<small class="reason">{}</small>').format(DASH, say(metric.undefined))
    number = _number(metric.value, digits)
    if metric.low is not None and metric.high is not None:
        return Markup("{}<small>({}–{})</small>").format(
            number, _number(metric.low, digits), _number(metric.high, digits)
        )
    return (
        Markup('{}<small class="reason">{}</small>').format(number, say(metric.no_interval))
        if metric.no_interval
        else escape(number)
    )


def _number(value: float, digits: int) -> str:
    """With a minus sign, which beside the dash of an interval no hyphen is."""
    return f"{value:.{digits}f}".replace("-", "−")


def in_a_hundred(metric: Metric) -> str:
    """A share as a count of a hundred, such as `85 (73–95)`."""
    if metric.value is None:
        return DASH
    interval = (
        f" ({100 * metric.low:.0f}–{100 * metric.high:.0f})"
        if metric.low is not None and metric.high is not None
        else ""
    )
    return f"{100 * metric.value:.0f}{interval}"


def _values(source: ReportSource) -> dict[str, object]:
    judgement = source.judgement
    decisions = None if isinstance(judgement.decisions, Decision) else judgement.decisions
    return {
        "source": source,
        "judgement": judgement,
        "own": judgement.own,
        "task": judgement.task,
        "decision": judgement.decision,
        "how": judgement.how,
        "few": FEW_POSITIVES,
        "chosen": _chosen(judgement.decision) if decisions is None else {},
        "malignant_percent": 100 * judgement.own.n_positive / judgement.own.n,
        "nouns": NOUNS[judgement.task],
        "fold_rows": _fold_rows(source),
        "fold_spread": _fold_spread(source),
        "decisions": decisions,
        "best_epoch": best_epoch(source),
        "best_row": _best_row(source),
        "mistakes": {
            kind: [one for one in source.pictures if one.mistake == kind]
            for kind in ("false negative", "false positive")
        },
        "exclusions": _exclusions(source),
        "reasons": list(source.excluded["reason"].value_counts().items()) if len(source.excluded) else [],
        "warnings": list(source.warned["reason"].value_counts().items()) if len(source.warned) else [],
        "most_listed": MOST_LISTED,
        "most_reasons": MOST_REASONS,
        "hashes": _hashes(source),
        "made": _made(source),
        "version": __version__,
        "chart": _charts(source),
        "why_missing": lambda name: why_missing(name, source),
        "jpeg": lambda picture: base64.b64encode(picture.jpeg).decode("ascii"),
    }


def _charts(source: ReportSource) -> dict[str, Markup]:
    """The drawings that there are; they are our own, with every text in them escaped."""
    figures = {name: draw(source) for name, draw in CHARTS.items()}
    return {name: Markup(to_svg(figure, name)) for name, figure in figures.items() if figure is not None}


def _chosen(decision: Decision) -> Mapping[str, Point]:
    """What each rule reached where it was chosen."""
    return {point.rule: point for point in decision.points}


FOLD_METRICS = {"AUC": "auc", "recall": "recall", "specificity": "specificity", "PPV": "precision", "Brier": "brier"}


def _fold_rows(source: ReportSource) -> list[tuple[LevelResult, PointResult, list[Metric]]]:
    levels = [fold.own for fold in source.folds]
    return [
        (level, level.main, [(level.ranking | level.main.metrics)[key] for key in FOLD_METRICS.values()])
        for level in levels
    ]


def _fold_spread(source: ReportSource) -> dict[str, dict[str, str]]:
    """Mean and sample standard deviation over the folds, by metric, and of how many folds where not of all."""
    if not source.folds:
        return {}
    over, spread = over_folds(source.folds, source.judgement.task), {}
    for name, key in FOLD_METRICS.items():
        found = over.get(key)
        deviation = f"± {found.deviation:.3f}" if found and found.folds > 1 else ""
        fewer = (
            f" ({found.folds if found else 0}/{len(source.folds)})"
            if not found or found.folds < len(source.folds)
            else ""
        )
        spread[name] = {"mean": f"{found.mean:.3f}" if found else DASH, "deviation": deviation + fewer}
    return spread


def _best_row(source: ReportSource) -> dict[str, float]:
    """The log's row of the epoch that was kept, as far as it has AUC."""
    best = best_epoch(source)
    if best is None or source.log is None or not {"train/auc", "validation/auc"} <= set(source.log):
        return {}
    row = source.log.loc[source.log["epoch"] == best, ["train/auc", "validation/auc"]].to_numpy(float)[0]
    return {"train": row[0], "validation": row[1], "gap": row[0] - row[1]} if np.isfinite(row).all() else {}


def _exclusions(source: ReportSource) -> list[tuple[str, str, str]]:
    """Case, patient and reason of the first ones."""
    rows = source.excluded[["case", "patient_id", "reason"]].head(MOST_LISTED)
    return [(str(case), str(patient), str(reason)) for case, patient, reason in rows.itertuples(index=False)]


def _hashes(source: ReportSource) -> list[tuple[str, str]]:
    """Every hash that a reader could check: of the split, and of data where the run kept one."""
    found = {
        name: str(value) for name, value in source.environment.items() if re.search(r"sha256|hash", name) and value
    }
    decisions = source.judgement.decisions
    if isinstance(decisions, Decision):
        found |= {"split_sha256": decisions.split_sha256} if decisions.split_sha256 else {}
    else:
        found |= {f"split_sha256, fold {fold}": one.split_sha256 for fold, one in decisions.items()}
    return list(found.items())


def _made(source: ReportSource) -> dict[str, object]:
    """How the run was started and with what; empty where it is not known."""
    environment = source.environment
    command = environment.get("command")
    packages = environment.get("packages")
    hidden = {*SHOWN_APART, *(name for name, _ in _hashes(source))}
    return {
        "command": "python " + shlex.join(str(word) for word in command)
        if isinstance(command, list) and command
        else "",
        "machine": environment.get("machine", ""),
        "python": environment.get("python", ""),
        "packages": ", ".join(f"{name} {number}" for name, number in packages.items())
        if isinstance(packages, dict)
        else "",
        "others": [(name, value) for name, value in environment.items() if name not in hidden],
    }
