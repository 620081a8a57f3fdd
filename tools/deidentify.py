"""Does what `mammo deidentify` does, in a checkout: `python tools/deidentify.py --help`."""

from mammo.commands.main import run_tool

if __name__ == "__main__":
    run_tool("deidentify")
