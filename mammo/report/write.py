"""Writes a report: `index.html`, `model_card.md`, `checklist.md`, `curves.png`, and the figures in VisualDL."""

import io
import shlex
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

from visualdl import LogWriter

from mammo.cases.audit import audit_split
from mammo.errors import MammoError
from mammo.evaluation.judge import case_thresholds
from mammo.files import write_text
from mammo.judging.judged import Judged
from mammo.plots.learning import write_curves
from mammo.plots.style import as_picture
from mammo.prepare.gather import gather_split, prepare_split
from mammo.report.cards.checklist import render_checklist
from mammo.report.cards.model_card import render_model_card
from mammo.report.charts import draw_charts
from mammo.report.page.page import render_page
from mammo.report.page.pictures import make_pictures
from mammo.report.source import ReportSource, read_run_files
from mammo.runs import VISUALDL_FILE, command_line, curves_folder


def write_report(judged: Judged) -> Path:
    """Write it below `judged.out/report`; returns the page."""
    folder = judged.out / "report"
    source = make_source(judged)
    write_documents(source, folder)
    if source.log is not None and judged.run:
        write_curves({"": judged.run}, folder / "curves.png")
    if judged.run == judged.out and judged.settings is not None:
        log_figures(source, curves_folder(judged.settings.output, judged.out))
    return folder / "index.html"


def write_documents(source: ReportSource, folder: Path) -> None:
    """Write page, model card and checklist into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "index.html", render_page(source))
    write_text(folder / "model_card.md", render_model_card(source))
    write_text(folder / "checklist.md", render_checklist(source))


def make_source(judged: Judged) -> ReportSource:
    """Gather what the report shows, from the judgement, the run's own files and, where they can be read, the films."""
    files = (read_run_files(judged.run) if judged.run else {}) | {"title": judged.about}
    source = ReportSource(
        judgement=judged.judgement,
        scores=judged.scores,
        phantom=judged.phantom,
        excluded=judged.excluded,
        warned=judged.warned,
        known_patients=judged.known_patients,
        folds=judged.folds,
        **files | {"environment": _with_command(files.get("environment", {}))},
    )
    try:
        prepared = judged.prepared
        if prepared is None and judged.settings is not None:
            prepared = prepare_split(judged.settings, gather_split(judged.settings))
    except MammoError as error:
        return replace(source, no_pictures=f"the films could not be read again: {error}")
    if prepared is None:
        return replace(source, no_pictures="the scores came from outside, without films")
    source = replace(source, environment=source.environment | {"data_sha256": prepared.data_sha256})
    thresholds = case_thresholds(judged.scores, judged.judgement.decisions, judged.judgement.task)[0]
    parts = None if judged.folds else audit_split(prepared.split).parts
    return replace(source, pictures=make_pictures(judged.scores, thresholds, prepared), parts=parts)


def _with_command(environment: dict[str, object]) -> dict[str, object]:
    """What made the scores, and, where that was another command, what judged them."""
    if not environment:
        return {"command": command_line()}
    if environment.get("command") == command_line():
        return environment
    return environment | {"judged_with": shlex.join(command_line())}


def log_figures(source: ReportSource, folder: Path) -> None:
    """Add the charts to the run's own file of VisualDL, so that it shows one run; the newest judgement's come last."""
    step = 0 if source.log is None else len(source.log)
    with redirect_stdout(io.StringIO()):  # it prints that the file exists
        writer = LogWriter(logdir=str(folder), file_name=VISUALDL_FILE)
    with writer:
        for name, drawn in draw_charts(source).items():
            if not isinstance(drawn, str):
                writer.add_image(f"report/{name}", as_picture(drawn), step)
