"""Audits, judgements and dry runs in, tables for a terminal of 80 columns out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from mammo.cases.audit import Audit
from mammo.cases.table import exclusion_lines
from mammo.evaluation.judge import Judgement, PointResult
from mammo.evaluation.metrics import Metric
from mammo.evaluation.operating_point import Decision
from mammo.progress import print_table
from mammo.report.summary import Summary

if TYPE_CHECKING:  # its module loads paddle, which tables do not need
    from mammo.inference.evaluate import Evaluation

NAMES_SHOWN = 8
PHANTOM = " (PHANTOM: generated films, says nothing about patients)"


def show_judgement(judgement: Judgement, about: str, *, phantom: bool = False) -> None:
    """Print a judgement: every level at the main operating point, the other points at the task's level, calibration."""
    decision, task = judgement.decision, judgement.task
    rows = [(name, f"{level.n} ({level.n_positive})", *_with_bounds(level.ranking, level.main)) for name, level in judgement.levels.items()]
    header = ("level", "n (+)", "AUC (95 %)", "recall (95 %)", "specificity (95 %)")
    print_table(f"{about}{PHANTOM if phantom else ''}", header, rows)
    rows = [(point.rule, _threshold(point), *_at(point)) for point in judgement.own.points]
    print_table(f"operating points, {task}", ("rule", "thresh.", "recall (95 %)", "specificity (95 %)", "PPV", "acc."), rows)
    for line in _calibration_lines(judgement):
        print(line)
    if not isinstance(judgement.decisions, Decision):
        print(f"main operating point: {decision.rule}, the threshold of each fold chosen on its own validation part")
    elif decision.cases:
        chosen = f"chosen on {decision.cases} {decision.part} cases ({decision.positives} malignant), each level on its own"
        print(f"main operating point: {decision.rule}, {chosen}")
    for name, level in judgement.levels.items():
        for metric, value in (level.ranking | level.main.metrics).items():
            if value.undefined:
                print(f"{name}: {metric} is undefined: {value.undefined}")
    patients, how = judgement.own.n_patients, judgement.how
    print(f"intervals: bootstrap over {patients} patients, {how.resamples} resamples, seed {how.seed}")


def _with_bounds(ranking: dict[str, Metric], point: PointResult) -> tuple[str, ...]:
    return (_short(ranking["auc"]), _short(point.metrics["recall"]), _short(point.metrics["specificity"]))


def _at(point: PointResult) -> tuple[str, ...]:
    metrics = point.metrics
    return (_short(metrics["recall"]), _short(metrics["specificity"]), str(metrics["precision"]), str(metrics["accuracy"]))


def _short(metric: Metric) -> str:
    """Three digits of the value, two of its interval: three columns of these go beside each other in 80."""
    return str(metric) + (f" ({metric.low:.2f}–{metric.high:.2f})" if metric.low is not None else "")


def _threshold(point: PointResult) -> str:
    return "by fold" if point.threshold is None else f"{point.threshold:.3f}"


def _calibration_lines(judgement: Judgement) -> list[str]:
    names = {"brier": "Brier", "ece": "ECE", "calibration_slope": "slope", "calibration_intercept": "intercept"}
    sides = [("as given", judgement.after)]
    if judgement.before:
        sides = [("raw", judgement.before), (_method(judgement), judgement.after)]
    return [f"calibration, {side}: " + ", ".join(f"{names[name]} {metric}" for name, metric in it.metrics.items()) for side, it in sides]


def _method(judgement: Judgement) -> str:
    calibrator = judgement.decision.calibrator
    if not isinstance(judgement.decisions, Decision):
        return f"{calibrator.method} of each fold"
    return f"temperature {calibrator.temperature:.3f}" if calibrator.method == "temperature" else calibrator.method


def show_evaluation(evaluation: Evaluation) -> None:
    """Print a judgement of a run, what was left out, and whether the run knew the patients."""
    show_judgement(evaluation.judgement, evaluation.about, phantom=evaluation.phantom)
    show_exclusions(evaluation.excluded)
    if evaluation.known_patients:
        show_list("NO TEST: patients that this run trained or chose on are among them", list(evaluation.known_patients))


def show_summary(summary: Summary) -> None:
    """Print mean and spread of several runs."""
    print_table(f"{summary.runs} runs: mean ± standard deviation", ("", "mean", "each"), summary.rows)


def show_audit(audit: Audit, about: str) -> None:
    """Print who is in which part, and what contradicts itself."""
    print_table(about, list(audit.parts.columns), audit.parts.to_numpy().tolist())
    show_list("cases that stand there twice", audit.duplicates)
    show_list("films (or breasts) with both benign and malignant lesions", audit.conflicts)
    show_list("patients in more than one part", audit.leaks)


def show_exclusions(excluded: pd.DataFrame) -> None:
    """Print how many cases were left out, and why."""
    print("\n".join(exclusion_lines(excluded)))


def show_dry_run(parts: pd.DataFrame, excluded: pd.DataFrame, lines: tuple[str, ...]) -> None:
    """Print what a run would be."""
    print_table("dry run: nothing is written", list(parts.columns), parts.to_numpy().tolist())
    show_exclusions(excluded)
    for line in lines:
        print(line)


def show_list(what: str, names: list[str]) -> None:
    """Print how many there are, and the first names."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    print(f"{what}: {len(names)}" + (f" ({', '.join(names[:NAMES_SHOWN])}{more})" if names else ""))
