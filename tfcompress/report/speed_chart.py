"""Latency against channels kept: a panel for each network.

Knows how the curves are drawn. Does not know how they were measured.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tfcompress.report import drawing
from tfcompress.report.drawing import COLORS
from tfcompress.speed import SpeedCurve

WIDTH = 760
PANEL = 210
HEAD = 34
FOOT = 46
COLUMNS = 2
_STYLES = {
    "float32": ("blue", "o"),
    "int8": ("vermilion", "D"),
    "float16": ("green", "s"),
    "dynamic": ("purple", "^"),
    "int16x8": ("amber", "v"),
}
_MACS = ("muted", (0, (5, 2)))


def svg(curves: Sequence[SpeedCurve], *, setting: str) -> str:
    """The figure as an SVG element.

    Args:
      curves: at least one.
      setting: of the measurement, such as `"litert_cpu, 1 thread, batch 1"`.
    """
    with drawing.theme():
        return drawing.to_svg(
            draw(curves),
            name="channel-speed",
            title="Latency against channels kept",
            description=(
                "For each network the median latency, and the multiply-accumulates (dashed), in "
                "percent of the whole network's, against the channels kept in percent; upright "
                "lines span the medians of the rounds. "
                f"{setting}."
            ),
        )


def draw(curves: Sequence[SpeedCurve]) -> Figure:
    """Draws a panel for each network.

    Args:
      curves: at least one.
    """
    rows = -(-len(curves) // COLUMNS)
    figure = drawing.new_figure(WIDTH, HEAD + (PANEL + FOOT) * rows)
    formats = list(curves[0].points[0].latency_ms)
    _draw_legend(figure, formats)
    width = (WIDTH - 50 * COLUMNS - 10) / COLUMNS
    for number, curve in enumerate(curves):
        row, column = divmod(number, COLUMNS)
        left, top = 48 + column * (width + 52), HEAD + row * (PANEL + FOOT)
        drawing.write(figure, curve.network, x=left, y=top + 12, weight="bold")
        axes = drawing.add_axes(figure, left=left, top=top + 24, width=width, height=PANEL - 34)
        _draw_panel(axes, curve, formats)
    return figure


def _draw_legend(figure: Figure, formats: Sequence[str]) -> None:
    width, height = figure.get_size_inches() * 72
    x, level = 4.0, 1 - 10 / height
    for name in (*formats, "multiply-accumulates"):
        color, style = (_STYLES[name][0], "-") if name in formats else _MACS
        marker = _STYLES[name][1] if name in formats else ""
        span = [x / width, (x + 22) / width]
        line = Line2D(span, [level, level], color=COLORS[color], lw=1.8, ls=style)
        figure.add_artist(line)
        if marker:
            middle = [(x + 11) / width]
            figure.add_artist(
                Line2D(middle, [level], marker=marker, markersize=5.5, color=COLORS[color], lw=0)
            )
        shown = f"latency, {name}" if name in formats else name
        drawing.write(figure, shown, x=x + 28, y=14, size=drawing.SMALL, color="muted")
        x += 28 + drawing.text_size(shown, drawing.SMALL)[0] + 18


def _draw_panel(axes: Axes, curve: SpeedCurve, formats: Sequence[str]) -> None:
    kept = [100 * point.kept for point in curve.points]
    color, style = _MACS
    axes.plot(kept, [100 * x for x in curve.macs], color=COLORS[color], lw=1.8, ls=style)
    highest = max(formats, key=lambda name: curve.relative(name)[-1])
    for name in formats:
        color, marker = _STYLES[name]
        shares = [100 * value for value in curve.relative(name)]
        axes.plot(kept, shares, color=COLORS[color], lw=1.8, marker=marker, markersize=5.5)
        axes.vlines(kept, *_spread(curve, name), color=COLORS[color], lw=1.2)
        axes.annotate(
            f"{curve.points[-1].latency_ms[name].p50:.3f} ms",
            (kept[-1], shares[-1]),
            xytext=(4, 5 if name == highest else -5),
            textcoords="offset points",
            ha="right",
            va="bottom" if name == highest else "top",
            fontsize=drawing.SMALL,
            color=COLORS[color],
        )
    axes.set_xlim(0, 104)
    axes.set_ylim(0, max(106, 4 + max(max(_spread(curve, name)[1]) for name in formats)))
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.set_yticks([0, 25, 50, 75, 100])
    axes.grid(color=COLORS["grid"], lw=0.8)
    axes.set_xlabel("channels kept, %", fontsize=drawing.SMALL, color=COLORS["muted"], labelpad=2)
    axes.set_ylabel("% of the whole", fontsize=drawing.SMALL, color=COLORS["muted"], labelpad=4)


def _spread(curve: SpeedCurve, name: str) -> tuple[list[float], list[float]]:
    """The lowest and highest median of a round, in % of the whole network's latency."""
    whole = curve.points[0].latency_ms[name].p50
    found = [point.latency_ms[name] for point in curve.points]
    rounds = [latency.round_p50 or (latency.p50,) for latency in found]
    return [100 * min(one) / whole for one in rounds], [100 * max(one) / whole for one in rounds]
