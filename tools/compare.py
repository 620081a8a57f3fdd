"""Does what `mammo compare` does, in a checkout: `python tools/compare.py --help`."""

from mammo.commands.main import run_tool

if __name__ == "__main__":
    run_tool("compare")
