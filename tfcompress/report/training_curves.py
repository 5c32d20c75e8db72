"""Loss and accuracy over epochs, one row for each trained stage.

Knows the Keras names of the metrics in a stage's history. Does not know where the figure is shown.
"""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from tfcompress.report import drawing, metric
from tfcompress.report.drawing import COLORS
from tfcompress.results import StageResult

# (metric, title, factor)
LOSS = ("loss", "Loss", 1.0)
SERIES = (("", "train", "muted", (0, (5, 2))), ("val_", "validation", "blue", "-"))
ROW = 158
HEAD = 34


def trained(stages: tuple[StageResult, ...]) -> list[StageResult]:
    """The stages with a history that a curve can be drawn of."""
    return [stage for stage in stages if any("loss" in epoch for epoch in stage.history)]


def draw(stages: list[StageResult], *, width: int) -> Figure:
    """Draws each stage's loss and accuracy, training and validation, with the epoch kept.

    Args:
      stages: with a history, at least one.
      width: of the figure in pixels.
    """
    figure = drawing.new_figure(width, HEAD + ROW * len(stages))
    _draw_legend(figure)
    panel = (width - 2 * 42 - 8) / 2
    for row, stage in enumerate(stages):
        top = HEAD + ROW * row
        drawing.write(figure, stage.name, x=2, y=top + 12, weight="bold")
        for column, (name, title, factor) in enumerate((LOSS, _main_panel(stage))):
            left = 42 + column * (panel + 42)
            drawing.write(
                figure,
                title,
                x=left + panel,
                y=top + 12,
                size=drawing.SMALL,
                color="muted",
                align="right",
            )
            axes = drawing.add_axes(figure, left=left, top=top + 22, width=panel, height=ROW - 62)
            _draw_panel(axes, stage, name=name, factor=factor)
            if row == len(stages) - 1:
                axes.set_xlabel("epoch", fontsize=drawing.SMALL, color=COLORS["muted"], labelpad=2)
    return figure


def _main_panel(stage: StageResult) -> tuple[str, str, float]:
    """The figure that a stage's history holds beside the loss."""
    for main in (metric.ERROR, metric.ACCURACY):
        if any(main.in_history in epoch for epoch in stage.history):
            return main.in_history, main.heading, abs(main.per_unit)
    return metric.ACCURACY.in_history, metric.ACCURACY.heading, metric.ACCURACY.per_unit


def _draw_legend(figure: Figure) -> None:
    width, height = figure.get_size_inches() * 72
    x, level = 4.0, 1 - 10 / height
    for _, name, color, style in SERIES:
        span = [x / width, (x + 18) / width]
        figure.add_artist(Line2D(span, [level, level], color=COLORS[color], lw=1.8, ls=style))
        drawing.write(figure, name, x=x + 23, y=14, size=drawing.SMALL, color="muted")
        x += 23 + drawing.text_size(name, drawing.SMALL)[0] + 14
    figure.add_artist(
        Line2D(
            [(x + 4) / width],
            [level],
            marker="o",
            markersize=7,
            color=COLORS["vermilion"],
            markerfacecolor="none",
            markeredgewidth=1.8,
            lw=0,
        )
    )
    drawing.write(figure, "epoch kept", x=x + 13, y=14, size=drawing.SMALL, color="muted")


def _draw_panel(axes: Axes, stage: StageResult, *, name: str, factor: float) -> None:
    epochs = len(stage.history)
    for prefix, _, color, style in SERIES:
        series = [
            (index + 1, factor * epoch[prefix + name])
            for index, epoch in enumerate(stage.history)
            if epoch.get(prefix + name) is not None
        ]
        if series:
            axes.plot(
                *zip(*series, strict=True),
                color=COLORS[color],
                lw=1.8,
                ls=style,
                marker="o" if epochs <= 12 else None,
                markersize=3,
            )
    _mark_best(axes, stage, name=name, factor=factor)
    axes.set_xlim(0.5 if epochs < 3 else 1 - 0.03 * epochs, max(epochs + 0.03 * epochs, 1.5))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.margins(y=0.12)
    axes.grid(axis="y", color=COLORS["grid"], lw=0.8)


def _mark_best(axes: Axes, stage: StageResult, *, name: str, factor: float) -> None:
    best = stage.best_epoch
    if best is None or not 0 <= best < len(stage.history):
        return
    value = stage.history[best].get("val_" + name, stage.history[best].get(name))
    if value is not None:
        axes.plot(
            [best + 1],
            [factor * value],
            marker="o",
            markersize=8,
            color=COLORS["vermilion"],
            markerfacecolor="none",
            markeredgewidth=1.8,
            lw=0,
            zorder=4,
            clip_on=False,
        )
