"""Defines what all plots share: colours, frames, margins, legends, thinned curves, and pictures of figures.

Matplotlib is imported at the first drawing: a training draws at the end of an epoch and need not wait for it before.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The palette of Okabe & Ito, which colour-blind readers tell apart; in gray, lines and markers differ.
BLUE, ORANGE, GREEN, GRAY, LIGHT = "#0072B2", "#D55E00", "#009E73", "#5f5f5f", "#bdbdbd"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
MOST_POINTS = 500
DASH = "–"


def as_figure(
    draw: Callable[..., None], *values: object, size_in: tuple[float, float] = (4.3, 3.7), **options: object
) -> Figure:
    """Draw one plot as a figure of its own, the legend below it; `size_in` is width and height in inches.

    The margins are fixed: computing them takes as long as all the drawing, and training draws in each epoch.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size_in)
    axes = figure.subplots()
    plain(axes)
    draw(axes, *values, **options)
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="lower center", ncols=2, fontsize=9, frameon=False)
    width, height = size_in
    bottom = 0.55 + 0.2 * -(-len(handles) // 2)
    figure.subplots_adjust(left=0.7 / width, right=1 - 0.12 / width, top=1 - 0.32 / height, bottom=bottom / height)
    return figure


def plain(axes: Axes) -> None:
    """Remove what is no data from a frame, and draw light grid lines."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def rule_name(rule: str) -> str:
    """A rule as people write it: `recall ≥ 0.90`, `Youden`, `threshold 0.5`."""
    name, _, bound = rule.partition(">=")
    if bound:
        return f"{name} ≥ {bound}"
    return "Youden" if rule == "youden" else f"threshold {rule}"


def literal(text: str) -> str:
    """Text from outside, escaped for matplotlib, which reads text between two dollar signs as mathematics."""
    return text.replace("$", r"\$")


def thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep at most `MOST_POINTS` points of a curve, float [n] each, evenly along its length; the ends stay."""
    if len(x) <= MOST_POINTS:
        return x, y
    along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    kept = np.unique(np.searchsorted(along, np.linspace(0, along[-1], MOST_POINTS)).clip(0, len(x) - 1))
    kept[0], kept[-1] = 0, len(x) - 1
    return x[kept], y[kept]


def as_picture(figure: Figure) -> np.ndarray:
    """Render a figure: uint8 [height, width, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    with any_letters():
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


@contextmanager
def any_letters() -> Iterator[None]:
    """Draw without a warning on letters that matplotlib's font lacks, such as Chinese names of runs and groups."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield
