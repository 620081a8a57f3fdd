"""Copy DICOM without names: `python tools/deidentify.py FOLDER --out COPIES`; a person must look at each copy before it leaves."""

from collections import Counter
from pathlib import Path

from mammo.commands.shared import Parser, run


def main() -> int:
    """Print what was written, refused, passed by and is to be looked at; 2 where a file was refused."""
    parser = Parser(description=__doc__)
    parser.add_argument(
        "inputs", nargs="+", type=Path, metavar="IN", help="DICOM files, or folders of them; hidden files are passed by"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="an empty or new folder for the copies")
    parser.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="keeps new ids the same in later runs; made where it is not there; a secret",
    )
    parser.add_argument(
        "--mapping", type=Path, metavar="FILE", help="write which copy is whose: whoever reads it knows the patients"
    )
    arguments = parser.parse_args()
    from mammo.deidentify.folder import copy_files, find_files
    from mammo.deidentify.one_file import ADVICE, Copied, Refused
    from mammo.deidentify.pseudonyms import pseudonyms_of
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
        for remark in copied.remarks:
            if remark.detail:
                print(f"warning: {str(copied.source)!r}: {remark.kind}: {remark.detail}")
    for refusal in refused:
        print(f"refused: {refusal.why}")
    counts = Counter(f"warning: {remark.kind}" for copied in copies for remark in copied.remarks)
    objects = [(f"{kind}, skipped", count) for kind, count in sorted(found.objects.items())]
    rows = [
        ("written", len(copies)),
        ("refused", len(refused)),
        ("not DICOM, skipped", len(found.others)),
        *objects,
        *counts.most_common(),
    ]
    print_table(f"copies in {arguments.out}", ("", "files"), rows)
    print(ADVICE)
    return 2 if refused or found.unreadable else 0


if __name__ == "__main__":
    run(main)
