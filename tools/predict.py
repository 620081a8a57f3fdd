"""Does what `mammo predict` does, in a checkout: `python tools/predict.py --help`."""

from mammo.commands.main import run_tool

if __name__ == "__main__":
    run_tool("predict")
