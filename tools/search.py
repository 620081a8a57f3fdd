"""Does what `mammo search` does, in a checkout: `python tools/search.py --help`."""

from mammo.commands.main import run_tool

if __name__ == "__main__":
    run_tool("search")
