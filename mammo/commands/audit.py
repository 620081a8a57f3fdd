"""Check a data set's split: who is in which part, and which patients leak. `--csv DIR` reads CBIS-DDSM's CSVs alone."""

import argparse
from pathlib import Path

from mammo.commands.shared import add_cluster, add_settings, read_settings, use_no_network
from mammo.settings.schema import Settings


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mammo audit`."""
    add_settings(parser)
    what = "audit the four official CSVs of CBIS-DDSM alone, without images"
    parser.add_argument("--csv", type=Path, metavar="DIR", help=what)
    add_cluster(parser)


def main(arguments: argparse.Namespace) -> None:
    """Print the audit.

    Raises:
        SplitError: The split leaks; the patients are named.
    """
    use_no_network()
    if arguments.csv:
        _audit_csvs(arguments.csv)
    else:
        _audit_split(read_settings(arguments), arguments.cluster)


def _audit_csvs(folder: Path) -> None:
    from mammo.cases.audit import audit_table, refuse_leaks
    from mammo.cases.cbis_ddsm import read_official_csvs
    from mammo.report.text import show_audit

    audit = audit_table(read_official_csvs(folder))
    show_audit(audit, f"CBIS-DDSM, official split, {folder}")
    print("films: not checked (--csv reads the tables alone)")
    refuse_leaks(audit, split_name="official")


def _audit_split(settings: Settings, cluster: str) -> None:
    from mammo.cases.audit import audit_split, refuse_leaks, refuse_shared_films
    from mammo.prepare.film_checks import find_duplicates
    from mammo.prepare.gather import gather_split
    from mammo.prepare.readers import check_places
    from mammo.report.text import show_audit, show_exclusions, show_list, show_warnings

    check_places(settings)
    split = gather_split(settings)
    audit = audit_split(split)
    show_audit(audit, f"{settings.data.kind}, task {settings.data.task}, split {settings.data.split}")
    alike, shared, absent = find_duplicates(split, cluster=cluster)
    films = split.samples.views["image"].nunique()
    if absent:
        print(f"films: {absent} of {films} are missing (or may not be read) and were not checked")
    if absent < films:
        show_list("films with the very same content", alike)
        show_list("patients with a film in several parts", shared)
    show_exclusions(split.samples.excluded)
    show_warnings(split.samples.warned)
    print(f"split SHA-256: {split.sha256}")
    refuse_leaks(audit, split_name=settings.data.split, same_patients=settings.data.same_patients)
    refuse_shared_films(shared)
