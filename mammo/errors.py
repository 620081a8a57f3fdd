"""The error tree: everything a user can cause ends in one of these, and each is told in one line."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

MOST_FAULTS_SHOWN = 12


class MammoError(Exception):
    """What was expected, what came, from which file, what to do: one line; a command then exits with code 2."""


class SettingsError(MammoError):
    """A setting is unknown, of the wrong type or out of range."""


class DataMissingError(MammoError):
    """Data that the settings name is not there; the message says where to get it and where to put it."""


class CaseError(MammoError):
    """A table of cases breaks its contract."""


class SplitError(MammoError):
    """A split leaks patients, or has a part from which nothing can be learnt or measured."""


class ImageError(MammoError):
    """A file is no image that can be read, or its content contradicts its header."""


class MaskError(ImageError):
    """A lesion's mask cannot be laid onto its film; such lesions are listed exclusions, not a broken file."""


class StoreError(MammoError):
    """An entry of the prepared store is missing or damaged."""


class LoaderError(MammoError):
    """The processes that load images have ended before their time."""


class WeightsError(MammoError):
    """A weight file or a checkpoint cannot be read, or does not fit the network."""


class ScoreError(MammoError):
    """A score table breaks its contract."""


class TrainingError(MammoError):
    """Training cannot start or go on."""


class InUseError(MammoError):
    """Another process is at work on the same run, store or download."""


class Stopped(KeyboardInterrupt):
    """A signal asked the command to end; it does so with exit code 128 + `number`, and tells `advice`."""

    def __init__(self, number: int, advice: str = "") -> None:
        super().__init__(number)
        self.number, self.advice = number, advice

    def __str__(self) -> str:
        how = "the keyboard" if self.number == signal.SIGINT else signal.Signals(self.number).name
        return f"stopped by {how}" + (f"; {self.advice}" if self.advice else "")


@contextmanager
def plain_stops() -> Iterator[None]:
    """Give a stop that Python has wrapped as itself: up to 3.11 a class in the making, as imports make them, wraps what is raised in it."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise error.__cause__ from None
        raise


def in_one_line(what: str, faults: Sequence[str]) -> str:
    """Join the faults of one file to the single line that a user reads.

    Args:
        what: The file, or the thing that has the faults.
        faults: At least one fault, each a short sentence.

    Returns:
        `what: fault`, or `what: 3 faults: (1) …; (2) …; (3) …`; past twelve, the rest is counted.
    """
    if len(faults) == 1:
        return f"{what}: {faults[0]}"
    shown = [f"({number}) {fault}" for number, fault in enumerate(faults[:MOST_FAULTS_SHOWN], 1)]
    more = len(faults) - MOST_FAULTS_SHOWN
    tail = f"; and {more} more" if more > 0 else ""
    return f"{what}: {len(faults)} faults: " + "; ".join(shown) + tail


def first_line(error: Exception) -> str:
    """A library's error in a few words: its first line, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def few_of(names: Sequence[str], most: int = 6) -> str:
    """The first few of some names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
