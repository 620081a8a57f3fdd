"""Check a data set's split: who is in which part, and which patients leak. `--csv DIR` reads CBIS-DDSM's CSVs alone."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mammo.commands.shared import add_cluster, add_settings, read_settings, use_no_network
from mammo.settings.schema import Settings

if TYPE_CHECKING:
    import pandas as pd


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mammo audit`."""
    add_settings(parser)
    what = "audit the four official CSVs of CBIS-DDSM alone, without images"
    parser.add_argument("--csv", type=Path, metavar="DIR", help=what)
    what = "write here which findings have views that differ in label or descriptors"
    parser.add_argument("--disagreements", type=Path, metavar="CSV", help=what)
    add_cluster(parser)


def main(arguments: argparse.Namespace) -> None:
    """Print the audit.

    Raises:
        SplitError: The split leaks; the patients are named.
    """
    use_no_network()
    if arguments.csv:
        _audit_csvs(arguments.csv, arguments.disagreements)
    else:
        _audit_split(read_settings(arguments), arguments.cluster, arguments.disagreements)


def _audit_csvs(folder: Path, disagreements: Path | None) -> None:
    from mammo.cases.audit import audit_table, refuse_leaks
    from mammo.cases.cbis_ddsm import read_official_csvs
    from mammo.report.text import show_audit

    table = read_official_csvs(folder)
    audit = audit_table(table)
    show_audit(audit, f"CBIS-DDSM, official split, {folder}")
    _audit_findings(table.frame, disagreements)
    print("films: not checked (--csv reads the tables alone)")
    refuse_leaks(audit, split_name="official")


def _audit_findings(frame: "pd.DataFrame", path: Path | None) -> None:
    from mammo.cases.findings import count_views, find_disagreements
    from mammo.files import written_beside
    from mammo.report.text import show_findings

    disagreements = find_disagreements(frame)
    show_findings(count_views(frame), disagreements)
    if path is not None:
        with written_beside(path) as beside:
            disagreements.to_csv(beside, index=False)
        print(f"written: {path}")


def _audit_split(settings: Settings, cluster: str, disagreements: Path | None) -> None:
    from mammo.cases.audit import audit_split, refuse_leaks, refuse_shared_films
    from mammo.prepare.film_checks import find_duplicates
    from mammo.prepare.gather import gather_split
    from mammo.prepare.readers import check_places, read_lesions
    from mammo.report.text import show_audit, show_exclusions, show_list, show_warnings

    check_places(settings)
    split = gather_split(settings)
    audit = audit_split(split)
    show_audit(audit, f"{settings.data.kind}, task {settings.data.task}, split {settings.data.split}")
    joined = settings.data.task == "finding"  # whose cases are findings, no longer their views
    _audit_findings(read_lesions(settings).frame if joined else split.samples.cases, disagreements)
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
