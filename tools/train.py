"""Fine-tune: `python tools/train.py -c configs/quickstart.yaml`; then see `visualdl --logdir output` and tools/eval.py."""

from pathlib import Path

from mammo.commands.shared import add_folds, at_least, read_settings, resumed_run, run, say_where, settings_parser


def main() -> None:
    """Train one run, or one per fold, or try it dry."""
    parser = settings_parser(__doc__)
    parser.add_argument(
        "--dry-run", action="store_true", help="build everything, send one batch through, estimate; write nothing"
    )
    parser.add_argument(
        "--folds", type=at_least(2), metavar="K", help="cross-validate: a run for each of K patient-grouped folds"
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const=Path(),
        type=Path,
        metavar="RUN",
        help="go on with a stopped run (the newest, where none is named)",
    )
    arguments = parser.parse_args()
    add_folds(arguments)
    settings, folder = resumed_run(arguments) if arguments.resume is not None else (read_settings(arguments), None)
    say_where(settings)
    if arguments.dry_run:
        from mammo.report.text import show_dry_run
        from mammo.training.dry_run import dry_run

        tried = dry_run(settings)
        show_dry_run(tried.parts, tried.excluded, tried.lines)
        return
    from mammo.training.folds import train

    judged = train(
        settings, arguments.config.stem if arguments.config else "defaults", folds=arguments.folds or 0, resume=folder
    )
    if judged is None:  # of several processes, the first one tells
        return
    from mammo.report.text import show_judged
    from mammo.report.write import write_report

    show_judged(judged)
    print(f"written: {write_report(judged)}")
    print(f"see the curves: visualdl --logdir {settings.output}; judge again: python tools/eval.py --run {judged.run}")


if __name__ == "__main__":
    run(main)
