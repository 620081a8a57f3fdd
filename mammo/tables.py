"""Reads a CSV file and returns a frame of text cells; reports what is wrong with the file itself."""

import csv
import os
import re
import reprlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd

from mammo.errors import MOST_FAULTS_SHOWN, DataMissingError, MammoError

LINES = "lines"
MOST_COLUMNS = 2_000
MOST_BYTES = 4 << 30  # ten million cases take about one
MOST_ROWS, MOST_CELLS = 20_000_000, 300_000_000
LONGEST_ROW = 4 << 20
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
SEPARATOR_LINE = re.compile(r"^\"?sep=([,;\t|])\"?\r?\n", re.IGNORECASE)  # written for Excel, which does not show it
LONGEST_SEPARATOR_LINE = 16
OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs"}


def read_table(path: Path, expected: str, *, error: type[MammoError]) -> pd.DataFrame:
    """Read a CSV as text cells. A byte order mark and Windows line ends are accepted.

    What spreadsheets leave behind is skipped: a first line `sep=,`, empty rows, columns without name and content.
    `attrs` keeps the line on which each row begins, for messages: a cell may span several lines.

    Args:
        path: The file.
        expected: What it should be, for messages, such as `a CSV with the columns image, patient_id`.
        error: The error to raise where the file is not such a table.

    Raises:
        DataMissingError: There is no such file.
        MammoError: `error`, with what is wrong.
    """
    try:
        names, rows, lines = _read_rows(path, error)
    except FileNotFoundError:
        raise DataMissingError(f"{path}: there is no such file; expected {expected}") from None
    except UnicodeDecodeError as fault:
        if path.open("rb").read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise error(
                f'{path}: is UTF-16 text (Excel\'s "Unicode text"); save it as CSV UTF-8, with commas'
            ) from fault
        what = f"{fault.reason} at byte {fault.start}"
        raise error(f"{path}: is not UTF-8 text ({what}); save it as CSV UTF-8") from fault
    except UnicodeEncodeError as fault:
        advice = "use a UTF-8 locale, such as LC_ALL=C.UTF-8"
        raise error(f"{path}: has a name that this system's encoding lacks; {advice}") from fault
    except csv.Error as fault:
        raise error(f"{path}: cannot be read as CSV ({fault}); is a quote not closed? Expected {expected}") from fault
    except OSError as fault:
        raise error(f"{path}: cannot be read ({fault.strerror or fault}); expected {expected}") from fault
    if not names:
        raise error(f"{path}: is empty; expected {expected}")
    frame = pd.DataFrame(rows, columns=names, dtype=str)
    frame.attrs[LINES] = _Lines(lines)
    return frame


def line_of(frame: pd.DataFrame | pd.Series, row: int) -> int:
    """Return the line of the file on which a row begins; in other tables, each row counts as one line."""
    known = frame.attrs.get(LINES)
    return known.lines[row] if known else row + 2


class _Lines:
    """Line numbers that are not copied: pandas deep-copies `attrs` with every column."""

    def __init__(self, lines: list[int]) -> None:
        self.lines = lines

    def __deepcopy__(self, memo: dict) -> "_Lines":
        return self


def to_numbers(column: pd.Series) -> pd.Series:
    """Read cells as decimal numbers, float64 [n]; NaN where a cell is not a finite number.

    Each is the float nearest to its digits. pandas before 3 reads two in five differently (by 1e-12 at most, measured),
    and a score equal to a threshold then falls below it.
    """
    if pd.api.types.is_numeric_dtype(column.dtype):
        numbers = column.astype(float)
    else:
        cells = (cell.strip() if isinstance(cell, str) else "" for cell in column)
        numbers = pd.Series(
            [float(cell) if NUMBER.fullmatch(cell) else np.nan for cell in cells], index=column.index, dtype=float
        )
    return numbers.where(np.isfinite(numbers)) + 0.0  # no -0.0


def row_faults(
    bad: pd.Series, rule: str, values: pd.Series, lines: pd.DataFrame | pd.Series | None = None
) -> list[str]:
    """Describe each row that breaks a rule; only the first have words, because no more are shown.

    Args:
        bad: Bool [n], one per row.
        rule: In words, such as `label must be 0 or 1`.
        values: The cells.
        lines: The table with the rows' line numbers; `values` by default.
    """
    rows = np.flatnonzero(bad.to_numpy(bool))
    known = values if lines is None else lines
    told = [
        f"line {line_of(known, int(row))}: {rule}, got {in_brief(values.iloc[row])}" for row in rows[:MOST_FAULTS_SHOWN]
    ]
    return told + [""] * (len(rows) - len(told))


def in_brief(value: object) -> str:
    """Return a cell as Python writes it, on one line and short."""
    return _brief.repr(value)


_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 100


def _read_rows(path: Path, error: type[MammoError]) -> tuple[list[str], list[list[str]], list[int]]:
    """Return the header's names, the rows, each as long as the header, and the line on which each begins.

    pandas is not used: it loses a comma where line ends are mixed, and pads or cuts rows of another length silently.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        if (size := os.fstat(file.fileno()).st_size) > MOST_BYTES:
            raise error(f"{path}: refused: {size} bytes; expected a table, of at most {MOST_BYTES}")
        start = file.read(LONGEST_SEPARATOR_LINE)
        named = SEPARATOR_LINE.match(start)
        file.seek(0)
        skipped = named[0].count("\n") if named else 0
        for _ in range(skipped):
            file.readline()
        text = _Rows(file)
        reader = csv.reader(text, strict=True, delimiter=named[1] if named else ",")
        names = next((row for row in _each(reader, text) if _is_row(row)), [])
        named_columns = [name.strip() for name in names]
        _check_header([name for name in named_columns if name] or named_columns[:1], path, error)
        most = min(MOST_ROWS, MOST_CELLS // max(1, len(names)))
        rows, lines, begins = [], [], reader.line_num + 1 + skipped
        for row in _each(reader, text):
            while len(row) > len(names) and not row[-1].strip():
                row.pop()
            at = f"{path}: line {reader.line_num + skipped}"
            if len(row) > len(names):
                raise error(f"{at}: a row has more cells than the header, {len(row)} instead of {len(names)}")
            if any("\0" in cell for cell in row):
                raise error(f"{at}: a cell holds a NUL character; is it UTF-16? Save it as CSV UTF-8")
            if _is_row(row):
                rows.append(row)
                lines.append(begins)
            if len(rows) > most:
                shape = f"more than {most} rows of {len(names)} columns"
                raise error(f"{path}: has {shape}; expected a table that fits in memory")
            begins = reader.line_num + 1 + skipped
    for row in rows:
        row += [""] * (len(names) - len(row))  # only now: two bytes may be a row of two thousand cells
    return _without_nameless(named_columns, rows, lines, path, error)


def _without_nameless(
    names: list[str], rows: list[list[str]], lines: list[int], path: Path, error: type[MammoError]
) -> tuple[list[str], list[list[str]], list[int]]:
    """Remove columns without name and content, which spreadsheets write for cleared columns."""
    nameless = [number for number, name in enumerate(names) if not name]
    if not nameless or nameless == [0] == list(range(len(names))):
        return names, rows, lines
    if nameless[0] == 0 and all(row[0].strip().isdigit() for row in rows):
        nameless = nameless[1:]  # the row numbers that pandas writes
    for number in nameless:
        filled = next((line for row, line in zip(rows, lines, strict=True) if row[number].strip()), None)
        if filled is not None:
            raise error(f"{path}: column {number + 1} has no name, but content in line {filled}; name it, or empty it")
    kept = [number for number, name in enumerate(names) if name]
    return [names[number] for number in kept], [[row[number] for number in kept] for row in rows], lines


class _Rows:
    """Yields lines to csv.reader and limits the length of a row, which csv.reader keeps in memory."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.left = file, LONGEST_ROW

    def __iter__(self) -> "_Rows":
        return self

    def __next__(self) -> str:
        line = self.file.readline(self.left + 1)
        self.left -= len(line)
        if self.left < 0:
            raise csv.Error(f"a row of more than {LONGEST_ROW} characters")
        if not line:
            raise StopIteration
        return line


def _each(reader: Iterator[list[str]], text: _Rows) -> Iterator[list[str]]:
    for row in reader:
        text.left = LONGEST_ROW
        yield row


def _is_row(row: list[str]) -> bool:
    """Return whether a cell is more than blanks; one quoted empty cell alone on its line counts too."""
    return row == [""] or any(cell.strip(" \t") for cell in row)


def _check_header(names: list[str], path: Path, error: type[MammoError]) -> None:
    repeated = sorted(name for name, times in Counter(names).items() if times > 1)
    if repeated:
        named = ", ".join(
            name if name and name.isprintable() else in_brief(name) for name in repeated[:MOST_FAULTS_SHOWN]
        )
        raise error(f"{path}: column {named} is there more than once; keep one of each")
    for sign, word in OTHER_SEPARATORS.items():
        if len(names) == 1 and sign in names[0]:
            raise error(f"{path}: its cells are separated by {word}; save it with commas")
    if len(names) > MOST_COLUMNS:
        raise error(f"{path}: has {len(names)} columns; expected at most {MOST_COLUMNS}")
    if any("\0" in name for name in names):
        raise error(f"{path}: its header holds a NUL character; is it UTF-16? Save it as CSV UTF-8")
