"""Zeros by layer, after each stage that tells them.

Knows how layers of several stages are lined up. Does not know where the figure is shown.
"""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tfcompress.report import drawing, text
from tfcompress.report.drawing import COLORS
from tfcompress.results import LayerReport, StageResult

MARKS = (("blue", "o"), ("amber", "D"), ("green", "s"), ("purple", "^"), ("ink", "v"))
ROW = 22
HEAD = 56
# More rows than this are not read; the table has them all.
MOST_LAYERS = 60
# A layer with as many zeros by chance is no news: integers round some weights to zero.
LEAST = 0.05


def reporting(stages: tuple[StageResult, ...]) -> list[StageResult]:
    """The stages that tell the zeros of at least one layer, at most as many as there are marks.

    None at all where no stage left more than a few: there is nothing to see.
    """
    told = {
        stage.name: [x.sparsity for x in stage.report.layers if x.sparsity is not None]
        for stage in stages
        if stage.report is not None
    }
    if max((zeros for found in told.values() for zeros in found), default=0.0) < LEAST:
        return []
    return [stage for stage in stages if told.get(stage.name)][-len(MARKS) :]


def shown_layers(stages: list[StageResult]) -> tuple[list[LayerReport], int]:
    """The layers with weights, in model order, and how many of them are left out.

    Layers that only a later stage knows (made by it) come last. Of too many, those with the most
    parameters are kept.
    """
    layers: dict[str, LayerReport] = {}
    for stage in stages:
        assert stage.report is not None
        for layer in stage.report.layers:
            if layer.parameters > 0 and layer.sparsity is not None:
                layers.setdefault(layer.name, layer)
    kept = sorted(layers.values(), key=lambda layer: -layer.parameters)[:MOST_LAYERS]
    names = {layer.name for layer in kept}
    return [x for x in layers.values() if x.name in names], len(layers) - len(kept)


def draw(stages: list[StageResult], *, width: int) -> Figure:
    """Draws a row for each layer: how large it is and how much of it is zero after each stage.

    Args:
      stages: that `reporting` gives, at least one.
      width: of the figure in pixels.
    """
    layers, _ = shown_layers(stages)
    names = width * 0.3
    figure = drawing.new_figure(width, HEAD + ROW * len(layers) + 34)
    _draw_legend(figure, stages, width=width)
    axes = drawing.add_axes(
        figure, left=names + 70, top=HEAD, width=width - names - 118, height=ROW * len(layers)
    )
    axes.set_xlim(-2, 102)
    axes.set_ylim(len(layers) - 0.5, -0.5)
    axes.set_yticks([])
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.grid(axis="x", color=COLORS["grid"], lw=0.8)
    drawing.write(figure, "layer", x=2, y=HEAD - 10, size=drawing.SMALL, color="muted")
    drawing.write(
        figure,
        "weights",
        x=names + 54,
        y=HEAD - 10,
        size=drawing.SMALL,
        color="muted",
        align="right",
    )
    drawing.write(
        figure,
        f"zeros after {stages[-1].name[:2]}, %",
        x=width - 2,
        y=HEAD - 10,
        size=drawing.SMALL,
        color="muted",
        align="right",
    )
    for row, layer in enumerate(layers):
        y = HEAD + ROW * (row + 0.5) + 4
        _draw_row_text(figure, layer, y=y, names=names)
        last = _last_zeros(layer.name, stages)
        if last is not None:
            shown = text.percent(last, 0)
            drawing.write(figure, shown, x=width - 2, y=y, size=drawing.SMALL, align="right")
        _draw_row(axes, layer.name, stages, row=row)
    return figure


def _draw_legend(figure: Figure, stages: list[StageResult], *, width: int) -> None:
    total, height = figure.get_size_inches() * 72
    x = 6.0
    for (color, marker), stage in zip(MARKS, stages, strict=False):
        figure.add_artist(
            Line2D(
                [x / total],
                [1 - 10 / height],
                marker=marker,
                markersize=6.5,
                color=COLORS[color],
                lw=0,
            )
        )
        # The number in front tells stages apart, so that it must not be cut away.
        name = f"after {stage.name}" if len(stages) <= 2 else stage.name
        name = drawing.shorten(name, width / len(stages) - 24, drawing.SMALL)
        drawing.write(figure, name, x=x + 9, y=14, size=drawing.SMALL, color="muted")
        x += 9 + drawing.text_size(name, drawing.SMALL)[0] + 14


def _draw_row_text(figure: Figure, layer: LayerReport, *, y: float, names: float) -> None:
    name = drawing.shorten(layer.name, names, drawing.SMALL)
    drawing.write(figure, name, x=2, y=y, size=drawing.SMALL)
    drawing.write(
        figure,
        _short_count(layer.parameters),
        x=names + 54,
        y=y,
        size=drawing.SMALL,
        color="muted",
        align="right",
    )


def _draw_row(axes: Axes, name: str, stages: list[StageResult], *, row: int) -> None:
    step = 0.5 / max(len(stages), 1)
    for index, stage in enumerate(stages):
        assert stage.report is not None
        layer = next((x for x in stage.report.layers if x.name == name), None)
        if layer is None or layer.sparsity is None:
            continue
        color, marker = MARKS[index]
        y = row + (index - (len(stages) - 1) / 2) * step
        zeros = 100 * layer.sparsity
        axes.plot([0, zeros], [y, y], color=COLORS[color], lw=1.6, alpha=0.45)
        axes.plot([zeros], [y], marker=marker, markersize=5.5, color=COLORS[color], lw=0)


def _last_zeros(name: str, stages: list[StageResult]) -> float | None:
    """The zeros of a layer after the last stage that tells them."""
    known = [
        layer.sparsity
        for stage in stages
        if stage.report is not None
        for layer in stage.report.layers
        if layer.name == name and layer.sparsity is not None
    ]
    return known[-1] if known else None


def _short_count(value: int) -> str:
    if value < 1000:
        return str(value)
    scaled, unit = (value / 1000, "k") if value < 999_500 else (value / 1e6, "M")
    return f"{scaled:.1f}{unit}" if scaled < 10 else f"{scaled:.0f}{unit}"
