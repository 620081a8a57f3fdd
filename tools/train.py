"""Does what `mammo train` does, in a checkout: `python tools/train.py --help`."""

from mammo.commands.main import run_tool

if __name__ == "__main__":
    run_tool("train")
