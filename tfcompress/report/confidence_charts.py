"""Whether a model's confidence holds: reliability diagrams, and accuracy of the surest answers.

Knows which models of a run are drawn. Does not know where the figures are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from tfcompress.report import drawing, verdict
from tfcompress.report.analysis import Judged
from tfcompress.report.drawing import COLORS
from tfcompress.report.run import Run
from tfcompress.statistics import Calibration

HEAD = 72
PANEL = 210
# Colour, marker and name of a calibration as it is and after a temperature was fitted.
SERIES = (("blue", "o", "as it is"), ("amber", "D", "with a temperature"))
STYLES = (("vermilion", (0, (4, 3))), ("blue", "-"), ("purple", (0, (1, 1.5))))


@dataclass(frozen=True)
class Shown:
    """A model in a figure: its name, and why it is one of the few."""

    judged: Judged
    role: str


def reliability_models(run: Run) -> tuple[Shown, ...]:
    """The baseline and the verdict's file, or the file that is calibrated worst."""
    worst = max(run.files, key=lambda each: each.calibration.ece, default=None)
    return _distinct(run, (worst, "calibrated worst"))[:2]


def selective_models(run: Run) -> tuple[Shown, ...]:
    """The baseline, the verdict's file, and the file whose surest answers are right least often."""
    worst = max(run.files, key=lambda each: each.calibration.aurc, default=None)
    return _distinct(run, (worst, "least selective"))


def _distinct(run: Run, worst: tuple[Judged | None, str]) -> tuple[Shown, ...]:
    chosen = verdict.reach(run.results).chosen
    wanted = (
        (run.judged.get(run.results.baseline.name), "baseline"),
        (run.judged.get(chosen.name) if chosen else None, "the verdict's file"),
        worst,
    )
    found: dict[str, Shown] = {}
    for judged, role in wanted:
        if judged is not None and judged.name not in found:
            found[judged.name] = Shown(judged, role)
    return tuple(found.values())


def draw_reliability(models: Sequence[Shown], *, width: int) -> Figure:
    """Draws accuracy against confidence, a panel for each model, with the diagonal of the honest.

    Args:
      models: at least one.
      width: of the figure in pixels; a narrow one has its panels one below the other.
    """
    beside = width >= 450
    columns = len(models) if beside else 1
    rows = -(-len(models) // columns)
    figure = drawing.new_figure(width, HEAD + rows * (PANEL + 62) - 32)
    _draw_series_legend(figure, calibrated=any(m.judged.calibrated for m in models))
    low = min(_lowest(each.judged) for each in models)
    panel = (width - columns * 46) / columns
    for index, shown in enumerate(models):
        left = 40 + (index % columns) * (panel + 46)
        top = HEAD + (index // columns) * (PANEL + 62)
        name = drawing.shorten(shown.judged.name, panel, drawing.SMALL)
        drawing.write(figure, name, x=left, y=top - 8, size=drawing.SMALL, weight="bold")
        axes = drawing.add_axes(figure, left=left, top=top, width=panel, height=PANEL)
        _draw_panel(axes, shown.judged, low=low)
    return figure


def _lowest(judged: Judged) -> float:
    kinds = [judged.calibration] + ([judged.calibrated] if judged.calibrated else [])
    ends = [min(b.confidence, b.accuracy_interval.low) for kind in kinds for b in kind.bins]
    return max(0.0, min(ends) - 0.03)


def _draw_series_legend(figure: Figure, *, calibrated: bool) -> None:
    width, height = figure.get_size_inches() * 72
    drawing.write(figure, "Accuracy, %, against confidence, %", x=2, y=14)
    x = 8.0
    for color, marker, name in SERIES[: 2 if calibrated else 1]:
        figure.add_artist(
            Line2D([x / width], [1 - 30 / height], marker=marker, markersize=6, color=COLORS[color])
        )
        drawing.write(figure, name, x=x + 9, y=34, size=drawing.SMALL, color="muted")
        x += 9 + drawing.text_size(name, drawing.SMALL)[0] + 16


def _draw_panel(axes: Axes, judged: Judged, *, low: float) -> None:
    axes.plot([0, 100], [0, 100], color=COLORS["muted"], lw=1, ls=(0, (3, 3)), zorder=1)
    kinds = (judged.calibration, judged.calibrated)
    for calibration, (color, marker, _) in zip(kinds, SERIES, strict=True):
        if calibration is not None:
            _draw_bins(axes, calibration, color=color, marker=marker)
    axes.set_xlim(100 * low, 100 + 2 * (1 - low))
    axes.set_ylim(100 * low, 100 + 2 * (1 - low))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(axis="y", color=COLORS["grid"], lw=0.8)


def _draw_bins(axes: Axes, calibration: Calibration, *, color: str, marker: str) -> None:
    for each in calibration.bins:
        x, interval = 100 * each.confidence, each.accuracy_interval
        axes.plot(
            [x, x], [100 * interval.low, 100 * interval.high], color=COLORS[color], lw=1, alpha=0.5
        )
    axes.plot(
        [100 * each.confidence for each in calibration.bins],
        [100 * each.accuracy for each in calibration.bins],
        color=COLORS[color],
        lw=1,
        marker=marker,
        markersize=4.5,
        markeredgecolor=COLORS["surface"],
        markeredgewidth=0.5,
    )


def draw_selective(models: Sequence[Shown], *, width: int, examples: str) -> Figure:
    """Draws accuracy against the share of examples that are answered, the surest first.

    Args:
      models: at least one, at most three.
      width: of the figure in pixels.
      examples: what they are called, such as `"images"`.
    """
    head = 26 + 18 * len(models)
    figure = drawing.new_figure(width, head + 246)
    answered = f"{examples.capitalize()} answered, %"
    drawing.write(figure, "Accuracy, %", x=2, y=14)
    drawing.write(figure, answered, x=width - 12, y=head + 240, align="right")
    axes = drawing.add_axes(figure, left=40, top=head + 8, width=width - 54, height=190)
    for index, (shown, (color, style)) in enumerate(zip(models, STYLES, strict=False)):
        name = shown.judged.name
        words = name if name == shown.role else f"{name}, {shown.role}"
        drawing.write_line_key(figure, words, color=color, style=style, y=34 + 18 * index)
        points = shown.judged.calibration.selective
        axes.plot(
            [100 * each.coverage for each in points],
            [100 * each.accuracy for each in points],
            color=COLORS[color],
            ls=style,
            lw=1.8,
            marker="o",
            markersize=4,
        )
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylim(top=min(axes.get_ylim()[1], 100.0 + 0.05 * np.ptp(axes.get_ylim())))
    axes.grid(axis="y", color=COLORS["grid"], lw=0.8)
    return figure
