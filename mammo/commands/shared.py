"""What all commands share: settings options, and bad input told in one line with exit code 2."""

import argparse
import io
import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from mammo.errors import MammoError, SettingsError, Stopped, plain_stops
from mammo.settings.load import dump_settings, load_settings
from mammo.settings.schema import Settings


def run(main: Callable[[], int | None]) -> None:
    """Run a command's `main` and end the process: 0 or its number, 2 for bad input, 130 for Ctrl-C, 143 for SIGTERM."""
    if sys.getfilesystemencoding() == "ascii" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"  # what Python does in the C locale unless told not to (PEP 540)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a path that the terminal's encoding lacks ends no command
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        with plain_stops():
            code = main() or 0
            sys.stdout.flush()
    except MammoError as error:
        _tell(str(error))
        code = 2
    except MemoryError:
        _tell(
            "the memory is full; give the process more, or lower data.prepare_workers, training.workers or training.batch_size"
        )
        code = 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        _tell(
            f"{error.filename or 'a file'}: {error.strerror or error}; check that the folder exists, may be written to and has space"
        )
        code = 2
    except KeyboardInterrupt as stop:
        code = _stopped(stop)
    sys.exit(code)


def _stopped(stop: KeyboardInterrupt) -> int:
    """Tell of it; returns the exit code. The end is not to be stopped again."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    told = stop if isinstance(stop, Stopped) else Stopped(signal.SIGINT)
    _tell(str(told))
    return 128 + told.number


def _stop(number: int, frame: FrameType | None) -> None:
    threading.excepthook = _end_of_thread
    raise Stopped(number)


def _end_of_thread(how: threading.ExceptHookArgs) -> None:
    """Let joblib's own thread, which may stumble over work that is gone, say nothing on its way out."""
    if how.thread is None or not how.thread.name.startswith("ExecutorManager"):
        threading.__excepthook__(how)


def _tell(message: str) -> None:
    sys.stdout.flush()
    print("mammo: error: " + " ".join(message.split()), file=sys.stderr, flush=True)


class Parser(argparse.ArgumentParser):
    """Reports what is wrong with the options in one line, as all bad input is reported; paths may begin with `~`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.register("type", Path, _path)

    def error(self, message: str) -> NoReturn:
        """End the process with code 2."""
        _tell(f"{message}; {self.prog} --help tells the options")
        sys.exit(2)


def _path(text: str) -> Path:
    """A path; `~` at its start is the home folder, which a shell leaves in `--option=~/x`."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"there is no such home folder ({error}); give the path without ~") from None


def settings_parser(description: str) -> argparse.ArgumentParser:
    """Make a parser that knows `-c FILE`, repeated `-o key.path=value` and `--print-config`."""
    parser = Parser(description=description)
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="settings, YAML; see configs/")
    parser.add_argument(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one setting, such as training.epochs=3; may be repeated",
    )
    parser.add_argument("--print-config", action="store_true", help="print the checked settings and stop")
    return parser


def read_settings(arguments: argparse.Namespace) -> Settings:
    """Load what the options name; with `--print-config`, print it and end the process."""
    return _print_or_return(load_settings(arguments.config, arguments.override), arguments)


def _print_or_return(settings: Settings, arguments: argparse.Namespace) -> Settings:
    if arguments.print_config:
        from mammo.training.assemble import check_names

        check_names(settings.training)
        print(dump_settings(settings), end="")
        sys.exit(0)
    return settings


def resumed_run(arguments: argparse.Namespace) -> tuple[Settings, Path]:
    """Find the run that `--resume` names (the newest for none) and the settings it is to go on with.

    These are its own, or those of `-c`, with overrides laid over them; training refuses any that the run cannot change to.
    """
    from mammo.runs import CONFIG_FILE, find_run

    named = arguments.resume if arguments.resume != Path() else None
    given = load_settings(arguments.config, arguments.override)
    folder = find_run(given.output, named)
    settings = given if arguments.config else load_settings(folder / CONFIG_FILE, arguments.override)
    return _print_or_return(settings, arguments), folder


def add_folds(arguments: argparse.Namespace) -> None:
    """Lay `--folds K` over the settings, as `data.folds`.

    Raises:
        SettingsError: The settings name folds of their own.
    """
    if not arguments.folds:
        return
    given = [
        override for override in arguments.override if override.partition("=")[0].strip() in ("data.folds", "data.fold")
    ]
    if given and arguments.resume is None:
        raise SettingsError(
            f"--folds {arguments.folds}: trains all folds, got also {', '.join(given)}; leave one of them out"
        )
    if arguments.resume is None:
        arguments.override.append(f"data.folds={arguments.folds}")


def say_where(settings: Settings) -> None:
    """Choose the device and tell device, threads and BLAS path in one line."""
    from mammo.runtime import describe, select_device

    _show_log()
    select_device(settings.device)
    print(describe(), flush=True)


def say_where_run(arguments: argparse.Namespace) -> Path:
    """Find the run that `--run` names (the newest below `--output` for none), and say where its settings make it run."""
    from mammo.runs import CONFIG_FILE, find_run

    folder = find_run(arguments.output, arguments.run)
    say_where(load_settings(folder / CONFIG_FILE))
    return folder


def say_machine() -> None:
    """The same line for commands that load no network, and so no paddle."""
    from mammo.runtime import available_cores

    _show_log()
    print(f"device cpu, {available_cores()} threads, no network is loaded", flush=True)


def _show_log() -> None:
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.raiseExceptions = False  # a closed pipe is told by the next print, not by a traceback of the logger's
    logging.getLogger("mammo").setLevel(logging.INFO)


def at_least(smallest: int) -> Callable[[str], int]:
    """Make an argument type: a whole number of at least so much."""

    def parse(text: str) -> int:
        if not text.lstrip("-").isdigit() or int(text) < smallest:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {smallest}, got {text!r}")
        return int(text)

    return parse


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """Add `--cluster`."""
    parser.add_argument(
        "--cluster",
        default="",
        metavar="ADDRESS",
        help="spread the work on a running cluster: dask://HOST:PORT or ray://HOST:PORT",
    )


def parse_box(text: str) -> tuple[float, float, float, float]:
    """Read `x,y,width,height`, pixels."""
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected x,y,width,height in pixels, such as 1200,800,300,260; got {text!r}"
        ) from None
    if not all(math.isfinite(value) for value in (x, y, width, height)):
        raise argparse.ArgumentTypeError(f"a box needs four finite numbers; got {text!r}")
    if width <= 0 or height <= 0:
        raise argparse.ArgumentTypeError(f"width and height of a box must be above 0; got {text!r}")
    return x, y, width, height


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add `--run` and `--output`, which name a run folder."""
    parser.add_argument("--run", type=Path, metavar="DIR", help="a run folder (default: the newest below --output)")
    parser.add_argument("--output", type=Path, default=Path("output"), metavar="DIR", help="the folder of all runs")


def eval_parser(description: str) -> argparse.ArgumentParser:
    """Make the parser of tools/eval.py."""
    parser = Parser(description=description)
    add_run_options(parser)
    parser.add_argument(
        "--data", type=Path, metavar="CSV", help="a manifest: judge the run's network, or the ensemble, on all of it"
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--scores",
        type=Path,
        metavar="CSV",
        help="a score table of any system, judged at the run's threshold, or at 0.5 without --run",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="CSV",
        help="with --scores of tools/predict.py: the manifest that knows patients and labels",
    )
    source.add_argument(
        "--ensemble",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="the mean logit of runs of one split, or of a cross-validation's folds",
    )
    source.add_argument("--summary", type=Path, nargs="+", metavar="RUN", help="mean and spread of several judged runs")
    parser.add_argument(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one setting of evaluation.…, chosen anew; needs --out",
    )
    levels = ("lesion", "image", "breast", "patient")
    parser.add_argument("--task", choices=levels, help="what a case of --scores is, or the level of --summary")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where scores and report/ go (default: the run folder, or the table's)"
    )
    return parser


def check_eval_options(arguments: argparse.Namespace) -> None:
    """Refuse options that contradict each other.

    Raises:
        SettingsError: Naming them.
    """
    if arguments.data and (arguments.scores or arguments.summary):
        raise SettingsError(
            "--data gives a network films to score; --scores and --summary have no network: leave one of them out"
        )
    if arguments.override and (arguments.scores or arguments.summary or arguments.ensemble):
        raise SettingsError("-o changes how a run's own network is judged: name the run with --run, or leave -o out")
    if arguments.labels and not arguments.scores:
        raise SettingsError(
            "--labels belongs to --scores, of a table that tools/predict.py wrote; to judge a run on a manifest, give --data"
        )
    if arguments.task == "patient" and not arguments.summary:
        raise SettingsError("--task patient: no case is a patient; expected lesion, image or breast")
