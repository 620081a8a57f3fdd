"""Compare: `python tools/compare.py RUN_A RUN_B` tests the second's differences from the first; `--list` lists all runs."""

from pathlib import Path

from mammo.commands.shared import Parser, run, say_machine


def main() -> None:
    """Print the differences with intervals and tests, and write compare.json and compare.png."""
    parser = Parser(description=__doc__)
    parser.add_argument(
        "runs", nargs="*", type=Path, metavar="RUN", help="run folders, or score tables (CSV) of any system"
    )
    parser.add_argument("--list", action="store_true", help="list the runs below --output instead")
    parser.add_argument("--output", type=Path, default=Path("output"), metavar="DIR", help="the folder of all runs")
    parser.add_argument(
        "--level", default="", metavar="LEVEL", help="lesion, image, breast or patient (default: the first run's task)"
    )
    parser.add_argument(
        "--task", choices=("lesion", "image", "breast"), default="lesion", help="what a case of a score table is"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the comparison goes (default: OUTPUT/compare)")
    arguments = parser.parse_args()
    say_machine()
    from mammo.report.text import show_comparisons, show_runs

    if arguments.list:
        show_runs(arguments.output)
        return
    from mammo.judging.comparison import compare_paths
    from mammo.report.comparison import write_comparison

    systems, comparisons = compare_paths(arguments.runs, level=arguments.level, task=arguments.task)
    show_comparisons(comparisons)
    print(f"written: {write_comparison(systems, comparisons, arguments.out or arguments.output / 'compare')}")


if __name__ == "__main__":
    run(main)
