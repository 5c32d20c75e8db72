"""Validation accuracy against the wall time of training, one line for each recipe.

Knows how the stages of a recipe follow one another. Does not know where the figure is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from tfcompress.report import drawing
from tfcompress.report.drawing import COLORS
from tfcompress.results import StageResult

STYLES = tuple(
    (color, style)
    for style in ("-", (0, (5, 2)))
    for color in ("blue", "vermilion", "green", "purple", "amber")
)


@dataclass(frozen=True)
class Curve:
    """One stage on the clock of its recipe.

    Attributes:
      title: techniques of the recipe up to this stage; `"baseline"` for the baseline.
      minutes: wall time of training since the baseline began, at the end of each epoch.
      accuracy: of each epoch on validation, a fraction.
    """

    title: str
    minutes: tuple[float, ...]
    accuracy: tuple[float, ...]


def curves(stages: Sequence[StageResult]) -> tuple[Curve, ...]:
    """Lays the stages on the clock: each begins where the stage before it in its recipe ended."""
    ends: dict[str, float] = {}
    found = []
    for stage in stages:
        title = stage.name.partition("-")[2]
        begin = _end_of_predecessor(title, ends)
        clock, minutes, accuracy = begin, [], []
        for epoch in stage.history:
            clock += epoch.get("seconds", 0.0) / 60
            if "val_accuracy" in epoch:
                minutes.append(clock)
                accuracy.append(epoch["val_accuracy"])
        ends[title] = max(clock, begin + (stage.seconds or 0.0) / 60)
        if minutes and clock > begin:
            found.append(Curve(title, tuple(minutes), tuple(accuracy)))
    return tuple(found)


def _end_of_predecessor(title: str, ends: dict[str, float]) -> float:
    earlier = [name for name in ends if title.startswith(f"{name}+")]
    if earlier:
        return ends[max(earlier, key=len)]
    return ends.get("baseline", 0.0)


def draw(found: Sequence[Curve], *, width: int) -> Figure:
    """Draws each stage's accuracy at the end of each of its epochs.

    Args:
      found: at least one curve.
      width: of the figure in pixels.
    """
    head = 26 + 18 * len(found)
    figure = drawing.new_figure(width, head + 236)
    drawing.write(figure, "Validation accuracy, %", x=2, y=14)
    drawing.write(figure, "Training, minutes", x=width - 12, y=head + 230, align="right")
    axes = drawing.add_axes(figure, left=40, top=head + 8, width=width - 54, height=180)
    for index, curve in enumerate(found):
        color, style = STYLES[index % len(STYLES)]
        level = 1 - (30 + 18 * index) / (head + 236)
        line = Line2D([6 / width, 30 / width], [level] * 2, color=COLORS[color], ls=style, lw=1.8)
        figure.add_artist(line)
        name = drawing.shorten(curve.title, width - 50, drawing.SMALL)
        drawing.write(figure, name, x=36, y=34 + 18 * index, size=drawing.SMALL, color="muted")
        axes.plot(
            curve.minutes,
            [100 * accuracy for accuracy in curve.accuracy],
            color=COLORS[color],
            ls=style,
            lw=1.8,
            marker="o",
            markersize=3.5,
        )
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(axis="y", color=COLORS["grid"], lw=0.8)
    return figure
