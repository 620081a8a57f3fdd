"""Compare recipes by their out-of-fold scores: `mammo search GRID.yaml`. Run it again, and it goes on."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mammo.commands.shared import at_least, config_file, use_device, use_no_network
from mammo.errors import SettingsError

if TYPE_CHECKING:
    from mammo.search.grid import Search
    from mammo.search.table import Row

TRAIN = [sys.executable, "-m", "mammo", "train"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mammo search`."""
    what = "a YAML file: config, set, folds, only_folds, baseline, variants, grid (see docs/results.md)"
    parser.add_argument("grid", type=Path, metavar="GRID", help=what)
    what = "folds trained at a time, with one thread each (default: the number of cores)"
    parser.add_argument("--processes", type=at_least(1), metavar="N", help=what)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--table", action="store_true", help="make the table again of what is there; train nothing")
    instead.add_argument("--dry-run", action="store_true", help="check and list the variants; train nothing")


def main(arguments: argparse.Namespace) -> int:
    """Train the folds that are missing, then print and write the table; returns 1 where a fold failed."""
    from mammo.runtime import available_cores
    from mammo.search.grid import read_search, refuse_changed

    search, processes = read_search(arguments.grid, _find_config), arguments.processes or available_cores()
    refuse_changed(search)
    if arguments.table:
        use_no_network()
        _show(search)
        return 0
    use_device(search.variants[search.baseline])
    from mammo.search.folds import check_recipes, train_folds

    if arguments.dry_run:
        from mammo.search.table import show_plan

        check_recipes(search)
        show_plan(search, processes)
        return 0
    outcome = train_folds(search, processes, TRAIN)
    _write_reports(_show(search), outcome.trained)
    for line in outcome.failed:
        print(f"mammo: error: {line}", file=sys.stderr)
    return 1 if outcome.failed else 0


def _find_config(name: str) -> Path:
    try:
        return config_file(name)
    except argparse.ArgumentTypeError as error:
        raise SettingsError(f"config: {error}") from None


def _show(search: "Search") -> "list[Row]":
    from mammo.search.table import make_rows, show_table, write_table

    rows = make_rows(search)
    show_table(search, rows)
    table, page = write_table(search, rows)
    print(f"written: {table} and {page}", flush=True)
    return rows


def _write_reports(rows: "list[Row]", trained: set[str]) -> None:
    """Write the report of each variant that has a new fold, or none yet."""
    from mammo.report.write import write_report

    for row in rows:
        if row.judged and (row.name in trained or not (row.judged.out / "report" / "index.html").is_file()):
            print(f"written: {write_report(row.judged)}", flush=True)
