"""Options of tools/predict.py with `--export` in, a CSV out; what is no result goes to stderr. No paddle, unless it is the engine."""

import argparse
import sys

from mammo.errors import SettingsError
from mammo.inference.notes import NOT_A_DEVICE, PHANTOM
from mammo.progress import track
from mammo.runtime import available_cores
from mammo.serving.folder import Job, find_films, predict_films
from mammo.serving.manifest import read_manifest
from mammo.serving.score_file import ScoreFile, check_errors, print_rows


def predict_with_export(arguments: argparse.Namespace) -> None:
    """Score films with an exported network.

    Raises:
        SettingsError: Options contradict each other, or a network for lesions is not told where they are.
        ScoreError: Some films have no score; all others have been written.
    """
    manifest = read_manifest(arguments.export)
    _check(arguments, manifest.form.preprocess.task)
    found = find_films(arguments.paths, arguments.boxes)
    jobs = [Job(job.path, (arguments.box,)) for job in found.jobs] if arguments.box else list(found.jobs)
    print(PHANTOM if manifest.origin.data == "phantom" else NOT_A_DEVICE, file=sys.stderr)
    made_by = f"{manifest.origin.network_sha256} {arguments.engine}"
    file = ScoreFile(arguments.out, made_by) if arguments.out else None
    todo = file.left(jobs) if file else jobs
    if file and len(todo) < len(jobs):
        print(f"{len(jobs) - len(todo)} of {len(jobs)} films are scored already", file=sys.stderr)
    workers = min(arguments.workers or available_cores(), max(1, len(todo)))
    made = predict_films(
        todo, arguments.export, engine=arguments.engine, workers=workers, untrusted=arguments.untrusted, cluster=arguments.cluster
    )
    shown = track(made, len(todo), "scoring films", beside=True)
    bad = file.write(jobs, shown) if file else print_rows(shown)
    if found.others:
        print(f"passed by: {found.others} files that are no films", file=sys.stderr)
    check_errors(bad, len(jobs))


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
