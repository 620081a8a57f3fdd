"""Lets `python -m mammo VERB …` do what `mammo VERB …` does."""

from mammo.commands.main import main

if __name__ == "__main__":
    main()
