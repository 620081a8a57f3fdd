"""Translates the words of the page, of its charts and tables, to Chinese.

They are in `words.csv`. In its English `#` is a number; in its Chinese `{0}` is the first of these numbers.
"""

import csv
import re
from functools import cache
from pathlib import Path

from mammo.settings.metrics import METRICS

FILE = Path(__file__).with_name("words.csv")
NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?")
# The marks of a group with few malignant cases and of a missing value, the same in both languages.
STAR, NONE = " *", "– "


@cache
def read_words() -> dict[str, str]:
    """Read the Chinese of each English text, with the names of metrics and why they may be undefined."""
    with FILE.open(encoding="utf-8", newline="") as file:
        words = {row["english"]: row["chinese"] for row in csv.DictReader(file)}
    words |= {metric.english: metric.chinese for metric in METRICS}
    return words | dict(metric.undefined for metric in METRICS if metric.undefined[0])


def translate(text: str) -> str | None:
    """The Chinese of a text; None where it is not known, such as of text from outside."""
    words = read_words()
    if text.endswith(STAR):
        plain = translate(text.removesuffix(STAR))
        return None if plain is None else plain + STAR
    if text.startswith(NONE):
        plain = translate(text.removeprefix(NONE))
        return None if plain is None else NONE + plain
    if text in words:
        return words[text]
    pattern = NUMBER.sub("#", text)
    return words[pattern].format(*NUMBER.findall(text)) if pattern in words else None
