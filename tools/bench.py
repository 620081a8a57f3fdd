"""Measure: `python tools/bench.py train -c configs/quickstart.yaml` compares training steps with paddle as it comes."""

from pathlib import Path

from mammo.commands.shared import at_least, read_settings, run, say_where, settings_parser

WHAT = """train: speed beside plain paddle; learn: the loss over some steps; yardstick: frozen features; soak: a training killed at
random and resumed beside one left alone; reach: how long two recipes take to a validation AUC; prepare, loader, finetune, infer (and
8-bit numbers), evaluation, growth, start: speed and memory of each; all: these together. JSON and a plot go below the output folder"""
CHOICES = [
    "train",
    "learn",
    "yardstick",
    "evaluation",
    "soak",
    "prepare",
    "loader",
    "infer",
    "growth",
    "start",
    "finetune",
    "reach",
    "all",
]


def main() -> None:
    """Measure what is named."""
    parser = settings_parser(__doc__)
    parser.add_argument("what", choices=CHOICES, help=WHAT)
    parser.add_argument(
        "--steps",
        type=at_least(3),
        default=8,
        metavar="N",
        help="training steps a measurement (default 8; learn: 50 is usual)",
    )
    parser.add_argument("--rounds", type=at_least(1), default=3, metavar="N", help="measurements of each (default 3)")
    parser.add_argument(
        "--cases",
        type=at_least(0),
        default=0,
        metavar="N",
        help="learn: from the first N training cases; growth, evaluation: up to N; prepare: N small films (default: all)",
    )
    parser.add_argument("--kills", type=at_least(1), default=40, metavar="N", help="soak: how many (default 40)")
    parser.add_argument(
        "--minutes", type=at_least(1), default=30, metavar="N", help="soak: spread over about so many (default 30)"
    )
    parser.add_argument("--run", type=Path, metavar="RUN", help="infer, all: a run with its export/")
    parser.add_argument("--against", type=Path, metavar="FILE", help="reach, all: the second recipe's settings")
    parser.add_argument("--auc", type=float, default=0.8, help="reach, all: of the validation part (default 0.8)")
    arguments = parser.parse_args()
    settings = read_settings(arguments)
    say_where(settings)
    from mammo.commands.bench import BENCHMARKS

    BENCHMARKS[arguments.what](settings, arguments)


if __name__ == "__main__":
    run(main)
