"""Measure: `python tools/bench.py train -c configs/quickstart.yaml` compares training steps with paddle as it comes."""

import statistics
import tempfile
from pathlib import Path

from mammo.command import at_least, read_settings, run, say_where, settings_parser


def main() -> None:
    """Print images per second of both, interleaved, and their ratio; or, with `learn`, how the loss falls."""
    parser = settings_parser(__doc__)
    parser.add_argument(
        "what", choices=("train", "learn", "yardstick"), help="speed beside plain paddle; the loss over some steps; frozen features"
    )
    parser.add_argument(
        "--steps", type=at_least(3), default=8, metavar="N", help="training steps a measurement (default 8; learn: 50 is usual)"
    )
    parser.add_argument("--rounds", type=at_least(1), default=3, metavar="N", help="measurements of each (default 3)")
    parser.add_argument(
        "--cases", type=at_least(0), default=0, metavar="N", help="learn: from the first N training cases, over and over (default: all)"
    )
    arguments = parser.parse_args()
    settings = read_settings(arguments)
    say_where(settings)
    if arguments.what == "yardstick":
        from mammo.bench.yardstick import measure_yardstick

        print("test part, frozen features: " + ", ".join(f"{name} {metric}" for name, metric in measure_yardstick(settings).items()))
        return
    from mammo.bench.steps import loss_fall, run_in_process, run_steps

    if arguments.what == "learn":
        result = run_steps(settings, arguments.steps, cases=arguments.cases)
        print(" ".join(f"{loss:.3f}" for loss in result.losses))
        first, last = (statistics.fmean(part) for part in (result.losses[:10], result.losses[-10:]))
        print(f"mean loss {first:.3f} of the first ten steps, {last:.3f} of the last ten: {loss_fall(result.losses):.0%} lower")
        print(f"{result.images_per_s:.2f} images/s")
        return
    ours, plain = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.rounds):
            plain.append(run_in_process(settings, arguments.steps, folder=Path(folder), plain=True).images_per_s)
            ours.append(run_in_process(settings, arguments.steps, folder=Path(folder), plain=False).images_per_s)
            print(f"images/s: plain paddle {plain[-1]:.2f}, with the runtime {ours[-1]:.2f}, ratio {ours[-1] / plain[-1]:.2f}", flush=True)
    ratio = statistics.median(fast / slow for fast, slow in zip(ours, plain, strict=True))
    print(f"medians: plain {statistics.median(plain):.2f}, ours {statistics.median(ours):.2f} images/s, ratio {ratio:.2f}")


if __name__ == "__main__":
    run(main)
