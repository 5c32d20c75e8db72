"""The figures of a search: what was tried, how it came on, which choices mattered.

Knows how they are drawn. Does not know how anything was tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from tfcompress.report import drawing
from tfcompress.report.drawing import COLORS
from tfcompress.search_record import HistoryPoint, Importance

_ROW = 24.0
_STYLES = {
    "within": ("blue", "o", True),
    "over": ("amber", "D", True),
    "stopped": ("muted", "x", False),
}


@dataclass(frozen=True)
class Tried:
    """A file, or the draft of one that was stopped.

    Attributes:
      x: its size in KiB.
      y: its main figure on validation, as it is drawn: up is better.
      kind: `"within"` the budget, `"over"` it, or `"stopped"`.
    """

    x: float
    y: float
    kind: str


def draw_tried(
    points: Sequence[Tried], *, x_title: str, y_title: str, words: dict[str, str], width: int
) -> Figure:
    """Draws every trial as a mark.

    Args:
      points: at least one.
      x_title: what the horizontal axis shows, with its unit.
      y_title: likewise of the upright one.
      words: for each kind, what the key says.
      width: of the figure in pixels.
    """
    height = 330
    figure = drawing.new_figure(width, height)
    axes = drawing.add_axes(figure, left=40, top=58, width=width - 52, height=height - 58 - 44)
    drawing.write(figure, y_title, x=2, y=14)
    drawing.write(figure, x_title, x=width - 12, y=height - 6, align="right")
    x = 6.0
    for kind, (color, marker, filled) in _STYLES.items():
        chosen = [point for point in points if point.kind == kind]
        if not chosen:
            continue
        style: dict[str, Any] = {
            "marker": marker,
            "markersize": 7 if filled else 6,
            "color": COLORS[color],
            "lw": 0,
            "alpha": 0.85,
        }
        axes.plot([p.x for p in chosen], [p.y for p in chosen], **style)
        figure.add_artist(Line2D([x / width], [1 - 32 / height], **style))
        drawing.write(figure, words[kind], x=x + 9, y=36, size=drawing.SMALL, color="muted")
        x += 9 + drawing.text_size(words[kind], drawing.SMALL)[0] + 14
    _scale_sizes(axes, [point.x for point in points])
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axes.grid(axis="y", color=COLORS["grid"], lw=0.8)
    return figure


def _scale_sizes(axes: Axes, sizes: Sequence[float]) -> None:
    low, high = min(sizes), max(sizes)
    if high > 3 * low:
        drawing.scale_x_logarithmically(axes, low / 1.15, high * 1.15)


def draw_history(points: Sequence[HistoryPoint], *, with_budget: bool, width: int) -> Figure:
    """Draws the hypervolume after each trial and, where there is a budget, the way to it.

    Args:
      points: at least two.
      with_budget: whether there is one.
      width: of the figure in pixels.
    """
    panels = 1 + with_budget
    panel, foot = 150, 40
    figure = drawing.new_figure(width, panels * panel + foot)
    trials = [point.trials for point in points]
    curves = [("Hypervolume, % of the space", [100 * p.hypervolume for p in points], "blue")]
    if with_budget:
        over = [100 * point.distance for point in points]
        curves.append(("Nearest file, % over the budget", over, "green"))
    for number, (title, values, color) in enumerate(curves):
        top = number * panel
        drawing.write(figure, title, x=2, y=top + 16)
        axes = drawing.add_axes(figure, left=44, top=top + 28, width=width - 56, height=panel - 48)
        axes.step(trials, values, where="post", color=COLORS[color], lw=1.8)
        axes.set_ylim(0, max(1e-9, *values) * 1.08)
        axes.set_xlim(0, trials[-1])
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.grid(axis="y", color=COLORS["grid"], lw=0.8)
    height = panels * panel + foot
    drawing.write(figure, "Trials", x=width - 12, y=height - 8, align="right")
    return figure


def draw_importance(shares: Sequence[Importance], *, width: int) -> Figure:
    """Draws a bar for each choice.

    Args:
      shares: at least one, in the order of the bars.
      width: of the figure in pixels.
    """
    left = min(0.52 * width, 8 + max(drawing.text_size(s.name, drawing.SMALL)[0] for s in shares))
    figure = drawing.new_figure(width, _ROW * len(shares) + 8)
    axes = drawing.add_axes(
        figure, left=left, top=4, width=width - left - 52, height=_ROW * len(shares)
    )
    axes.set_axis_off()
    axes.set_ylim(len(shares), 0)
    axes.set_xlim(0, max(max(each.share for each in shares), 1e-9))
    for row, each in enumerate(shares):
        axes.barh(row + 0.5, each.share, height=0.6, color=COLORS["blue"])
        y = 4 + _ROW * (row + 0.5) + 4
        name = drawing.shorten(each.name, left - 8, drawing.SMALL)
        drawing.write(figure, name, x=2, y=y, size=drawing.SMALL)
        axes.annotate(
            f"{each.share:.0%}",
            (each.share, row + 0.5),
            xytext=(5, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=drawing.SMALL,
            color=COLORS["muted"],
        )
    return figure
