"""Does what `mammo eval` does, in a checkout: `python tools/eval.py --help`."""

from mammo.commands.main import run_tool

if __name__ == "__main__":
    run_tool("eval")
