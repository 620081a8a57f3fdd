"""Say who is in which part, and who leaks: `python tools/audit.py -c configs/resnet50_vd.yaml`, or `--csv DIR` for CBIS-DDSM's CSVs."""

from pathlib import Path

from mammo.commands.shared import add_cluster, read_settings, run, say_machine, settings_parser


def main() -> None:
    """Print the audit; a leaking split ends with exit code 2 and the patients' names."""
    parser = settings_parser(__doc__)
    parser.add_argument(
        "--csv", type=Path, metavar="DIR", help="audit the four official CSVs of CBIS-DDSM alone, without images"
    )
    add_cluster(parser)
    arguments = parser.parse_args()
    say_machine()
    from mammo.cases.audit import audit_split, audit_table, refuse_leaks, refuse_shared_films
    from mammo.report.text import show_audit, show_exclusions, show_list, show_warnings

    if arguments.csv:
        from mammo.cases.cbis_ddsm import read_official_csvs

        audit = audit_table(read_official_csvs(arguments.csv))
        show_audit(audit, f"CBIS-DDSM, official split, {arguments.csv}")
        print("films: not looked at (--csv reads the tables alone)")
        refuse_leaks(audit, split_name="official")
        return
    settings = read_settings(arguments)
    from mammo.prepare.duplicates import find_duplicates
    from mammo.prepare.early import check_places
    from mammo.prepare.gather import gather_split

    check_places(settings)
    split = gather_split(settings)
    audit = audit_split(split)
    show_audit(audit, f"{settings.data.kind}, task {settings.data.task}, split {settings.data.split}")
    alike, shared, absent = find_duplicates(split, cluster=arguments.cluster)
    films = split.samples.views["image"].nunique()
    if absent:
        print(f"films: {absent} of {films} are not there (or may not be read) and were not looked at")
    if absent < films:
        show_list("films with the very same content", alike)
        show_list("patients whose film stands in several parts", shared)
    show_exclusions(split.samples.excluded)
    show_warnings(split.samples.warned)
    print(f"split SHA-256: {split.sha256}")
    refuse_leaks(audit, split_name=settings.data.split, same_patients=settings.data.same_patients)
    refuse_shared_films(shared)


if __name__ == "__main__":
    run(main)
