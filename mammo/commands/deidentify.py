"""Copy DICOM files without names: `mammo deidentify FOLDER --out COPIES`. A person must check each copy before use."""

import argparse
from collections import Counter
from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mammo deidentify`."""
    what = "DICOM files, or folders of them; hidden files are skipped"
    parser.add_argument("inputs", nargs="+", type=Path, metavar="IN", help=what)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="an empty or new folder for the copies")
    what = "a secret that keeps new ids the same in later runs; it is made if it does not exist"
    parser.add_argument("--key", type=Path, metavar="FILE", help=what)
    what = "write which copy belongs to which file: whoever reads it knows the patients"
    parser.add_argument("--mapping", type=Path, metavar="FILE", help=what)


def main(arguments: argparse.Namespace) -> int:
    """Print what was written, refused and skipped, and what a person must check; return 2 where a file was refused."""
    from mammo.deidentify.folder import copy_files, find_files, pseudonyms_of
    from mammo.deidentify.one_file import ADVICE, Copied, Refused
    from mammo.progress import print_table, track

    found = find_files(arguments.inputs, arguments.out, key=arguments.key, mapping=arguments.mapping)
    work = copy_files(found.dicom, arguments.out, pseudonyms_of(arguments.key), mapping=arguments.mapping)
    done = list(track(work, len(found.dicom), "copying without names"))
    copies = [outcome for outcome in done if isinstance(outcome, Copied)]
    refused = [outcome for outcome in done if isinstance(outcome, Refused)]
    for path in found.others:
        print(f"not DICOM: {str(path)!r}")
    for folder in found.unreadable:
        print(f"refused: {folder}: the folder may not be read")
    for copied in copies:
        for kind, detail in copied.warnings.items():
            if detail:
                print(f"warning: {str(copied.source)!r}: {kind}: {detail}")
    for refusal in refused:
        print(f"refused: {refusal.why}")
    counts = Counter(f"warning: {kind}" for copied in copies for kind in copied.warnings)
    objects = [(f"{kind}, skipped", count) for kind, count in sorted(found.objects.items())]
    rows = [("written", len(copies)), ("refused", len(refused)), ("not DICOM, skipped", len(found.others))]
    print_table(f"copies in {arguments.out}", ("", "files"), [*rows, *objects, *counts.most_common()])
    print(ADVICE)
    return 2 if refused or found.unreadable else 0
