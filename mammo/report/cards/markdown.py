"""Renders the Markdown templates of this folder, in which text from outside cannot break a table or a list."""

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mammo.errors import few_of
from mammo.evaluation.metrics import Metric
from mammo.report.source import metrics_of
from mammo.settings.metrics import shown_in

NAMES_SHOWN = 8
WIDTH = 88
NOT_WRAPPED = ("|", "#", ">")


def render(template: str, **values: object) -> str:
    """Render a template and break its lines; all templates need `source` and `judged`."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown: the filter `md` escapes what comes from outside
    )
    environment.filters |= {"md": escaped, "fenced": fenced, "metric": metric_cell, "difference": difference_cell}
    environment.globals |= {"shown_in": shown_in, "metrics_of": metrics_of, "few": few_escaped}
    return wrapped_document(environment.get_template(template).render(values))


def wrapped_document(text: str) -> str:
    """Break the paragraphs and list items of a document to lines; code, tables, headings and quotations stay."""
    found: list[str] = []
    paragraph = fence = ""
    for line in [*text.splitlines(), ""]:
        if paragraph and line and not line.startswith(("- ", "```", *NOT_WRAPPED)):
            paragraph += " " + line.strip()
            continue
        if paragraph:
            found.append(wrapped(paragraph))
            paragraph = ""
        if fence:
            fence = "" if line == fence else fence
            found.append(line)
        elif line.startswith("```"):
            fence = line.removesuffix("sh")
            found.append(line)
        elif not line or line.startswith(NOT_WRAPPED):
            found.append(line)
        else:
            paragraph = line
    return "\n".join(found)


def wrapped(text: str, *, width: int = WIDTH) -> str:
    """Break a paragraph or a list item to lines, none of which begins like a list, a heading or a quotation."""
    indent = "  " if text.startswith("- ") else ""
    lines = textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines[:1] + [re.sub(r"^(\s*\d*)([-+=>#.)]+)(?=\s|$)", r"\1\\\2", line) for line in lines[1:]])


def metric_cell(metric: Metric, digits: int) -> str:
    """A metric with its interval, or why it has none."""
    return _with_reason(metric, metric.with_bounds(digits))


def difference_cell(metric: Metric) -> str:
    """A difference with its interval, or why it has none."""
    return _with_reason(metric, metric.as_difference())


def _with_reason(metric: Metric, text: str) -> str:
    if metric.value is None:
        return f"undefined: {metric.undefined}"
    return text + (f" (no interval: {metric.no_interval})" if metric.no_interval else "")


def few_escaped(names: Sequence[object]) -> str:
    """The first of many names, escaped."""
    return few_of([escaped(name) for name in names], NAMES_SHOWN)


def escaped(text: object) -> str:
    """Text from outside in one line that Markdown shows as it is, in tables too."""
    plain = re.sub(r"([\\`*\[\]<>|~#&])", r"\\\1", " ".join(str(text).split()))
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", plain)


def fenced(text: str) -> str:
    """A block of code, in a fence that the text cannot close."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}sh\n{text}\n{fence}"
