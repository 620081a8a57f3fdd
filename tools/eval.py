"""Judge: `python tools/eval.py` judges the newest run's best network on its test part; `--data` another set, `--scores` any scores."""

import argparse
from pathlib import Path

from mammo.command import run


def main() -> None:
    """Print the table and write report/metrics.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, metavar="DIR", help="a run folder (default: the newest below --output)")
    parser.add_argument("--output", type=Path, default=Path("output"), metavar="DIR", help="the folder of all runs")
    parser.add_argument("--data", type=Path, metavar="CSV", help="a manifest: judge the run's network on all of it")
    parser.add_argument(
        "--scores", type=Path, metavar="CSV", help="a score table of any system, judged at the run's threshold, or at 0.5 without --run"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where report/metrics.json goes (default: the run folder, or the table's)")
    arguments = parser.parse_args()
    from mammo.report.text import show_judgement

    if arguments.scores:
        from mammo.inference.judge_scores import judge_scores

        judgement, path = judge_scores(arguments.scores, run_folder=arguments.run, out=arguments.out)
        show_judgement(judgement, str(arguments.scores))
    else:
        from mammo.inference.evaluate import evaluate_run
        from mammo.runs import find_run

        folder = find_run(arguments.output, arguments.run)
        judgement, path, about = evaluate_run(folder, manifest=arguments.data, out=arguments.out)
        show_judgement(judgement, about, phantom="phantom" in about)
    print(f"written: {path}")


if __name__ == "__main__":
    run(main)
