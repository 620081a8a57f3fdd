"""Renders a report as one HTML file that loads nothing: English and Chinese, for screen, phone and paper."""

import base64
import re
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from mammo import __version__
from mammo.evaluation.metrics import Metric
from mammo.evaluation.operating_point import Decision
from mammo.evaluation.subgroups import FEW_POSITIVES
from mammo.judging.cross_validation import over_folds
from mammo.plots.style import DASH, rule_name
from mammo.report.charts import CHARTS, NO_LOG, draw_charts
from mammo.report.page.svg import to_svg
from mammo.report.page.words import read_words, translate
from mammo.report.reader_words import FEW_STEPS, limits_of, who_was_compared
from mammo.report.source import ReportSource, metrics_of
from mammo.settings.load import dump_settings
from mammo.settings.metrics import shown_in

FOLDER = Path(__file__).parent
TEMPLATE = "page.html"
SHOWN_APART = ("command", "machine", "python", "packages")


def render_page(source: ReportSource) -> str:
    """Render the page."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "metric": metric_cell,
        "difference": difference_cell,
        "rule": rule_name,
        "hundred": in_a_hundred,
    }
    environment.globals |= {"t": both, "say": say, "translate": translate, "DASH": DASH}
    environment.globals |= {"shown_in": shown_in, "metrics_of": metrics_of}
    return environment.get_template(TEMPLATE).render(_values(source))


def both(text: str) -> Markup:
    """Words of the page in both languages.

    Raises:
        KeyError: `words.csv` does not have them.
    """
    return _spans(text, read_words()[text])


def say(text: object) -> Markup:
    """Text of which the Chinese may be known; otherwise it is left as it is. Escaped in both cases."""
    chinese = translate(str(text))
    return escape(str(text)) if chinese is None or chinese == text else _spans(str(text), chinese)


def _spans(english: str, chinese: str) -> Markup:
    return Markup('<span class="en">{}</span><span class="zh" lang="zh-Hans">{}</span>').format(english, chinese)


def metric_cell(metric: Metric, digits: int = 3) -> Markup:
    """A metric in a table: its value, its interval below, or the reason why it has none."""
    if metric.value is None:
        return _with_reason(DASH, metric.undefined)
    number = _number(metric.value, digits)
    if metric.low is not None and metric.high is not None:
        low, high = _number(metric.low, digits), _number(metric.high, digits)
        return Markup("{}<small>({}–{})</small>").format(number, low, high)
    return _with_reason(number, metric.no_interval) if metric.no_interval else escape(number)


def difference_cell(metric: Metric) -> Markup:
    """A difference in a table: signed, and with a comma in its interval, whose ends may have a minus."""
    if metric.value is None or metric.low is None or metric.high is None:
        return metric_cell(metric)
    value, low, high = (f"{one:+.3f}".replace("-", "−") for one in (metric.value, metric.low, metric.high))
    return Markup("{}<small>({}, {})</small>").format(value, low, high)


def _with_reason(value: str, reason: str) -> Markup:
    return Markup('{}<small class="reason">{}</small>').format(value, say(reason))


def _number(value: float, digits: int) -> str:
    """A number with a minus sign: a hyphen is easily taken for the dash of an interval."""
    return f"{value:.{digits}f}".replace("-", "−")


def in_a_hundred(metric: Metric) -> str:
    """A share as a count of a hundred, such as `85 (73–95)`; the template asks only where it has a value."""
    share, low, high = metric.value or 0.0, metric.low, metric.high
    interval = f" ({100 * low:.0f}–{100 * high:.0f})" if low is not None and high is not None else ""
    return f"{100 * share:.0f}{interval}"


def _values(source: ReportSource) -> dict[str, object]:
    judgement, reader = source.judgement, source.judgement.reader
    decisions = None if isinstance(judgement.decisions, Decision) else judgement.decisions
    hashes = _hashes(source)
    return {
        "source": source,
        "few": FEW_POSITIVES,
        "chosen": {point.rule: point for point in judgement.decision.points} if decisions is None else {},
        "malignant_percent": 100 * judgement.own.n_positive / judgement.own.n,
        "fold_spread": _fold_spread(source),
        "decisions": decisions,
        "best_row": _best_row(source),
        "hashes": hashes,
        "facts": {name: value for name, value in source.environment.items() if name not in {*SHOWN_APART, *hashes}},
        "version": __version__,
        "charts": CHARTS,
        "drawn": _drawn(source),
        "limits": limits_of(phantom=source.phantom, outside=source.settings is None),
        "compared": who_was_compared(reader.levels[judgement.task]) if reader else None,
        "few_steps": FEW_STEPS,
        "no_log": NO_LOG,
        "settings": dump_settings(source.settings) if source.settings else "",
        "jpeg": lambda picture: base64.b64encode(picture.jpeg).decode("ascii"),
    }


def _drawn(source: ReportSource) -> dict[str, Markup | str]:
    """The charts by name: a drawing, in which every text is escaped already, or the reason why there is none."""
    charts = draw_charts(source).items()
    return {name: drawn if isinstance(drawn, str) else Markup(to_svg(drawn, name)) for name, drawn in charts}


def _fold_spread(source: ReportSource) -> list[dict[str, str]]:
    """Mean and sample standard deviation over the folds, by metric, and of how many folds where not of all."""
    over = over_folds(source.folds, source.judgement.task) if source.folds else {}
    spread = []
    for name in shown_in("page_groups"):
        found = over.get(name.key)
        folds = found.folds if found else 0
        deviation = f"± {found.deviation:.3f}" if found and folds > 1 else ""
        fewer = f" ({folds}/{len(source.folds)})" if folds < len(source.folds) else ""
        spread.append({"mean": f"{found.mean:.3f}" if found else DASH, "deviation": deviation + fewer})
    return spread


def _best_row(source: ReportSource) -> dict[str, float]:
    """AUC of training and validation, and their gap, in the epoch that was kept; empty where the log lacks them."""
    best = source.best_epoch
    if best is None or source.log is None or not {"train/auc", "validation/auc"} <= set(source.log):
        return {}
    train, validation = source.log.loc[source.log["epoch"] == best, ["train/auc", "validation/auc"]].to_numpy(float)[0]
    found = {"train": train, "validation": validation, "gap": train - validation}
    return found if np.isfinite(found["gap"]) else {}


def _hashes(source: ReportSource) -> dict[str, str]:
    """Every hash that a reader could check: of the split, and of data where the run kept one."""
    environment = source.environment
    found = {name: str(value) for name, value in environment.items() if re.search(r"sha256|hash", name) and value}
    decisions = source.judgement.decisions
    if isinstance(decisions, Decision):
        return found | ({"split_sha256": decisions.split_sha256} if decisions.split_sha256 else {})
    return found | {f"split_sha256, fold {fold}": one.split_sha256 for fold, one in decisions.items()}
