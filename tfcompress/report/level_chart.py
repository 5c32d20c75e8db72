"""The levels that a stage tried, and the accuracy at each: a row for each stage that searched.

Knows how the points are drawn. Does not know where the figure is shown.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from tfcompress import level_search
from tfcompress.level_search import LevelTrial
from tfcompress.report import drawing
from tfcompress.report.drawing import COLORS
from tfcompress.results import StageResult

ROW = 190
HEAD = 34
_MARKS = {"holds": ("blue", "o"), "too much": ("vermilion", "X")}
_RING = "kept"


def searched(stages: Sequence[StageResult]) -> list[StageResult]:
    """The stages that tried levels, at least one of which was trained."""
    return [stage for stage in stages if level_search.kept(stage.levels)]


def draw(stages: Sequence[StageResult], *, width: int) -> Figure:
    """Draws the validation accuracy at each level; further right is more compression.

    Args:
      stages: that `searched` gives, at least one.
      width: of the figure in pixels.
    """
    figure = drawing.new_figure(width, HEAD + ROW * len(stages))
    _draw_legend(figure)
    for row, stage in enumerate(stages):
        top = HEAD + ROW * row
        drawing.write(figure, stage.name, x=2, y=top + 12, weight="bold")
        axes = drawing.add_axes(figure, left=46, top=top + 24, width=width - 60, height=ROW - 74)
        _draw_panel(axes, stage)
    return figure


def _draw_legend(figure: Figure) -> None:
    width, height = figure.get_size_inches() * 72
    x, level = 8.0, 1 - 10 / height
    for name, (color, marker) in {**_MARKS, _RING: ("green", "o")}.items():
        fill = "none" if name == _RING else COLORS[color]
        figure.add_artist(
            Line2D(
                [x / width],
                [level],
                marker=marker,
                markersize=7,
                color=COLORS[color],
                markerfacecolor=fill,
                lw=0,
            )
        )
        drawing.write(figure, name, x=x + 9, y=14, size=drawing.SMALL, color="muted")
        x += 9 + drawing.text_size(name, drawing.SMALL)[0] + 16


def _draw_panel(axes: Axes, stage: StageResult) -> None:
    trained = [trial for trial in stage.levels if trial.accuracy is not None]
    for name, (color, marker) in _MARKS.items():
        shown = [trial for trial in trained if trial.held == (name == "holds")]
        axes.plot(*_places(shown), marker=marker, markersize=6.5, color=COLORS[color], lw=0)
    best = level_search.kept(stage.levels)
    assert best is not None, "searched leaves out stages that kept nothing"
    axes.plot(
        *_places([best]),
        marker="o",
        markersize=12,
        color=COLORS["green"],
        markerfacecolor="none",
        markeredgewidth=1.8,
        lw=0,
    )
    allowed = stage.config.get("search", {}).get("max_drop")
    if allowed is not None:
        floor = (best.accuracy or 0.0) + (best.drop or 0.0) - allowed
        axes.axhline(100 * floor, color=COLORS["muted"], lw=1.2, ls=(0, (5, 2)))
    by_level = sorted(stage.levels, key=lambda trial: trial.level)
    if by_level[0].value > by_level[-1].value:
        axes.invert_xaxis()
    axes.margins(x=0.06, y=0.18)
    axes.grid(axis="y", color=COLORS["grid"], lw=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    label = best.setting.replace("_", " ")
    axes.set_xlabel(label, fontsize=drawing.SMALL, color=COLORS["muted"], labelpad=2)


def _places(trials: Sequence[LevelTrial]) -> tuple[list[float], list[float]]:
    return [trial.value for trial in trials], [100 * (trial.accuracy or 0.0) for trial in trials]
