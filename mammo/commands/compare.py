"""Test how runs or score tables differ from the first one: `mammo compare RUN_A RUN_B`; `--list` lists all runs."""

import argparse
from pathlib import Path
from typing import get_args

from mammo.commands.shared import add_output, use_no_network
from mammo.settings.types import Task


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mammo compare`."""
    what = "run folders, or score tables (CSV) of any system"
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help=what)
    parser.add_argument("--list", action="store_true", help="list the runs below --output instead")
    add_output(parser)
    what = "lesion, finding, image, breast or patient (default: the first run's task)"
    parser.add_argument("--level", default="", metavar="LEVEL", help=what)
    tasks = get_args(Task)
    parser.add_argument("--task", choices=tasks, default="lesion", help="what a case of a score table is")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the comparison goes (default: OUTPUT/compare)")


def main(arguments: argparse.Namespace) -> None:
    """Print the differences with intervals and tests, and write compare.json and compare.png."""
    use_no_network()
    from mammo.report.text import show_comparisons, show_runs

    if arguments.list:
        show_runs(arguments.output)
        return
    from mammo.judging.comparison import compare_paths
    from mammo.report.charts import write_comparison

    systems, comparisons = compare_paths(arguments.runs, level=arguments.level, task=arguments.task)
    show_comparisons(comparisons)
    print(f"written: {write_comparison(systems, comparisons, arguments.out or arguments.output / 'compare')}")
