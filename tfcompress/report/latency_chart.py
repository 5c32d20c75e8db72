"""The latencies of a benchmark: a panel for each batch, a line for each file, a mark for a runtime.

Knows how they are drawn, and that a latency which says nothing has no mark. Does not know how they
were measured.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tfcompress.benchmark_record import Benchmark, Row
from tfcompress.report import drawing, text
from tfcompress.report.benchmark_tables import NOISY, REFUSED
from tfcompress.report.drawing import COLORS
from tfcompress.results import Latency

WIDTH = 760
# Of one mark, and what a file has above and below its own.
MARK = 15
GAP = 10
PANEL_HEAD = 26
PANEL_FOOT = 44
MOST_NAME = 230
_COLORS = ("blue", "vermilion", "green", "purple", "amber", "ink")
_MARKS = ("o", "D", "s", "^", "v", "P")


def svg(found: Benchmark) -> str:
    """The figure as an SVG element.

    Args:
      found: with one row or more.
    """
    with drawing.theme():
        return drawing.to_svg(
            draw(found),
            name="latency",
            title="Latency",
            description=(
                "For each batch and file the median time of a call in milliseconds, on a "
                "logarithmic scale, with a thin line to the 90th percentile and a thick one over "
                "the median's interval. Grey dots are the rounds of what is too noisy."
            ),
        )


def draw(found: Benchmark) -> Figure:
    """Draws a panel for each batch, all on one scale.

    Args:
      found: with one row or more.
    """
    series = list(dict.fromkeys(_series(row) for row in found.rows))
    panels = [(b, tuple(rows)) for b, rows in itertools.groupby(found.rows, lambda r: r.batch)]
    lines = [list(dict.fromkeys(row.file for row in rows)) for _, rows in panels]
    legend = _legend_height(series)
    line = GAP + MARK * len(series)
    height = legend + sum(PANEL_HEAD + PANEL_FOOT + line * len(names) for names in lines)
    figure = drawing.new_figure(WIDTH, height)
    _draw_legend(figure, series)
    top = float(legend)
    for (batch, rows), names in zip(panels, lines, strict=True):
        drawing.write(figure, f"batch {batch:,}", x=0, y=top + 14, weight="bold")
        axes = drawing.add_axes(
            figure,
            left=MOST_NAME + 12,
            top=top + PANEL_HEAD,
            width=WIDTH - MOST_NAME - 30,
            height=line * len(names),
        )
        _draw_panel(axes, rows, names=names, series=series, limits=_limits(found.rows))
        for number, name in enumerate(names):
            y = top + PANEL_HEAD + line * (number + 0.5) + 4
            shown = drawing.shorten(name, MOST_NAME, drawing.SMALL)
            drawing.write(figure, shown, x=MOST_NAME, y=y, size=drawing.SMALL, align="right")
        top += PANEL_HEAD + PANEL_FOOT + line * len(names)
    return figure


def _series(row: Row) -> str:
    return f"{row.runtime}, {text.plural(row.threads, 'thread')}"


def _style(series: Sequence[str], name: str) -> tuple[str, str]:
    place = series.index(name)
    return COLORS[_COLORS[place % len(_COLORS)]], _MARKS[place // len(_COLORS) % len(_MARKS)]


def _limits(rows: Sequence[Row]) -> tuple[float, float]:
    ends = [end for row in rows if row.latency for end in _ends(row.latency)]
    if not ends:
        return 0.1, 1.0
    low, high = min(ends), max(ends)
    room = max(1.15, (high / low) ** 0.06)
    return low / room, high * room


def _ends(latency: Latency) -> tuple[float, ...]:
    """What of a latency is drawn."""
    if latency.steady is False:
        return latency.round_p50
    ends = latency.interval
    return (latency.p50, latency.p90, *((ends.low, ends.high) if ends else ()))


def _draw_panel(
    axes: Axes,
    rows: Sequence[Row],
    *,
    names: Sequence[str],
    series: Sequence[str],
    limits: tuple[float, float],
) -> None:
    drawing.scale_x_logarithmically(axes, *limits)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks([])
    axes.grid(axis="x", color=COLORS["grid"], lw=0.8)
    axes.set_xlabel(
        "ms a call, logarithmic", fontsize=drawing.SMALL, color=COLORS["muted"], labelpad=2
    )
    step = MARK / (GAP + MARK * len(series))
    for row in rows:
        place = series.index(_series(row)) - (len(series) - 1) / 2
        _draw_row(axes, row, y=names.index(row.file) + step * place, series=series)


def _draw_row(axes: Axes, row: Row, *, y: float, series: Sequence[str]) -> None:
    color, mark = _style(series, _series(row))
    latency = row.latency
    if latency is None or latency.steady is False:
        rounds = latency.round_p50 if latency else ()
        grey = COLORS["muted"]
        axes.plot(rounds, [y] * len(rounds), color=grey, marker=".", markersize=4, lw=0, alpha=0.6)
        axes.text(
            0.995,
            y,
            REFUSED if latency is None else NOISY,
            transform=axes.get_yaxis_transform(),
            ha="right",
            va="center_baseline",
            fontsize=drawing.SMALL - 2,
            color=color,
        )
        return
    axes.plot([latency.p50, latency.p90], [y, y], color=color, lw=1)
    if latency.interval is not None:
        ends = [latency.interval.low, latency.interval.high]
        axes.plot(ends, [y, y], color=color, lw=4, alpha=0.5, solid_capstyle="butt")
    axes.plot([latency.p50], [y], color=color, marker=mark, markersize=5.5, lw=0)


def _legend_lines(series: Sequence[str]) -> list[list[tuple[str, float]]]:
    """The names with their places, in as many lines as they need."""
    lines: list[list[tuple[str, float]]] = [[]]
    x = 0.0
    for name in series:
        width = 18 + drawing.text_size(name, drawing.SMALL)[0] + 20
        if lines[-1] and x + width > WIDTH:
            lines.append([])
            x = 0.0
        lines[-1].append((name, x))
        x += width
    return lines


def _legend_height(series: Sequence[str]) -> int:
    return 8 + 18 * len(_legend_lines(series))


def _draw_legend(figure: Figure, series: Sequence[str]) -> None:
    width, height = figure.get_size_inches() * 72
    for line, names in enumerate(_legend_lines(series)):
        y = 14 + 18 * line
        for name, x in names:
            color, mark = _style(series, name)
            place = [(x + 6) / width], [1 - (y - 4) / height]
            figure.add_artist(Line2D(*place, marker=mark, markersize=5.5, color=color, lw=0))
            drawing.write(figure, name, x=x + 18, y=y, size=drawing.SMALL, color="muted")
