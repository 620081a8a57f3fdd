"""Fill the store of prepared films: `python tools/prepare.py -c configs/resnet50_vd.yaml`; `--preview 24` draws a contact sheet."""

from pathlib import Path

from mammo.commands.shared import add_cluster, at_least, read_settings, run, say_machine, settings_parser


def main() -> None:
    """Prepare all films that settings name, and say what was left out."""
    parser = settings_parser(__doc__)
    parser.add_argument("--preview", type=at_least(1), metavar="N", help="write a contact sheet of N prepared views")
    parser.add_argument(
        "--out", type=Path, metavar="PNG", help="where the contact sheet goes (default: OUTPUT/preview.png)"
    )
    parser.add_argument(
        "--untrusted",
        action="store_true",
        help="decode films in a process of their own, with limits of time and memory",
    )
    add_cluster(parser)
    arguments = parser.parse_args()
    if arguments.untrusted:
        arguments.override.append("data.untrusted=true")
    if arguments.cluster:
        arguments.override.append(f"data.cluster={arguments.cluster}")
    settings = read_settings(arguments)
    say_machine()
    from mammo.prepare.contact_sheet import doubtful_views, write_contact_sheet
    from mammo.prepare.early import check_places
    from mammo.prepare.gather import gather_split, prepare_split
    from mammo.report.text import show_exclusions, show_warnings

    check_places(settings)
    prepared = prepare_split(settings, gather_split(settings), thorough=True)
    print(f"prepared: {len(prepared.entries)} views of {len(prepared.split.samples)} cases in {prepared.store.folder}")
    show_exclusions(prepared.split.samples.excluded)
    doubtful = len(doubtful_views(prepared))
    if arguments.preview or doubtful:
        path = arguments.out or settings.output / ("preview.png" if arguments.preview else "doubtful_films.png")
        write_contact_sheet(
            prepared, path, count=arguments.preview or 0, seed=settings.seed, phantom=settings.data.kind == "phantom"
        )
        print(
            f"contact sheet: {path}" + (f", the {doubtful} doubtful views first, framed in orange" if doubtful else "")
        )
    show_warnings(prepared.split.samples.warned)


if __name__ == "__main__":
    run(main)
