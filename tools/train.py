"""Fine-tune: `python tools/train.py -c configs/quickstart.yaml`; then see `visualdl --logdir output` and tools/eval.py."""

from pathlib import Path

from mammo.command import read_settings, resumed_run, run, say_where, settings_parser


def main() -> None:
    """Train one run, or try it dry."""
    parser = settings_parser(__doc__)
    parser.add_argument("--dry-run", action="store_true", help="build everything, send one batch through, estimate; write nothing")
    parser.add_argument(
        "--resume", nargs="?", const=Path(), type=Path, metavar="RUN", help="go on with a stopped run (the newest, where none is named)"
    )
    arguments = parser.parse_args()
    settings, folder = resumed_run(arguments) if arguments.resume is not None else (read_settings(arguments), None)
    say_where(settings)
    if arguments.dry_run:
        from mammo.report.text import show_dry_run
        from mammo.training.dry_run import dry_run

        tried = dry_run(settings)
        show_dry_run(tried.parts, tried.excluded, tried.lines)
        return
    from mammo.report.curves import write_curves
    from mammo.report.text import show_judgement
    from mammo.training.fit import fit

    result = fit(settings, arguments.config.stem if arguments.config else "defaults", resume=folder)
    write_curves({"": result.folder}, result.folder / "report" / "curves.png")
    print(f"best epoch {result.best_epoch}: {settings.training.early_stopping.monitor} {result.best_value:.3f} (used for selection)")
    show_judgement(result.judgement, "test part", phantom=settings.data.kind == "phantom")
    print(f"see the curves: visualdl --logdir {settings.output}; judge again: python tools/eval.py --run {result.folder}")


if __name__ == "__main__":
    run(main)
