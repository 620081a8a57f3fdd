"""Starts the verb that the command line names: `mammo VERB …`, `python -m mammo VERB …` or `python tools/VERB.py …`.

A verb is a row of `VERBS` and a file of that name beside this one, with `add_options(parser)` and `main(arguments)`.
Only the file of the verb that was asked for is imported, so that `mammo --help` answers at once.
"""

import sys
from importlib import import_module

from mammo import __version__

VERBS = {
    "configs": "list the settings files that come with mammo, or copy one",
    "audit": "check a split: who is in which part, which patients leak",
    "prepare": "decode and crop all films once; draw a contact sheet of them",
    "train": "fine-tune a network, or one for each fold of a cross-validation",
    "eval": "judge a run, an ensemble, another data set or any score table",
    "search": "compare recipes by their out-of-fold scores, a grid in a file",
    "compare": "compare judged runs with the first one; list all runs",
    "export": "export a run's best network for use without PaddlePaddle",
    "predict": "score films with a run or an exported network",
    "deidentify": "copy DICOM files without names",
    "bench": "measure speed and memory on this machine",
}


def main() -> None:
    """Run `mammo VERB OPTIONS` and end the process."""
    first = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if first in VERBS:
        _run(first, sys.argv[2:], prog=f"mammo {first}")
    if first == "--version":
        print(f"mammo {__version__}")
        sys.exit(0)
    if first in ("-h", "--help", "help"):
        print(overview())
        sys.exit(0)
    print(f"mammo: error: expected one of {', '.join(VERBS)}, got {first!r}; see mammo --help", file=sys.stderr)
    sys.exit(2)


def run_tool(verb: str) -> None:
    """Run `python tools/VERB.py OPTIONS` and end the process."""
    _run(verb, sys.argv[1:], prog=f"tools/{verb}.py")


def overview() -> str:
    """Return the help of `mammo`: each verb with a line on it."""
    rows = [f"  {verb:<12}{what}" for verb, what in VERBS.items()]
    usage = "usage: mammo VERB [OPTIONS]"
    about = "Mammogram classification with PaddlePaddle. Research only, not a medical device."
    example = "Start: mammo train -c quickstart. Then: mammo eval. Options: mammo VERB --help."
    return "\n".join([usage, "", about, "", *rows, "", example])


def _run(verb: str, arguments: list[str], *, prog: str) -> None:
    command = import_module(f"mammo.commands.{verb}")
    shared = import_module("mammo.commands.shared")
    parser = shared.Parser(prog=prog, description=command.__doc__)
    command.add_options(parser)
    shared.run(lambda: command.main(parser.parse_intermixed_args(arguments)))
