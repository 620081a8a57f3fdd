"""A CSV file in, a frame of text cells out; what is wrong with the file as such is told here, for every kind of table."""

import csv
from pathlib import Path

import pandas as pd

from mammo.errors import DataMissingError, MammoError

LINES = "lines"


def read_table(path: Path, expected: str, *, error: type[MammoError]) -> pd.DataFrame:
    """Read a CSV as text cells, empty where there is nothing. A byte order mark and Windows line ends are fine.

    The line that each row begins on is kept in `attrs`, for messages: empty lines are passed by, and a cell may span several.

    Args:
        path: The file.
        expected: What it should be, for the messages, such as `a CSV with the columns image, patient_id`.
        error: What is raised for a file that is there but no such table.

    Raises:
        DataMissingError: There is no such file.
        MammoError: `error`, with what is wrong.
    """
    try:
        lines = _check_form(path, error)
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False)
        frame.attrs[LINES] = lines if len(lines) == len(frame) else list(range(2, len(frame) + 2))
        return frame
    except FileNotFoundError:
        raise DataMissingError(f"{path}: there is no such file; expected {expected}") from None
    except UnicodeDecodeError as fault:
        raise error(f"{path}: is not UTF-8 text ({fault.reason} at byte {fault.start}); save it as CSV UTF-8") from fault
    except pd.errors.EmptyDataError:
        raise error(f"{path}: is empty; expected {expected}") from None
    except (pd.errors.ParserError, csv.Error) as fault:
        raise error(f"{path}: cannot be read as CSV ({fault}); is a quote not closed? Expected {expected}") from fault
    except OSError as fault:
        raise error(f"{path}: cannot be read ({fault.strerror or fault}); expected {expected}") from fault


def line_of(frame: pd.DataFrame | pd.Series, row: int) -> int:
    """The line of a file that a row of its table begins on; of tables from elsewhere, as if each row were one line."""
    lines = frame.attrs.get(LINES)
    return int(lines[row]) if lines else row + 2


def _check_form(path: Path, error: type[MammoError]) -> list[int]:
    """Refuse what pandas would read as something else: repeated columns, rows longer than the header, semicolons.

    Returns the line that each row begins on.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        names = [name.strip() for name in next(reader, [])]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise error(f"{path}: column {', '.join(repeated)} stands there more than once; keep one of each")
        if len(names) == 1 and ";" in names[0]:
            raise error(f"{path}: its cells are separated by semicolons; save it with commas")
        lines, begins = [], reader.line_num + 1
        for row in reader:
            if row:
                lines.append(begins)
            begins = reader.line_num + 1
            if len(row) > len(names):
                raise error(f"{path}: line {reader.line_num}: a row has more cells than the header, {len(row)} instead of {len(names)}")
    return lines
