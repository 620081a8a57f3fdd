"""Audits, judgements and dry runs in, tables for a terminal of 80 columns out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from mammo.cases.audit import Audit
from mammo.cases.table import exclusion_lines
from mammo.evaluation.judge import TABLE_HEADER, Judgement, table_rows
from mammo.progress import print_table
from mammo.report.summary import Summary

if TYPE_CHECKING:  # its module loads paddle, which tables do not need
    from mammo.inference.evaluate import Evaluation

NAMES_SHOWN = 8
PHANTOM = " (PHANTOM: generated films, says nothing about patients)"


def show_judgement(judgement: Judgement, about: str, *, phantom: bool = False) -> None:
    """Print a judgement, and what its threshold is."""
    print_table(f"{about}{PHANTOM if phantom else ''}", TABLE_HEADER, table_rows(judgement))
    decision = judgement.decision
    chosen = f", chosen on {decision.cases} {decision.part} cases ({decision.positives} malignant)" if decision.cases else ""
    print(f"operating point: {decision.rule}, threshold {decision.threshold:.3f}{chosen}; the second line of a level is at 0.5")
    for name, level in judgement.levels.items():
        for metric, value in (level.ranking | level.at_threshold).items():
            if value.undefined:
                print(f"{name}: {metric} is undefined: {value.undefined}")


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
