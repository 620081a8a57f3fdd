"""Does what `mammo bench` does, in a checkout: `python tools/bench.py --help`."""

from mammo.commands.main import run_tool

if __name__ == "__main__":
    run_tool("bench")
