"""Export a run's best network: `mammo export output/latest` makes `output/latest/export`, for `mammo predict`."""

import argparse
from pathlib import Path

from mammo.commands.shared import add_output, at_least, use_device_of_run


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mammo export`."""
    what = "a run folder (default: the newest below --output)"
    parser.add_argument("run", nargs="?", type=Path, metavar="RUN", help=what)
    add_output(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="the new folder (default: export/ in the run folder)")
    what = "compare logits on this many of the run's cases (default 100)"
    parser.add_argument("--half", action="store_true", help="store weights in 16 bits, as ONNX only: half the size")
    parser.add_argument("--images", type=at_least(1), default=100, metavar="N", help=what)


def main(arguments: argparse.Namespace) -> None:
    """Write the folder and print how close each engine's logits are."""
    folder, _ = use_device_of_run(arguments)
    from mammo.progress import print_table
    from mammo.serving.export import CLOSE_ENOUGH, CLOSE_IN_HALF, export_run

    out = arguments.out or folder / "export"
    described = export_run(folder, out, images=arguments.images, half=arguments.half)
    bar = CLOSE_IN_HALF if arguments.half else CLOSE_ENOUGH
    rows = [(name, parity.images, f"{parity.largest_difference:.1e}") for name, parity in described.parity.items()]
    header = ("engine", "images", f"largest difference (bar {bar:g})")
    print_table("logits beside the checkpoint's", header, rows)
    print(f"exported: {out}; use it: mammo predict FILES --export {out}")
