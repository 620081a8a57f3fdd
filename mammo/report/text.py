"""Prints audits, judgements and dry runs as tables for a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from mammo.cases.audit import Audit
from mammo.cases.table import exclusion_lines, warning_lines
from mammo.errors import few_of
from mammo.evaluation.compare import Comparison, Difference
from mammo.evaluation.human_reader import ReaderResult
from mammo.evaluation.judge import Judgement, LevelResult, PointResult
from mammo.evaluation.metrics import Metric
from mammo.evaluation.operating_point import Decision
from mammo.judging.cross_validation import over_folds
from mammo.progress import print_table
from mammo.report.reader_words import GENERATED, LIMITS, who_was_compared
from mammo.report.runs import HEADER, list_runs, summarise
from mammo.report.source import metrics_of
from mammo.runs import no_run_in
from mammo.settings.metrics import shown_in

if TYPE_CHECKING:  # its module imports what reads films, which tables do not need
    from mammo.judging.judged import Judged

NAMES_SHOWN = 8
PHANTOM = " (PHANTOM: generated films, says nothing about patients)"


def show_judgement(judgement: Judgement, about: str, *, phantom: bool = False) -> None:
    """Print a judgement: every level at the main operating point, the other points at the task's level, calibration."""
    levels, points = shown_in("levels"), shown_in("points")
    rows: list[tuple[str, ...]] = []
    for name, level in judgement.levels.items():
        rows.append((name, f"{level.n} ({level.n_positive})", *(short(metrics_of(level)[one.key]) for one in levels)))
    header = ("level", "n (+)", *(one.english for one in levels))
    print_table(f"{about}{PHANTOM if phantom else ''}, with 95 % intervals", header, rows)
    rows = [(point.rule, _threshold(point), *_at(point)) for point in judgement.own.points]
    header = ("rule", "thresh.", *(one.short or one.english for one in points))
    print_table(f"operating points, {judgement.task}", header, rows)
    patients, how = judgement.own.n_patients, judgement.how
    intervals = f"intervals: bootstrap over {patients} patients, {how.resamples} resamples, seed {how.resamples_seed}"
    for line in (*_calibration_lines(judgement), *_decision_lines(judgement), *_undefined(judgement), intervals):
        print(line)
    if judgement.reader:
        show_reader(judgement, judgement.reader, phantom=phantom)


def _at(point: PointResult) -> list[str]:
    """The metrics at an operating point; accuracy without its interval, for which 80 columns have no room."""
    metrics = [(one.key, point.metrics[one.key]) for one in shown_in("points")]
    return [str(metric) if key == "accuracy" else short(metric) for key, metric in metrics]


def _decision_lines(judgement: Judgement) -> list[str]:
    """How the main operating point was chosen."""
    decision = judgement.decision
    main = f"main operating point: {decision.rule}"
    if not isinstance(judgement.decisions, Decision):
        return [f"{main}, the threshold of each fold chosen on its own validation part"]
    if not decision.cases:
        return []
    chosen_on = f"{decision.cases} {decision.part} cases ({decision.positives} malignant)"
    lines = [f"{main}, chosen on {chosen_on}, each level on its own"]
    if decision.part == "out-of-fold":
        lines.append("scores of single networks: a mean varies less, so calibration and thresholds apply only roughly")
    if decision.points[0].borrowed:
        borrowed = ", ".join(decision.points[0].borrowed)
        lines.append(f"{borrowed}: {decision.part} has one class only there, so {decision.task}'s threshold is used")
    return lines


def _undefined(judgement: Judgement) -> list[str]:
    """Which metrics have no value, a line per reason."""
    where: dict[str, dict[str, None]] = {}
    for name, level in judgement.levels.items():
        for metric, value in (level.ranking | level.main.metrics).items():
            if value.undefined:
                where.setdefault(f"{name}: {value.undefined}", {})[metric] = None
    return [f"undefined, {reason}: {', '.join(metrics)}" for reason, metrics in where.items()]


def short(metric: Metric) -> str:
    """Three digits of the value, two of its interval: 80 columns have room for three of these."""
    return str(metric) + (f" ({metric.low:.2f}–{metric.high:.2f})" if metric.low is not None else "")


def _threshold(point: PointResult) -> str:
    if point.threshold is None:
        return "by fold"
    return f"{point.threshold:.3f}" if point.threshold <= 1 else "above 1"


def _calibration_lines(judgement: Judgement) -> list[str]:
    sides = {"as given": judgement.after}
    if judgement.before:
        sides = {"raw": judgement.before, _method(judgement): judgement.after}
    lines = []
    for name, side in sides.items():
        metrics = [f"{one.short or one.english} {side.metrics[one.key]}" for one in shown_in("calibration")]
        lines.append(f"calibration, {name}: {', '.join(metrics)}")
    return lines


def _method(judgement: Judgement) -> str:
    calibrator = judgement.decision.calibrator
    if not isinstance(judgement.decisions, Decision):
        return f"{calibrator.method} of each fold"
    return f"temperature {calibrator.temperature:.3f}" if calibrator.method == "temperature" else calibrator.method


def show_judged(judged: Judged) -> None:
    """Print a judgement, its folds, what was left out, and whether the run knew the patients."""
    show_judgement(judged.judgement, judged.about, phantom=judged.phantom)
    if judged.folds:
        show_folds(judged)
    if len(judged.excluded):
        show_exclusions(judged.excluded)
    show_warnings(judged.warned)
    if judged.known_patients:
        why = "Not an independent test: patients that this run trained or chose on are among them"
        show_list(why, list(judged.known_patients))


def show_reader(judgement: Judgement, reader: ReaderResult, *, phantom: bool) -> None:
    """Print the radiologists' assessments beside the system: AUCs at each level, matched points at the task's."""
    rows: list[tuple[str, ...]] = []
    for name, level in reader.levels.items():
        aucs = (short(level.auc), str(level.system_auc), level.auc_difference.as_difference())
        rows.append((name, str(level.n), *aucs))
    header = ("level", "n", "reader's AUC", "system's", "system - reader")
    print_table("beside the radiologists' BI-RADS, on the same cases", header, rows)
    own = reader.levels[judgement.task]
    rows = []
    for point in own.points:
        differences = [one.as_difference(2) for one in (point.specificity_difference, point.recall_difference)]
        rows.append((f">= {point.category}", str(point.recall), str(point.specificity), *differences))
    header = ("BI-RADS", "recall", "spec.", "spec. at same recall", "recall at same spec.")
    print_table(f"reader's calls, {judgement.task}; then system - reader", header, rows)
    print(f"system at {judgement.decision.rule} - reader at BI-RADS >= {own.main.category}:")
    recall, specificity = own.recall_difference.as_difference(), own.specificity_difference.as_difference()
    print(f"  recall {recall}, specificity {specificity}")
    about = GENERATED if phantom else LIMITS
    for text in (who_was_compared(own).english, about.english):
        print(textwrap.fill(text, 80))


def show_folds(judged: Judged) -> None:
    """Print each fold, their mean and spread, and the pooled scores beside them."""
    task, shown = judged.judgement.task, shown_in("folds")
    over = over_folds(judged.folds, task)
    numbered = zip(judged.judgement.fold_numbers, judged.folds, strict=True)
    rows = [_fold_row(f"fold {number}", fold.levels[task]) for number, fold in numbered]
    for part in ("mean", "deviation"):
        rows.append((part, "", *(f"{getattr(over[one.key], part):.3f}" if one.key in over else "-" for one in shown)))
    rows.append(_fold_row("pooled", judged.judgement.own))
    print_table(f"folds, {task}", ("", "n", *(one.short or one.english for one in shown)), rows)


def _fold_row(name: str, level: LevelResult) -> tuple[str, ...]:
    return (name, str(level.n), *(str(metrics_of(level)[one.key]) for one in shown_in("folds")))


def show_comparisons(comparisons: tuple[Comparison, ...]) -> None:
    """Print each system beside the first."""
    for one in comparisons:
        rows = [
            (row.metric, row.first, row.second, row.difference.as_difference(), p_text(row)) for row in one.differences
        ]
        size = f"{one.n} cases of {one.n_patients} patients, {one.n_positive} malignant"
        about = f"A {one.first}, at {_point(one, 0)}\nB {one.second}, at {_point(one, 1)}\n{one.level}, {size}"
        print_table(about, ("metric", "A", "B", "B - A (95 %)", "p"), rows)
        if one.rules[0] != one.rules[1]:
            print("the operating points have different rules: do not compare the threshold metrics, such as recall")
    print("p: AUC by DeLong for clusters (Obuchowski 1997)")
    print("p: recall, specificity and accuracy by McNemar for clusters (Obuchowski 1998)")
    if len(comparisons) > 1:
        print("several systems were compared with A: p is adjusted over them by Holm's method")


def _point(comparison: Comparison, side: int) -> str:
    threshold = comparison.thresholds[side]
    which = "thresholds of each fold" if threshold is None else f"threshold {threshold:.3f}"
    return f"{comparison.rules[side]} ({which})"


def p_text(row: Difference) -> str:
    """The p of a difference, adjusted for the number of systems; empty where it has no test."""
    return "" if row.p_holm is None else "<0.001" if row.p_holm < 0.001 else f"{row.p_holm:.3f}"


def show_runs(output: Path) -> None:
    """Print a row for each run below a folder.

    Raises:
        DataMissingError: There is none.
    """
    rows = list_runs(output)
    if not rows:
        raise no_run_in(output)
    print_table(f"runs below {output}, on their test parts, with 95 % intervals of AUC", HEADER, rows)


def show_summary(folders: list[Path], level: str) -> None:
    """Print mean and spread of several runs; arguments and errors are those of `summarise`."""
    runs, rows = summarise(folders, level)
    print_table(f"{runs} runs: mean ± standard deviation", ("", "mean", "each"), rows)


def show_audit(audit: Audit, about: str) -> None:
    """Print who is in which part, and the contradictions."""
    print_table(about, list(audit.parts.columns), audit.parts.to_numpy().tolist())
    show_list("duplicated cases", audit.duplicates)
    show_list("films (or breasts) with both benign and malignant lesions", audit.conflicts)
    show_list("patients in more than one part", audit.leaks)
    show_list("patient ids that are likely the same person's", [" = ".join(group) for group in audit.likely_same])
    show_list("of these, in more than one part", [" = ".join(group) for group in audit.separated])


def show_findings(views: dict[int, int], disagreements: pd.DataFrame) -> None:
    """Print how many findings have one view, two, …, and how many have views that disagree."""
    if not views:
        return
    counts = ", ".join(f"{count} with {number} view{'s' if number > 1 else ''}" for number, count in views.items())
    print(f"findings: {sum(views.values())} ({counts})")
    of_label = disagreements["column"] == "label"
    show_list("findings whose views have two labels", disagreements.loc[of_label, "finding_id"].tolist())
    others = disagreements.loc[~of_label, "column"].value_counts()
    if len(others):
        named = ", ".join(f"{column} {count}" for column, count in others.items())
        print(f"findings whose views differ: {named}; mammo audit --disagreements CSV lists them")


def show_exclusions(excluded: pd.DataFrame) -> None:
    """Print how many cases were left out, and why."""
    print("\n".join(exclusion_lines(excluded)))


def show_warnings(warned: pd.DataFrame) -> None:
    """Print the warnings, a line per kind; last, so that nobody has to scroll up."""
    for line in warning_lines(warned):
        print(line)


def show_dry_run(parts: pd.DataFrame, excluded: pd.DataFrame, lines: tuple[str, ...]) -> None:
    """Print what a run would be."""
    print_table("dry run: nothing is written", list(parts.columns), parts.to_numpy().tolist())
    show_exclusions(excluded)
    for line in lines:
        print(line)


def show_list(what: str, names: list[str]) -> None:
    """Print how many there are, and the first names."""
    print(f"{what}: {len(names)}" + (f" ({few_of(names, NAMES_SHOWN)})" if names else ""))
