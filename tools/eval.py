"""Judge: `python tools/eval.py` judges the newest run on its test part; `--data` another set, `--scores` any system's scores."""

from mammo.commands.shared import check_eval_options, eval_parser, run, say_machine, say_where_run


def main() -> None:
    """Print the judgement and write the report."""
    arguments = eval_parser(__doc__).parse_args()
    check_eval_options(arguments)
    from mammo.report.text import show_judged, show_summary

    if arguments.summary:
        from mammo.report.summary import summarise

        show_summary(summarise(arguments.summary, arguments.task or "lesion"))
        return
    if arguments.scores:
        from mammo.judging.score_table import judge_scores

        say_machine()
        judged = judge_scores(
            arguments.scores, run_folder=arguments.run, task=arguments.task, out=arguments.out, labels=arguments.labels
        )
    else:
        arguments.run = arguments.ensemble[0] if arguments.ensemble else arguments.run
        folder = say_where_run(arguments)
        from mammo.judging.ensemble import judge_ensemble
        from mammo.judging.run_folder import judge_run_folder

        where = {"output": arguments.output, "manifest": arguments.data, "out": arguments.out}
        if arguments.ensemble:
            judged = judge_ensemble(arguments.ensemble, **where)
        else:
            judged = judge_run_folder(folder, **where, overrides=arguments.override)
    show_judged(judged)
    from mammo.report.write import write_report

    print(f"written: {judged.file} and {write_report(judged)}")


if __name__ == "__main__":
    run(main)
