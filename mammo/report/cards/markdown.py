"""Renders the Markdown templates of this folder, in which text from outside cannot break a table or a list."""

import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mammo.errors import few_of
from mammo.report.cards.facts import metric_cell, what_was_judged
from mammo.report.source import ReportSource, metrics_of
from mammo.settings.metrics import shown_in

NAMES_SHOWN = 8


def render(template: str, source: ReportSource, **values: object) -> str:
    """Render a template; `source`, and what was judged, are known in all of them."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown: the filter `md` escapes what comes from outside
    )
    environment.filters |= {"md": escaped, "fenced": fenced, "metric": metric_cell}
    environment.globals |= {"shown_in": shown_in, "metrics_of": metrics_of, "few": few_escaped}
    return environment.get_template(template).render(source=source, judged=what_was_judged(source), **values)


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
