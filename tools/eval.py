"""Judge: `python tools/eval.py` judges the newest run's best network on its test part; `--data` another set, `--scores` any scores."""

import argparse
from pathlib import Path

from mammo.command import run, say_machine, say_where_run


def main() -> None:
    """Print the table and write report/metrics.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, metavar="DIR", help="a run folder (default: the newest below --output)")
    parser.add_argument("--output", type=Path, default=Path("output"), metavar="DIR", help="the folder of all runs")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--data", type=Path, metavar="CSV", help="a manifest: judge the run's network on all of it")
    source.add_argument(
        "--scores", type=Path, metavar="CSV", help="a score table of any system, judged at the run's threshold, or at 0.5 without --run"
    )
    parser.add_argument("--summary", type=Path, nargs="+", metavar="RUN", help="mean and spread of several judged runs")
    parser.add_argument(
        "--task",
        choices=("lesion", "image", "breast"),
        help="what a case of --scores is, or the level of --summary (default: the run's, or lesion)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where report/metrics.json goes (default: the run folder, or the table's)")
    arguments = parser.parse_args()
    from mammo.report.text import show_evaluation, show_judgement, show_summary

    if arguments.summary:
        from mammo.report.summary import summarise

        show_summary(summarise(arguments.summary, arguments.task or "lesion"))
        return
    if arguments.scores:
        from mammo.inference.judge_scores import judge_scores

        say_machine()
        judgement, file = judge_scores(arguments.scores, run_folder=arguments.run, task=arguments.task, out=arguments.out)
        show_judgement(judgement, str(arguments.scores))
    else:
        folder = say_where_run(arguments)
        from mammo.inference.evaluate import evaluate_run

        evaluation = evaluate_run(folder, manifest=arguments.data, out=arguments.out)
        show_evaluation(evaluation)
        file = evaluation.file
    print(f"written: {file}")


if __name__ == "__main__":
    run(main)
