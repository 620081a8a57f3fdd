"""List the settings files that come with mammo, or copy one of them to edit: `mammo configs quickstart`."""

import argparse
import shutil
from pathlib import Path

from mammo.commands.shared import shipped_configs
from mammo.errors import SettingsError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mammo configs`."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="the file to copy, without .yaml")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the copy (default: NAME.yaml in this folder)")


def main(arguments: argparse.Namespace) -> None:
    """Print the names, or write a copy.

    Raises:
        SettingsError: There is no such file, or the copy would replace one.
    """
    shipped = shipped_configs()
    if arguments.name is None:
        for name, path in shipped.items():
            print(f"{name}\n    {_first_comment(path)}")
        print("train one: mammo train -c NAME; copy one: mammo configs NAME")
        return
    if arguments.name not in shipped:
        raise SettingsError(f"{arguments.name}: no such settings file; expected one of {', '.join(shipped)}")
    out = arguments.out or Path(f"{arguments.name}.yaml")
    if out.exists():
        raise SettingsError(f"{out}: already exists; remove it or name another file with --out")
    shutil.copyfile(shipped[arguments.name], out)
    print(f"written: {out}; train it: mammo train -c {out}")


def _first_comment(path: Path) -> str:
    """Return the first comment of a settings file, on one line."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines)
