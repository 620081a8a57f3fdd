"""Decode and crop all films once, into the store: `mammo prepare -c quickstart`; `--preview 24` draws some of them."""

import argparse
from pathlib import Path

from mammo.commands.shared import add_cluster, add_settings, at_least, read_settings, use_no_network


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mammo prepare`."""
    add_settings(parser)
    parser.add_argument("--preview", type=at_least(1), metavar="N", help="write a contact sheet of N prepared views")
    what = "where the contact sheet goes (default: OUTPUT/preview.png)"
    parser.add_argument("--out", type=Path, metavar="PNG", help=what)
    what = "decode films in a process of their own, with limits of time and memory"
    parser.add_argument("--untrusted", action="store_true", help=what)
    add_cluster(parser)


def main(arguments: argparse.Namespace) -> None:
    """Prepare all films that settings name, and list what was left out."""
    if arguments.untrusted:
        arguments.override.append("data.untrusted=true")
    if arguments.cluster:
        arguments.override.append(f"data.cluster={arguments.cluster}")
    settings = read_settings(arguments)
    use_no_network()
    from mammo.prepare.contact_sheet import doubtful_views, write_contact_sheet
    from mammo.prepare.gather import gather_split, prepare_split
    from mammo.prepare.readers import check_places, words_of
    from mammo.report.text import show_exclusions, show_warnings

    check_places(settings)
    prepared = prepare_split(settings, gather_split(settings), thorough=True)
    print(f"prepared: {len(prepared.entries)} views of {len(prepared.split.samples)} cases in {prepared.store.folder}")
    show_exclusions(prepared.split.samples.excluded)
    doubtful = len(doubtful_views(prepared))
    if arguments.preview or doubtful:
        path = arguments.out or settings.output / ("preview.png" if arguments.preview else "doubtful_films.png")
        generated = words_of(settings.data.kind).generated
        write_contact_sheet(prepared, path, count=arguments.preview or 0, seed=settings.seed, phantom=generated)
        first = f", the {doubtful} doubtful views first, framed in orange" if doubtful else ""
        print(f"contact sheet: {path}{first}")
    show_warnings(prepared.split.samples.warned)
