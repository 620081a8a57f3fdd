"""Fine-tune a network: `mammo train -c quickstart`; then `visualdl --logdir output` shows the curves."""

import argparse
from pathlib import Path

from mammo.commands.shared import add_settings, at_least, read_settings, resumed_run, use_device
from mammo.errors import SettingsError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mammo train`."""
    add_settings(parser)
    what = "build everything, send one batch through, estimate the time; write nothing"
    parser.add_argument("--dry-run", action="store_true", help=what)
    what = "cross-validate: a run for each of K patient-grouped folds"
    parser.add_argument("--folds", type=at_least(2), metavar="K", help=what)
    what = "train the recipe of a cross-validation on all cases; its folds choose epochs and thresholds"
    parser.add_argument("--on-all", type=Path, metavar="RUN", help=what)
    what = "go on with a stopped run (the newest, where none is named)"
    parser.add_argument("--resume", nargs="?", const=Path(), type=Path, metavar="RUN", help=what)


def main(arguments: argparse.Namespace) -> None:
    """Train one run, one per fold, or one on all cases, or try it dry."""
    if arguments.on_all:
        _train_on_all(arguments)
        return
    _add_folds(arguments)
    settings, folder = resumed_run(arguments) if arguments.resume is not None else (read_settings(arguments), None)
    use_device(settings)
    if arguments.dry_run:
        from mammo.report.text import show_dry_run
        from mammo.training.dry_run import dry_run

        show_dry_run(*dry_run(settings))
        return
    from mammo.training.folds import train

    name = arguments.config.stem if arguments.config else "defaults"
    judged = train(settings, name, folds=arguments.folds or 0, resume=folder)
    if judged is None:  # of several processes, only the first one reports; no case judges a run on all
        return
    from mammo.report.text import show_judged
    from mammo.report.write import write_report

    show_judged(judged)
    print(f"written: {write_report(judged)}")
    print(f"see the curves: visualdl --logdir {settings.output}; judge again: mammo eval --run {judged.run}")


def _train_on_all(arguments: argparse.Namespace) -> None:
    others = {
        "-c": arguments.config,
        "-o": arguments.override,
        "--folds": arguments.folds,
        "--resume": arguments.resume,
        "--dry-run": arguments.dry_run,
    }
    if given := [name for name, value in others.items() if value or (name == "--resume" and value is not None)]:
        raise SettingsError(f"--on-all takes the settings of its folds: remove {', '.join(given)}")
    from mammo.runs import find_run
    from mammo.settings.load import load_settings

    crossed = find_run(arguments.on_all.parent, arguments.on_all)
    settings = load_settings(crossed / "config.yaml")
    use_device(settings)
    from mammo.training.distributed import join_world
    from mammo.training.on_all import train_on_all

    if join_world().size > 1:
        raise SettingsError("--on-all: one process trains on all cases; start it without the launcher")
    run = train_on_all(crossed, settings.output)
    print(f"written: {run}; no case judges this network: its recipe's results are those of {crossed}")
    print(f"export it: mammo export {run}")


def _add_folds(arguments: argparse.Namespace) -> None:
    """Add `--folds K` to the settings, as `data.folds`.

    Raises:
        SettingsError: The overrides name folds too.
    """
    if not arguments.folds or arguments.resume is not None:
        return
    folds = ("data.folds", "data.fold")
    if given := [override for override in arguments.override if override.partition("=")[0].strip() in folds]:
        others = ", ".join(given)
        raise SettingsError(f"--folds {arguments.folds}: trains all folds, got also {others}; remove one of them")
    arguments.override.append(f"data.folds={arguments.folds}")
