"""The main metric on validation against the wall time of training, one line for each stage.

Knows how the stages of a recipe follow one another. Does not know where the figure is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfcompress.report import drawing, metric
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
      title: name of the stage, such as `"02-prune+qat"`.
      minutes: wall time of training since the baseline began, at the end of each epoch.
      figures: the main metric of each epoch on validation, as in the history.
    """

    title: str
    minutes: tuple[float, ...]
    figures: tuple[float, ...]


def curves(
    stages: Sequence[StageResult], main: metric.MainMetric = metric.ACCURACY
) -> tuple[Curve, ...]:
    """Lays the stages on the clock: each begins where the one that it went on from ended.

    Empty where that is not recorded, as by earlier versions.
    """
    if any(stage.after is None for stage in stages[1:]):
        return ()
    ends: dict[str, float] = {}
    found, name = [], f"val_{main.in_history}"
    for stage in stages:
        begin = ends.get(stage.after or "", 0.0)
        clock, minutes, figures = begin, [], []
        for epoch in stage.history:
            clock += epoch.get("seconds", 0.0) / 60
            if name in epoch:
                minutes.append(clock)
                figures.append(epoch[name])
        ends[stage.name] = max(clock, begin + (stage.seconds or 0.0) / 60)
        if minutes and clock > begin:
            found.append(Curve(stage.name, tuple(minutes), tuple(figures)))
    return tuple(found)


def draw(
    found: Sequence[Curve], *, width: int, main: metric.MainMetric = metric.ACCURACY
) -> Figure:
    """Draws the main metric at the end of each epoch of each stage.

    Args:
      found: at least one curve.
      main: what the curves show.
      width: of the figure in pixels.
    """
    head = 26 + 18 * len(found)
    figure = drawing.new_figure(width, head + 236)
    drawing.write(figure, f"{main.heading}, on validation", x=2, y=14)
    drawing.write(figure, "Training, minutes", x=width - 12, y=head + 230, align="right")
    axes = drawing.add_axes(figure, left=40, top=head + 8, width=width - 54, height=180)
    for index, curve in enumerate(found):
        color, style = STYLES[index % len(STYLES)]
        drawing.write_line_key(figure, curve.title, color=color, style=style, y=34 + 18 * index)
        axes.plot(
            curve.minutes,
            [abs(main.per_unit) * value for value in curve.figures],
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
