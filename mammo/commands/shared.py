"""Defines what all commands share: how they start and end, their parser, and options that several of them have."""

import argparse
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from mammo.errors import MammoError, Stopped, did_you_mean, plain_stops
from mammo.parallel.commands import stop_with_parent
from mammo.settings.load import dump_settings, load_settings
from mammo.settings.schema import Settings

MEMORY_IS_FULL = (
    "the memory is full; give the process more, or lower data.prepare_workers, training.workers or training.batch_size"
)
CHECK_FOLDER = "check that the folder exists, may be written to and has space"


def run(main: Callable[[], int | None]) -> None:
    """Run a command and end the process with its exit code: 2 after bad input, 130 after Ctrl-C, 143 after SIGTERM."""
    if sys.getfilesystemencoding() == "ascii" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"  # what Python does in the C locale unless told not to (PEP 540)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a path that the terminal cannot show must not end a command
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    stop_with_parent()
    try:
        with plain_stops():
            code = main() or 0
            sys.stdout.flush()
    except MammoError as error:
        code = _report(str(error))
    except MemoryError:
        code = _report(MEMORY_IS_FULL)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        code = _report(f"{error.filename or 'a file'}: {error.strerror or error}; {CHECK_FOLDER}")
    except KeyboardInterrupt as stop:
        code = _stopped(stop)
    sys.exit(code)


def _stopped(stop: KeyboardInterrupt) -> int:
    """Report the signal and return the exit code; from here on, signals are ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    stopped = stop if isinstance(stop, Stopped) else Stopped(signal.SIGINT)
    _report(str(stopped))
    return 128 + stopped.number


def _stop(number: int, frame: FrameType | None) -> None:
    threading.excepthook = _end_of_thread
    raise Stopped(number)


def _end_of_thread(how: threading.ExceptHookArgs) -> None:
    """Print no traceback of joblib's own thread, which may fail when its work is cancelled."""
    if how.thread is None or not how.thread.name.startswith("ExecutorManager"):
        threading.__excepthook__(how)


def _report(message: str) -> int:
    """Print an error on one line and return the exit code for bad input."""
    sys.stdout.flush()
    print("mammo: error: " + " ".join(message.split()), file=sys.stderr, flush=True)
    return 2


class Parser(argparse.ArgumentParser):
    """An argument parser that reports bad options in one line; paths may begin with `~`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.register("type", Path, _path)

    def error(self, message: str) -> NoReturn:
        """End the process with code 2."""
        sys.exit(_report(f"{message}; see {self.prog} --help"))


def _path(text: str) -> Path:
    """Return a path; `~` at its start is the home folder, which a shell leaves in `--option=~/x`."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"there is no such home folder ({error}); give the path without ~") from None


def at_least(smallest: int) -> Callable[[str], int]:
    """Return an argument type: a whole number from `smallest`."""

    def parse(text: str) -> int:
        if not text.lstrip("-").isdigit() or int(text) < smallest:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {smallest}, got {text!r}")
        return int(text)

    return parse


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add `-c FILE`, repeated `-o key.path=value` and `--print-config`."""
    what = "settings: a YAML file, or the name of one that comes with mammo (see mammo configs)"
    parser.add_argument("-c", "--config", type=config_file, metavar="FILE", help=what)
    add_overrides(parser, "one setting, such as training.epochs=3; may be repeated")
    parser.add_argument("--print-config", action="store_true", help="print the checked settings and stop")


def add_overrides(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `-o key.path=value`."""
    parser.add_argument("-o", "--override", action="append", default=[], metavar="KEY=VALUE", help=what)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add `--run` and `--output`, which name a run folder."""
    parser.add_argument("--run", type=Path, metavar="DIR", help="a run folder (default: the newest below --output)")
    add_output(parser)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add `--output`."""
    parser.add_argument("--output", type=Path, default=Path("output"), metavar="DIR", help="the folder of all runs")


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """Add `--cluster`."""
    what = "spread the work on a running cluster: dask://HOST:PORT or ray://HOST:PORT"
    parser.add_argument("--cluster", default="", metavar="ADDRESS", help=what)


def config_file(text: str) -> Path:
    """Return the settings file of that path, or else the one of that name that comes with mammo."""
    path, shipped = _path(text), shipped_configs()
    if path.suffix or path.exists():
        return path
    if text not in shipped:
        hint = did_you_mean(text, shipped)
        raise argparse.ArgumentTypeError(f"{text}: expected a YAML file or one of {', '.join(shipped)}{hint}")
    return shipped[text]


def shipped_configs() -> dict[str, Path]:
    """Return the settings files that come with mammo, by name: those in the package, or else in the checkout."""
    package = Path(__file__).parents[1]
    folder = next((path for path in (package / "configs", package.parent / "configs") if path.is_dir()), package)
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_settings(arguments: argparse.Namespace) -> Settings:
    """Load the settings that the options name; with `--print-config`, print them and end the process."""
    return _print_or_return(load_settings(arguments.config, arguments.override), arguments)


def resumed_run(arguments: argparse.Namespace) -> tuple[Settings, Path]:
    """Find the run that `--resume` names (the newest for none) and the settings it goes on with.

    These are its own, or those of `-c`, with overrides applied; training refuses any that the run cannot change to.
    """
    from mammo.runs import CONFIG_FILE, find_run

    named = arguments.resume if arguments.resume != Path() else None
    given = load_settings(arguments.config, arguments.override)
    folder = find_run(given.output, named)
    settings = given if arguments.config else load_settings(folder / CONFIG_FILE, arguments.override)
    return _print_or_return(settings, arguments), folder


def _print_or_return(settings: Settings, arguments: argparse.Namespace) -> Settings:
    from mammo.prepare.readers import reader_of

    reader_of(settings.data)
    if arguments.print_config:
        from mammo.training.recipe import check_names

        check_names(settings.training)
        print(dump_settings(settings), end="")
        sys.exit(0)
    return settings


def use_device(settings: Settings) -> None:
    """Choose the device, and print device, threads and BLAS path on one line."""
    from mammo.runtime import describe, select_device

    _show_log()
    select_device(settings.device)
    print(describe(), flush=True)


def use_device_of_run(arguments: argparse.Namespace) -> tuple[Path, Settings]:
    """Find the run that `--run` names (the newest for none), read its settings and choose its device."""
    from mammo.runs import CONFIG_FILE, find_run

    folder = find_run(arguments.output, arguments.run)
    settings = load_settings(folder / CONFIG_FILE)
    use_device(settings)
    return folder, settings


def use_no_network() -> None:
    """Print the same line for commands that load no network, and so no paddle."""
    from mammo.runtime import available_cores

    _show_log()
    print(f"device cpu, {available_cores()} threads; this command loads no neural network", flush=True)


def _show_log() -> None:
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.raiseExceptions = False  # a closed pipe is reported by the next print, not by the logger's traceback
    logging.getLogger("mammo").setLevel(logging.INFO)
