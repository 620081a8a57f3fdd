"""Writes a model card as Markdown, under the nine headings of Mitchell et al. 2019 (arXiv:1810.03993)."""

import shlex
from pathlib import Path

from mammo import __version__
from mammo.evaluation.subgroups import COLUMNS, FEW_POSITIVES
from mammo.files import write_text
from mammo.prepare.readers import words_of
from mammo.report.cards.facts import how_calibrated, how_chosen, which_epoch, words_of_judged
from mammo.report.cards.markdown import escaped, render
from mammo.report.source import ReportSource


def write_model_card(source: ReportSource, path: Path) -> None:
    """Write the card."""
    write_text(path, render_model_card(source))


def render_model_card(source: ReportSource) -> str:
    """State the facts of a run and its judgement, and mark, count and list what only the authors can add."""
    judgement, settings, environment = source.judgement, source.settings, source.environment
    command, packages = environment.get("command"), environment.get("packages")
    groups = list(dict.fromkeys(group.column for group in judgement.subgroups))
    split_sha256 = environment.get("split_sha256") or ("" if source.folds else judgement.decision.split_sha256)
    return render(
        "model_card.md.j2",
        source,
        version=__version__,
        judgement=judgement,
        settings=settings,
        environment=environment,
        words=words_of_judged(source),
        training_words=words_of(settings.data.kind) if settings else None,
        chosen=how_chosen(source),
        calibrated=how_calibrated(source),
        epoch=which_epoch(source),
        ended=source.log["time"].iloc[-1] if source.log is not None and "time" in source.log else "not known",
        command=shlex.join(map(str, command)) if isinstance(command, list) else "",
        packages=[" ".join(map(str, one)) for one in packages.items()] if isinstance(packages, dict) else [],
        split_sha256=split_sha256,
        groups=groups,
        not_groups=[column for column in COLUMNS if column not in groups],
        few_positives=FEW_POSITIVES,
        few_groups=[escaped(f"{group.column} {group.value}") for group in judgement.subgroups if group.few],
        augmentation=[f"{step.name} (p {step.p:g})" for step in settings.augmentation] if settings else [],
        fold_levels=[(number, fold.own) for number, fold in enumerate(source.folds)],
    )
