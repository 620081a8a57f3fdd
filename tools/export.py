"""Export a run's best network: `python tools/export.py output/latest` makes `output/latest/export`, which tools/predict.py can ask."""

from pathlib import Path

from mammo.commands.shared import Parser, at_least, run, say_where_run


def main() -> None:
    """Write the folder and tell how close each engine's logits are."""
    parser = Parser(description=__doc__)
    parser.add_argument(
        "run", nargs="?", type=Path, metavar="RUN", help="a run folder (default: the newest below --output)"
    )
    parser.add_argument("--output", type=Path, default=Path("output"), metavar="DIR", help="the folder of all runs")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the new folder (default: export/ in the run folder)")
    parser.add_argument(
        "--images",
        type=at_least(1),
        default=100,
        metavar="N",
        help="compare logits on so many of the run's cases (default 100)",
    )
    arguments = parser.parse_args()
    folder = say_where_run(arguments)
    from mammo.progress import print_table
    from mammo.serving.export import CLOSE_ENOUGH, export_run

    out = arguments.out or folder / "export"
    manifest = export_run(folder, out, images=arguments.images)
    rows = [(name, parity.images, f"{parity.largest_difference:.1e}") for name, parity in manifest.parity.items()]
    print_table(
        "logits beside the checkpoint's", ("engine", "images", f"largest difference (bar {CLOSE_ENOUGH:g})"), rows
    )
    print(f"exported: {out}; ask it: python tools/predict.py FILES --export {out}")


if __name__ == "__main__":
    run(main)
