"""Judge the newest run on its test part. `--data` judges it on another set, `--scores` judges any system's scores."""

import argparse
from pathlib import Path

from mammo.commands.shared import add_overrides, add_run_options, use_device_of_run, use_no_network
from mammo.errors import SettingsError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mammo eval`."""
    add_run_options(parser)
    what = "a manifest: judge the run's network, or the ensemble, on all of it"
    parser.add_argument("--data", type=Path, metavar="CSV", help=what)
    source = parser.add_mutually_exclusive_group()
    what = "a score table of any system, judged at the run's threshold, or at 0.5 without --run"
    source.add_argument("--scores", type=Path, metavar="CSV", help=what)
    what = "with --scores of mammo predict: the manifest with patients and labels"
    parser.add_argument("--labels", type=Path, metavar="CSV", help=what)
    what = "the mean logit of runs of one split, or of a cross-validation's folds"
    source.add_argument("--ensemble", type=Path, nargs="+", metavar="RUN", help=what)
    what = "mean and spread of several judged runs"
    source.add_argument("--summary", type=Path, nargs="+", metavar="RUN", help=what)
    add_overrides(parser, "change one evaluation.… setting for this judgement; needs --out")
    levels = ("lesion", "finding", "image", "breast", "patient")
    parser.add_argument("--task", choices=levels, help="what a case of --scores is, or the level of --summary")
    what = "where scores and report/ go (default: the run folder, or the table's)"
    parser.add_argument("--out", type=Path, metavar="DIR", help=what)


def main(arguments: argparse.Namespace) -> None:
    """Print the judgement and write the report."""
    _check(arguments)
    from mammo.report.text import show_judged, show_summary

    if arguments.summary:
        show_summary(arguments.summary, arguments.task or "lesion")
        return
    if arguments.scores:
        from mammo.judging.score_table import judge_scores

        use_no_network()
        how = {"run_folder": arguments.run, "task": arguments.task, "out": arguments.out, "labels": arguments.labels}
        judged = judge_scores(arguments.scores, **how)
    else:
        arguments.run = arguments.ensemble[0] if arguments.ensemble else arguments.run
        folder, _ = use_device_of_run(arguments)
        from mammo.judging.run_folder import judge_ensemble, judge_run_folder

        where = {"output": arguments.output, "manifest": arguments.data, "out": arguments.out}
        if arguments.ensemble:
            judged = judge_ensemble(arguments.ensemble, **where)
        else:
            judged = judge_run_folder(folder, **where, overrides=arguments.override)
    show_judged(judged)
    from mammo.report.write import write_report

    print(f"written: {judged.file} and {write_report(judged)}")


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that contradict each other.

    Raises:
        SettingsError: Naming them.
    """
    if arguments.data and (arguments.scores or arguments.summary):
        raise SettingsError("--data needs a network to score its films; --scores and --summary have none: remove one")
    if arguments.override and (arguments.scores or arguments.summary or arguments.ensemble):
        raise SettingsError("-o changes how a run's own network is judged: name the run with --run, or remove -o")
    if arguments.labels and not arguments.scores:
        raise SettingsError("--labels belongs to --scores of mammo predict; to judge a run on a manifest, give --data")
    if arguments.task == "patient" and not arguments.summary:
        raise SettingsError("--task patient: no case is a patient; expected lesion, finding, image or breast")
