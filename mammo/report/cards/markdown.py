"""Text in, Markdown out: tables, lists and paragraphs that text from outside cannot break."""

import re
import textwrap
from collections.abc import Iterable, Sequence

from mammo.errors import few_of

WIDTH = 88
NAMES_SHOWN = 8


def names(listed: Sequence[object]) -> str:
    """The first of many names, escaped."""
    return few_of([escaped(name) for name in listed], NAMES_SHOWN)


def escaped(text: object) -> str:
    """Text from outside in one line that Markdown shows as it is, in tables too."""
    plain = re.sub(r"([\\`*\[\]<>|~#&])", r"\\\1", " ".join(str(text).split()))
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", plain)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; its cells are Markdown already, so what came from outside must be escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def point(label: str, text: str) -> str:
    """A line of a list, its label in bold."""
    return wrapped(f"- **{label}:** {text}", indent="  ")


def fenced(text: str) -> str:
    """A block of code, in a fence that the text cannot close."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}sh\n{text}\n{fence}"


def joined(blocks: Iterable[str]) -> str:
    """A document: an empty line between blocks, but not between the lines of a list."""
    text = ""
    for block in blocks:
        both_points = block.startswith("- ") and text.rpartition("\n\n")[2].startswith("- ")
        text += ("\n" if both_points else "\n\n" if text else "") + block
    return text + "\n"


def wrapped(text: str, *, width: int = WIDTH, indent: str = "") -> str:
    """Break a paragraph to lines, none of which begins like a list, a heading or a quotation."""
    lines = textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines[:1] + [re.sub(r"^(\s*\d*)([-+=>#.)]+)(?=\s|$)", r"\1\\\2", line) for line in lines[1:]])
