"""Does what `mammo audit` does, in a checkout: `python tools/audit.py --help`."""

from mammo.commands.main import run_tool

if __name__ == "__main__":
    run_tool("audit")
