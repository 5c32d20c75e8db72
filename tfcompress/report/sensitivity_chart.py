"""What compressing one layer alone costs: a row for each layer, a column for each level.

Knows how an effect becomes a colour and a number. Does not know how it was measured.
"""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfcompress.layer_sensitivity import Effect, Sensitivity, level_title
from tfcompress.report import drawing

WIDTH = 760
ROW = 22
HEAD = 34
FOOT = 10
# Points of accuracy at which a cell has its full colour.
FULL = 20.0


def svg(found: Sensitivity, kind: str) -> str:
    """The figure of one kind as an SVG element.

    Args:
      found: what was measured.
      kind: one of its kinds.

    Raises:
      ValueError: the kind was not measured.
    """
    with drawing.theme():
        return drawing.to_svg(
            draw(found, kind),
            name=f"sensitivity-{kind}",
            title=f"{found.model}: sensitivity of its layers to {kind}",
            description=(
                "Points of accuracy lost when one layer alone is compressed, by layer (the most "
                f"sensitive on top) and level, on {found.examples:,} validation examples. Pale "
                "numbers are those whose 95% interval holds zero."
            ),
        )


def draw(found: Sensitivity, kind: str) -> Figure:
    """Draws a cell for each layer and level.

    Args:
      found: what was measured.
      kind: one of its kinds.
    """
    layers, names, levels = found.by_layer(kind), found.ordered(kind), found.levels(kind)
    left = WIDTH * 0.34
    figure = drawing.new_figure(WIDTH, HEAD + ROW * len(names) + FOOT)
    axes = drawing.add_axes(
        figure, left=left, top=HEAD, width=WIDTH - left - 2, height=ROW * len(names)
    )
    axes.set_xlim(0, len(levels))
    axes.set_ylim(len(names), 0)
    axes.set_axis_off()
    column = (WIDTH - left - 2) / len(levels)
    _write_head(figure, kind, levels, left=left, column=column)
    for row, name in enumerate(names):
        y = HEAD + ROW * (row + 0.5) + 4
        weights = f"{layers[name][0].weights:,}"
        drawing.write(
            figure, weights, x=left - 8, y=y, size=drawing.SMALL, color="muted", align="right"
        )
        shown = drawing.shorten(name, left - 76, drawing.SMALL)
        drawing.write(figure, shown, x=2, y=y, size=drawing.SMALL)
        for effect in layers[name]:
            _draw_cell(axes, effect, x=levels.index(effect.level), y=row)
    return figure


def _write_head(
    figure: Figure, kind: str, levels: list[float], *, left: float, column: float
) -> None:
    y, size = HEAD - 10, drawing.SMALL
    drawing.write(figure, "layer", x=2, y=y, size=size, color="muted")
    drawing.write(figure, "weights", x=left - 8, y=y, size=size, color="muted", align="right")
    for number, level in enumerate(levels):
        x = left + column * (number + 0.5)
        title = drawing.shorten(level_title(kind, level), column - 4, size)
        drawing.write(figure, title, x=x, y=y, size=size, color="muted", align="center")


def _draw_cell(axes: Axes, effect: Effect, *, x: int, y: int) -> None:
    lost = -100 * effect.difference
    drawing.draw_cell(
        axes,
        f"{round(lost, 1) + 0.0:.1f}".replace("-", "\N{MINUS SIGN}"),
        x=x,
        y=y,
        strength=lost / FULL,
        pale=not effect.is_shown,
    )
