"""Defines the errors that a user can cause; a command reports each in one line."""

import difflib
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

MOST_FAULTS_SHOWN = 12


class MammoError(Exception):
    """What was expected, what came, from which file, what to do: one line; a command then exits with code 2."""


class SettingsError(MammoError):
    """A setting is unknown, of the wrong type or out of range."""


class DataMissingError(MammoError):
    """Data that the settings name is missing; the message says where to get it and where to put it."""


class CaseError(MammoError):
    """A table of cases breaks its contract."""


class SplitError(MammoError):
    """A split leaks patients, or one of its parts is too small to learn from or to measure."""


class ImageError(MammoError):
    """A file cannot be read as an image, or its content contradicts its header."""


class MaskError(ImageError):
    """A lesion's mask does not fit its film; such lesions are listed exclusions, not a broken file."""


class StoreError(MammoError):
    """An entry of the prepared store is missing or damaged."""


class LoaderError(MammoError):
    """A process that loads images ended too early."""


class WeightsError(MammoError):
    """A weight file or a checkpoint cannot be read, or does not fit the network."""


class ScoreError(MammoError):
    """A score table breaks its contract."""


class TrainingError(MammoError):
    """Training cannot start or continue."""


class InUseError(MammoError):
    """Another process works on the same run, store or download."""


class Stopped(KeyboardInterrupt):
    """A signal asked the command to end. Its exit code is 128 + `number`; `advice` says how to go on."""

    def __init__(self, number: int, advice: str = "") -> None:
        super().__init__(number)
        self.number, self.advice = number, advice

    def __str__(self) -> str:
        how = "the keyboard" if self.number == signal.SIGINT else signal.Signals(self.number).name
        return f"stopped by {how}" + (f"; {self.advice}" if self.advice else "")


@contextmanager
def plain_stops() -> Iterator[None]:
    """Unwrap a stop: up to Python 3.11, an error raised while a class is created is wrapped in a RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise error.__cause__ from None
        raise


@contextmanager
def advising(advice: str) -> Iterator[None]:
    """When the block is stopped, say how to go on."""
    try:
        with plain_stops():
            yield
    except KeyboardInterrupt as stop:
        number = stop.number if isinstance(stop, Stopped) else signal.SIGINT
        raise Stopped(number, advice) from None


def in_one_line(what: str, faults: Sequence[str]) -> str:
    """Join the errors of one file to the single line that a user reads.

    Args:
        what: The file, or whatever has the errors.
        faults: At least one error, each a short sentence.

    Returns:
        `what: error`, or `what: 3 errors: (1) …; (2) …; (3) …`; after twelve, the rest is counted.
    """
    if len(faults) == 1:
        return f"{what}: {faults[0]}"
    shown = [f"({number}) {fault}" for number, fault in enumerate(faults[:MOST_FAULTS_SHOWN], 1)]
    more = len(faults) - MOST_FAULTS_SHOWN
    tail = f"; and {more} more" if more > 0 else ""
    return f"{what}: {len(faults)} errors: " + "; ".join(shown) + tail


def first_line(error: Exception) -> str:
    """Return the first line of a library's error, or its type where it has no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def last_line(text: str) -> str:
    """Return the last line that is not empty; "" where there is none."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def few_of(names: Sequence[str], most: int = 6) -> str:
    """Return the first few of some names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return `; did you mean X?` for the known name nearest to a wrong one, or "" where none is similar."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {near[0]}?" if near else ""
