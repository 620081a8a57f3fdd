"""Score films: `mammo predict film.dcm --box 1200,800,300,260` asks the newest run's best network,
`mammo predict FOLDER --export DIR` an exported one, and writes a CSV."""

import argparse
import math
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from mammo.commands.shared import add_cluster, add_run_options, at_least, use_device_of_run
from mammo.errors import SettingsError
from mammo.settings.types import CROPPED

Box = tuple[float, float, float, float]

NOT_A_DEVICE = "This is research software, not a medical device; it does not replace a radiologist."
PHANTOM = "PHANTOM: this network has seen generated films only; its score of a real film means nothing"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mammo predict`."""
    what = "DICOM, PNG, JPEG, TIFF or PGM; with --export also folders"
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help=what)
    what = "the lesion's place in pixels, after its film; two films with a box each are views of one finding"
    parser.add_argument("--box", type=parse_box, action="append", default=[], metavar="X,Y,W,H", help=what)
    what = "the width of a film's pixels over their height (default: 1)"
    parser.add_argument("--pixel-aspect", type=parse_aspect, default=1.0, metavar="A", help=what)
    add_run_options(parser)
    group = parser.add_argument_group("with an exported network")
    group.add_argument("--export", type=Path, metavar="DIR", help="a folder that mammo export made")
    what = "lesions: image, x, y, width, height, such as a manifest"
    group.add_argument("--boxes", type=Path, metavar="CSV", help=what)
    what = "write here (default: stdout); a command that was killed goes on where it stopped"
    group.add_argument("--out", type=Path, metavar="CSV", help=what)
    what = "the package that computes (default: the first one that mammo export compared)"
    group.add_argument("--engine", default="auto", metavar="NAME", help=what)
    group.add_argument("--workers", type=at_least(0), default=0, metavar="N", help="processes (default: one per core)")
    group.add_argument("--untrusted", action="store_true", help="decode in processes of their own, with limits")
    add_cluster(parser)


def main(arguments: argparse.Namespace) -> None:
    """Print a line per film, or write a CSV."""
    if arguments.export:
        predict_with_export(arguments)
    else:
        predict_with_run(arguments)


def parse_box(text: str) -> tuple[float, float, float, float]:
    """Read `x,y,width,height`, pixels."""
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError:
        expected = "x,y,width,height in pixels, such as 1200,800,300,260"
        raise argparse.ArgumentTypeError(f"expected {expected}; got {text!r}") from None
    if not all(math.isfinite(value) for value in (x, y, width, height)):
        raise argparse.ArgumentTypeError(f"a box needs four finite numbers; got {text!r}")
    if width <= 0 or height <= 0:
        raise argparse.ArgumentTypeError(f"width and height of a box must be above 0; got {text!r}")
    return x, y, width, height


def parse_aspect(text: str) -> float:
    """Read a pixel's width over its height."""
    try:
        aspect = float(text)
    except ValueError:
        aspect = math.nan
    if not 0.2 <= aspect <= 5:
        raise argparse.ArgumentTypeError(f"expected a pixel's width over its height, from 0.2 to 5; got {text!r}")
    return aspect


def _box_of_each(boxes: list[Box], films: int) -> list[Box] | list[None]:
    """Return the box of each film; none if none is given."""
    if boxes and len(boxes) != films:
        expected = "expected a box for each film, or --boxes CSV with a row for each lesion"
        raise SettingsError(f"--box: {expected}; got {films} films and {len(boxes)} boxes")
    return boxes or [None] * films


def _check_joining(task: str, views: int) -> None:
    """Refuse to join views that such a network reads together: its score of one view alone is another thing."""
    if task == "finding" and views > 1:
        problem = "this network reads the views of a finding together, and films are given to it one by one"
        raise SettingsError(f"{problem}; name one view, or use a network of data.task=lesion, whose views are joined")


def _call(called: bool | None) -> str:
    """Say whether a finding is called; nothing if the network has no threshold for findings."""
    return "" if called is None else f"; {'called' if called else 'not called'} malignant"


def predict_with_run(arguments: argparse.Namespace) -> None:
    """Print what a run's best network says of each film.

    Raises:
        SettingsError: No film is named, or an option is for exports only.
    """
    folder, settings = use_device_of_run(arguments)
    from mammo.evaluation.operating_point import in_words
    from mammo.images.film import in_words as remarks_in_words
    from mammo.inference.load import load_run, predict_with_remarks
    from mammo.prepare.readers import words_of

    if given := [f"--{name}" for name in ("boxes", "out", "untrusted") if getattr(arguments, name)]:
        raise SettingsError(f"{', '.join(given)}: only for an exported network (mammo export makes it); add --export")
    if not arguments.paths:
        raise SettingsError("expected at least one film, got none; see mammo predict --help")
    boxes = _box_of_each(arguments.box, len(arguments.paths))
    if arguments.box and settings.data.task not in CROPPED:
        raise SettingsError("--box: this model scores whole films; remove the option")
    _check_joining(settings.data.task, len(arguments.box))
    loaded = load_run(folder, settings=settings)
    if words_of(settings.data.kind).generated:
        print(PHANTOM)
    counts: Counter[str] = Counter()
    scores = []
    for file, box in zip(arguments.paths, boxes, strict=True):
        score, remarks = predict_with_remarks(loaded, file, box=box, pixel_aspect=arguments.pixel_aspect)
        scores.append(score)
        counts.update(remarks)
        print(f"{file}: probability of malignancy {score:.3f}; {in_words(score, loaded.decision)}")
        for remark in remarks:
            print(f"  warning: {remarks_in_words(remark)}")
    if len(arguments.box) > 1:
        joined, called = loaded.decision.of_finding(scores)
        print(f"the finding, by {len(scores)} views: probability of malignancy {joined:.3f}{_call(called)}")
    print(NOT_A_DEVICE)
    if len(arguments.paths) > 1:
        for remark, count in counts.items():
            print(f"warning: {count} × {remarks_in_words(remark)}")


def predict_with_export(arguments: argparse.Namespace) -> None:
    """Score films with an exported network; all but the rows goes to stderr.

    Raises:
        SettingsError: Options contradict each other, or a lesion network has no boxes.
        ScoreError: Some films have no score; all others have been written.
    """
    from mammo.prepare.readers import words_of
    from mammo.progress import track
    from mammo.runtime import available_cores
    from mammo.serving.export_description import read_description
    from mammo.serving.folder import find_films, predict_films
    from mammo.serving.score_file import ScoreFile, check_errors, print_rows

    described = read_description(arguments.export)
    _check_export_options(arguments, described.form.preprocess.task)
    found = find_films(arguments.paths, arguments.boxes, pixel_aspect=arguments.pixel_aspect)
    if arguments.box:
        boxes = _box_of_each(arguments.box, len(found.asked))
        finding = "given" if len(boxes) > 1 else ""
        given = zip(found.asked, boxes, strict=True)
        found = replace(found, asked=tuple(replace(asked, box=box, finding=finding) for asked, box in given))
    _check_joining(described.task, found.most_views)
    _print(PHANTOM if words_of(described.origin.data).generated else NOT_A_DEVICE)
    stored = "16 bits" if described.half else ""
    made_by = " ".join(f"{described.origin.network_sha256} {arguments.engine} {found.aspects} {stored}".split())
    file = ScoreFile(arguments.out, made_by) if arguments.out else None
    jobs = found.jobs
    todo = file.left(jobs) if file else jobs
    if len(todo) < len(jobs):
        _print(f"{len(jobs) - len(todo)} of {len(jobs)} films are scored already")
    how = {"engine": arguments.engine, "untrusted": arguments.untrusted, "cluster": arguments.cluster}
    workers = min(arguments.workers or available_cores(), max(1, len(todo)))
    made = predict_films(todo, arguments.export, workers=workers, **how)
    shown = track(made, len(todo), "scoring films", beside=True)
    decision = described.decision
    outcome = file.write(found, shown, decision) if file else print_rows(found, shown, decision)
    _report_skipped(found.loops, found.skipped)
    for warning, count in outcome.warnings.most_common():
        _print(f"warning: {count} × {warning}")
    check_errors(outcome)


def _check_export_options(arguments: argparse.Namespace, task: str) -> None:
    if not arguments.paths and not arguments.boxes:
        raise SettingsError("expected films, folders or --boxes CSV, got none; see mammo predict --help")
    if arguments.run:
        raise SettingsError("--run names a run, --export an exported network: remove one of them")
    if arguments.box and arguments.boxes:
        raise SettingsError("--box and --boxes both say where lesions are: remove one of them")
    if task == "lesion" and arguments.paths and not arguments.box:
        advice = "give --boxes CSV instead of paths, or --box; or use a model of data.task=image"
        raise SettingsError(f"this is a lesion model and needs each lesion's place: {advice}")
    if task != "lesion" and (arguments.box or arguments.boxes):
        raise SettingsError("--box, --boxes: this model scores whole films; remove the option")


def _report_skipped(loops: Iterable[Path], skipped: Counter[str]) -> None:
    """Print which links and which kinds of files were skipped."""
    from mammo.images.decode import is_unread_picture

    for path in loops:
        _print(f"skipped: {path}: a link to a folder that was searched already")
    for kind, count in sorted(skipped.items()):
        hint = " (a film? convert it to DICOM, PNG or TIFF)" if is_unread_picture(kind) else ""
        _print(f"skipped: {count} × {kind}{hint}")


def _print(text: str) -> None:
    print(text, file=sys.stderr)
