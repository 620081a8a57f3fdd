"""Does what `mammo prepare` does, in a checkout: `python tools/prepare.py --help`."""

from mammo.commands.main import run_tool

if __name__ == "__main__":
    run_tool("prepare")
