"""Options of tools/predict.py with `--export` in, a CSV out; what is no result goes to stderr. No paddle, unless it is the engine."""

import argparse
import sys
from dataclasses import replace

from mammo.errors import SettingsError
from mammo.images.contents import is_unread_picture
from mammo.inference.notes import NOT_A_DEVICE, PHANTOM
from mammo.progress import track
from mammo.runtime import available_cores
from mammo.serving.export_description import read_description
from mammo.serving.folder import Found, find_films, predict_films
from mammo.serving.score_file import Outcome, ScoreFile, check_errors, print_rows


def predict_with_export(arguments: argparse.Namespace) -> None:
    """Score films with an exported network.

    Raises:
        SettingsError: Options contradict each other, or a network for lesions is not told where they are.
        ScoreError: Some films have no score; all others have been written.
    """
    manifest = read_description(arguments.export)
    _check(arguments, manifest.form.preprocess.task)
    found = find_films(arguments.paths, arguments.boxes)
    if arguments.box:
        if len(found.jobs) != 1:
            raise SettingsError(
                f"--box is the place of a lesion on one film, got {len(found.jobs)} films; give --boxes CSV, with a row for each lesion"
            )
        found = replace(found, asked=tuple(replace(asked, box=arguments.box) for asked in found.asked))
    jobs = found.jobs
    print(PHANTOM if manifest.origin.data == "phantom" else NOT_A_DEVICE, file=sys.stderr)
    made_by = f"{manifest.origin.network_sha256} {arguments.engine}"
    file = ScoreFile(arguments.out, made_by) if arguments.out else None
    todo = file.left(jobs) if file else jobs
    if file and len(todo) < len(jobs):
        print(f"{len(jobs) - len(todo)} of {len(jobs)} films are scored already", file=sys.stderr)
    workers = min(arguments.workers or available_cores(), max(1, len(todo)))
    made = predict_films(
        todo,
        arguments.export,
        engine=arguments.engine,
        workers=workers,
        untrusted=arguments.untrusted,
        cluster=arguments.cluster,
    )
    shown = track(made, len(todo), "scoring films", beside=True)
    outcome = file.write(found, shown) if file else print_rows(found, shown)
    _tell(found, outcome)
    check_errors(outcome)


def _tell(found: Found, outcome: Outcome) -> None:
    """Say what was skipped, and repeat all warnings by kind."""
    for path in found.loops:
        print(f"skipped: {path}: a link to a folder that was looked into already", file=sys.stderr)
    for kind, count in sorted(found.skipped.items()):
        hint = " (a film? convert it to DICOM, PNG or TIFF)" if is_unread_picture(kind) else ""
        print(f"skipped: {count} × {kind}{hint}", file=sys.stderr)
    for warning, count in outcome.warnings.most_common():
        print(f"warning: {count} × {warning}", file=sys.stderr)


def _check(arguments: argparse.Namespace, task: str) -> None:
    if not arguments.paths and not arguments.boxes:
        raise SettingsError("expected films, folders or --boxes CSV, got none; --help tells the options")
    if arguments.run:
        raise SettingsError("--run names a run, --export an exported network: leave one of them out")
    if arguments.box and arguments.boxes:
        raise SettingsError("--box and --boxes both tell where lesions are: leave one of them out")
    if task == "lesion" and arguments.paths and not arguments.box:
        raise SettingsError(
            "this is a lesion model and needs to know where to look: give --boxes CSV instead of paths, or --box; or use a model of "
            "data.task=image"
        )
    if task != "lesion" and (arguments.box or arguments.boxes):
        raise SettingsError("--box, --boxes: this model looks at whole films; leave it out")
