"""Accuracy against size or latency: points with their intervals, the baseline, the front.

Knows where marks, names and the key stand. Does not know what a point is of.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from tfcompress.report import drawing, labels, metric
from tfcompress.report.drawing import COLORS
from tfcompress.report.labels import Box, Placement
from tfcompress.report.trade_off import Limits, Point, front
from tfcompress.results import ArtifactResult

FORMATS = {
    "float32": ("ink", "o"),
    "float16": ("purple", "s"),
    "dynamic": ("amber", "D"),
    "int16x8": ("green", "v"),
    "int8": ("blue", "^"),
}
OTHER_FORMAT = ("muted", "X")
# Names farther from their points than this, in pixels, or more of them, are harder to read than
# numbers with a key.
FARTHEST = 40.0
MOST_NAMES = 12
MARKER = 8.0
_NO_LIMITS = Limits()


def draw(
    points: list[Point],
    baseline: ArtifactResult,
    *,
    x_title: str,
    width: int,
    y_title: str = metric.ACCURACY.heading,
    limits: Limits = _NO_LIMITS,
) -> Figure:
    """Draws points with their intervals and the baseline as a line with its band.

    Names stand beside the points where there is room for all; otherwise numbers do, with a key
    below.

    Args:
      points: at least one.
      baseline: gives the line; drawn only if its figure is known.
      x_title: what the horizontal axis shows, with its unit.
      width: of the figure in pixels.
      y_title: likewise of the upright one.
      limits: a budget; what keeps it is shaded.
    """
    height = 330 if len(points) <= 8 else 400
    columns = 1 if width < 450 else 2
    titles = (x_title, y_title)
    figure, axes = _frame(
        points, baseline, titles=titles, width=width, height=height, limits=limits
    )
    placements = _place([p.name for p in points], points, axes, baseline)
    if len(points) <= MOST_NAMES and all(
        place.overlap == 0 and place.distance <= FARTHEST for place in placements
    ):
        _draw_labels(axes, [p.name for p in points], points, placements)
        return figure
    rows = -(-len(points) // columns)
    figure, axes = _frame(
        points,
        baseline,
        titles=titles,
        width=width,
        height=height,
        limits=limits,
        below=18 * rows + 14,
    )
    numbers = [str(i + 1) for i in range(len(points))]
    _draw_labels(axes, numbers, points, _place(numbers, points, axes, baseline))
    main = metric.of_entry(baseline)
    _draw_key(figure, points, main, top=height + 14, width=width, columns=columns)
    return figure


def _frame(
    points: list[Point],
    baseline: ArtifactResult,
    *,
    titles: tuple[str, str],
    width: int,
    height: int,
    limits: Limits,
    below: int = 0,
) -> tuple[Figure, Axes]:
    figure = drawing.new_figure(width, height + below)
    axes = drawing.add_axes(figure, left=34, top=58, width=width - 46, height=height - 58 - 44)
    drawing.write(figure, titles[1], x=2, y=14, size=drawing.FONT_SIZE)
    drawing.write(figure, titles[0], x=width - 12, y=height - 6, align="right")
    _draw_legend(figure, points, baseline, y=36)
    _scale(axes, points, baseline, limits)
    _draw_limits(axes, limits)
    _draw_baseline(axes, baseline)
    _draw_front(axes, front(points))
    for point in points:
        _draw_point(axes, point)
    return figure, axes


def _draw_legend(
    figure: Figure, points: list[Point], baseline: ArtifactResult, *, y: float
) -> None:
    x, height = 6.0, figure.get_size_inches()[1] * 72
    total = figure.get_size_inches()[0] * 72
    shown = [name for name in FORMATS if any(p.format == name for p in points)]
    for name in shown:
        color, marker = FORMATS[name]
        figure.add_artist(_marker(x / total, 1 - (y - 4) / height, color, marker))
        drawing.write(figure, name, x=x + 9, y=y, size=drawing.SMALL, color="muted")
        x += 9 + drawing.text_size(name, drawing.SMALL)[0] + 14
    baseline_figure = metric.figure(baseline)
    if baseline_figure.value is not None:
        level = 1 - (y - 4) / height
        span = [(x - 4) / total, (x + 12) / total]
        figure.add_artist(
            Line2D(span, [level, level], color=COLORS["vermilion"], lw=1.4, ls=(0, (4, 3)))
        )
        words = "baseline, 95% interval" if baseline_figure.interval else "baseline"
        if x + 17 + drawing.text_size(words, drawing.SMALL)[0] > total:
            words = "baseline"
        drawing.write(figure, words, x=x + 17, y=y, size=drawing.SMALL, color="muted")


def _marker(x: float, y: float, color: str, marker: str) -> Line2D:
    return Line2D([x], [y], marker=marker, markersize=6.5, color=COLORS[color], lw=0)


def _scale(axes: Axes, points: list[Point], baseline: ArtifactResult, limits: Limits) -> None:
    most = () if limits.x is None else (limits.x,)
    low = min(*(p.x_low for p in points), *most, *(p.x for p in points))
    high = max(*(p.x_high for p in points), *most, *(p.x for p in points))
    if high > 3 * low > 0:
        pad = (high / low) ** 0.09
        drawing.scale_x_logarithmically(axes, low / pad, high * pad)
    else:
        pad = 0.15 * (high - low) or 0.2 * high or 1.0
        axes.set_xlim(max(0.0, low - pad), high + pad)
        axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_ylim(*_accuracy_range(points, baseline, limits))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axes.grid(axis="y", color=COLORS["grid"], lw=0.8)


def _accuracy_range(
    points: list[Point], baseline: ArtifactResult, limits: Limits
) -> tuple[float, float]:
    kept = _kept(points, baseline)
    ends = [p.low for p in kept] + [p.high for p in kept]
    if limits.accuracy is not None:
        ends.append(limits.accuracy)
    level, main = metric.level(baseline), metric.of_entry(baseline)
    if level is not None:
        ends += level[1:]
    pad = max(0.12 * (max(ends) - min(ends)), _least_pad(max(ends, key=abs)))
    bottom = min(ends) - (3 if len(kept) < len(points) else 1) * pad
    lowest, highest = main.bounds
    return max(bottom, lowest - pad), min(max(ends) + pad, highest + pad)


def _least_pad(greatest: float) -> float:
    """Room beside equal figures: a tenth of a point, less for small errors."""
    return min(0.1, 0.02 * abs(greatest)) or 0.1


def _kept(points: list[Point], baseline: ArtifactResult) -> list[Point]:
    """The points that the vertical scale is made for: all but a few that collapsed."""
    level, main = metric.level(baseline), metric.of_entry(baseline)
    top = max(p.accuracy for p in points) if level is None else level[0]
    unit = abs(top) if main.per_unit < 0 else 1.0
    for limit in main.collapsed:
        kept = [p for p in points if p.accuracy >= top - unit * limit]
        if sum(not p.is_reference for p in kept) > len(points) - len(kept):
            return kept
    return points


def _draw_limits(axes: Axes, limits: Limits) -> None:
    """The budget's edges, and a shade over what keeps it."""
    if limits == _NO_LIMITS:
        return
    color, style = COLORS["green"], (0, (1, 2))
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    if limits.x is not None:
        axes.axvline(limits.x, color=color, lw=1.2, ls=style)
    if limits.accuracy is not None:
        axes.axhline(limits.accuracy, color=color, lw=1.2, ls=style)
    edges = (right if limits.x is None else limits.x, limits.accuracy or bottom)
    axes.fill_between([left, edges[0]], edges[1], top, color=color, alpha=0.07, lw=0)


def _draw_baseline(axes: Axes, baseline: ArtifactResult) -> None:
    level, color = metric.level(baseline), COLORS["vermilion"]
    if level is None:
        return
    if level[1] < level[2]:
        axes.axhspan(level[1], level[2], color=color, alpha=0.09, lw=0)
    axes.axhline(level[0], color=color, lw=1.4, ls=(0, (4, 3)))


def _draw_front(axes: Axes, points: list[Point]) -> None:
    """What is reached for at most so many bytes or milliseconds, as a step line."""
    if not points:
        return
    x = [*(point.x for point in points), axes.get_xlim()[1]]
    y = [*(_level(axes, point) for point in points), _level(axes, points[-1])]
    axes.step(x, y, where="post", color=COLORS["muted"], lw=1.2, alpha=0.55, zorder=1.2)


def _draw_point(axes: Axes, point: Point) -> None:
    color, marker = FORMATS.get(point.format, OTHER_FORMAT)
    bottom = axes.get_ylim()[0]
    y = _level(axes, point)
    if point.accuracy > bottom:
        axes.plot([point.x] * 2, [point.low, point.high], color=COLORS[color], lw=1.3, alpha=0.6)
    else:
        axes.annotate(
            "",
            (point.x, bottom),
            xytext=(point.x, y),
            arrowprops={"arrowstyle": "->", "color": COLORS[color], "lw": 1.3},
        )
    if point.x_high > point.x_low:
        axes.plot([point.x_low, point.x_high], [y, y], color=COLORS[color], lw=1.3, alpha=0.6)
    edge = COLORS["vermilion"] if point.is_reference else COLORS["surface"]
    axes.plot(
        [point.x],
        [y],
        marker=marker,
        markersize=MARKER + (1.5 if point.is_reference else 0),
        color=COLORS[color],
        markeredgecolor=edge,
        markeredgewidth=2.0 if point.is_reference else 0.8,
        lw=0,
    )


def _level(axes: Axes, point: Point) -> float:
    """Where a point stands: at its accuracy, or just above the lower edge when it lies below."""
    bottom, top = axes.get_ylim()
    return max(point.accuracy, bottom + 0.09 * (top - bottom))


def _pixels(axes: Axes, points: list[Point]) -> np.ndarray:
    return axes.transData.transform([(p.x, _level(axes, p)) for p in points])


def _shown(name: str, point: Point, axes: Axes) -> str:
    if point.accuracy > axes.get_ylim()[0]:
        return name
    # Accuracies are drawn above 0, errors below.
    figure = f"{point.accuracy:.1f}%" if point.accuracy >= 0 else f"{-point.accuracy:.3g}"
    return f"{name} ({figure})"


def _place(
    names: list[str], points: list[Point], axes: Axes, baseline: ArtifactResult
) -> list[Placement]:
    pixels = _pixels(axes, points)
    half = MARKER / 2 + 1
    obstacles = [Box(x - half, y - half, x + half, y + half) for x, y in pixels]
    for point, (x, y) in zip(points, pixels, strict=True):
        ends = (point.low, point.high)
        if point.accuracy <= axes.get_ylim()[0]:
            ends = (axes.get_ylim()[0], _level(axes, point))
        low, high = axes.transData.transform([(point.x, end) for end in ends])[:, 1]
        obstacles.append(Box(x - 1, low, x + 1, high))
        left, right = axes.transData.transform([(point.x_low, 0), (point.x_high, 0)])[:, 0]
        obstacles.append(Box(left, y - 1, right, y + 1))
    frame = axes.get_window_extent()
    bounds = Box(frame.x0, frame.y0 + 2, frame.x1 + 10, frame.y1 + 8)
    shown = [_shown(name, point, axes) for name, point in zip(names, points, strict=True)]
    sizes = np.array([drawing.text_size(name, drawing.SMALL) for name in shown])
    return labels.place(
        pixels,
        sizes,
        obstacles=obstacles,
        bounds=bounds,
        discouraged=_baseline_boxes(axes, baseline),
    )


def _baseline_boxes(axes: Axes, baseline: ArtifactResult) -> list[Box]:
    found = metric.level(baseline)
    if found is None:
        return []
    frame = axes.get_window_extent()
    level = axes.transData.transform((axes.get_xlim()[0], found[0]))[1]
    return [Box(frame.x0, level - 1.5, frame.x1, level + 1.5)]


def _draw_labels(
    axes: Axes, names: list[str], points: list[Point], placements: list[Placement]
) -> None:
    to_data = axes.transData.inverted()
    for name, point, (x, y), place in zip(
        names, points, _pixels(axes, points), placements, strict=True
    ):
        box = place.box
        middle = np.array([(box.left + box.right) / 2, (box.bottom + box.top) / 2])
        if place.distance > 15:
            end = np.clip((x, y), (box.left, box.bottom), (box.right, box.top))
            line = to_data.transform([(x, y), end])
            axes.plot(*line.T, color=COLORS["muted"], lw=0.7, zorder=1.5)
        x_data, y_data = to_data.transform(middle)
        axes.text(
            x_data,
            y_data,
            _shown(name, point, axes),
            fontsize=drawing.SMALL,
            color=COLORS["ink"],
            ha="center",
            va="center_baseline",
            weight="bold" if point.is_reference else "normal",
        )


def _draw_key(
    figure: Figure,
    points: list[Point],
    main: metric.MainMetric,
    *,
    top: float,
    width: int,
    columns: int,
) -> None:
    rows = -(-len(points) // columns)
    column_width = (width - 12) / columns
    for index, point in enumerate(points):
        x = 6 + (index // rows) * column_width
        y = top + 12 + 18 * (index % rows)
        drawing.write(figure, str(index + 1), x=x + 16, y=y, size=drawing.SMALL, align="right")
        name = drawing.shorten(point.name, column_width - 76, drawing.SMALL)
        drawing.write(figure, name, x=x + 24, y=y, size=drawing.SMALL)
        level = metric.shown_level(point.accuracy, main)
        drawing.write(
            figure,
            level,
            x=x + column_width - 10,
            y=y,
            size=drawing.SMALL,
            color="muted",
            align="right",
        )
