"""Does what `mammo export` does, in a checkout: `python tools/export.py --help`."""

from mammo.commands.main import run_tool

if __name__ == "__main__":
    run_tool("export")
