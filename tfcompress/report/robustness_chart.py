"""What each file loses to the baseline under each corruption: a row for a file, a column for each.

Knows how a difference becomes a colour and a number. Does not know how it was measured.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfcompress.report import drawing
from tfcompress.results import Interval
from tfcompress.robustness import RobustFile, Robustness

WIDTH = 760
ROW = 24
HEAD = 52
FOOT = 10
# Points of accuracy at which a cell has its full colour.
FULL = 10.0
# Ten columns, the longest word of which is "brightness".
_TITLE = 10.5

Cell = tuple[float | None, Interval | None]
"""A difference to the baseline and its interval."""


def svg(found: Robustness) -> str:
    """The figure as an SVG element."""
    severities = ", ".join(map(str, found.severities))
    with drawing.theme():
        return drawing.to_svg(
            draw(found),
            name="robustness",
            title=f"{found.network}: accuracy on corrupted images",
            description=(
                "The first row is the baseline's accuracy in percent; below it, for each file, the "
                "points of accuracy by which it differs from the baseline on the same images: "
                "clean, under each corruption, and the mean over corruptions. Pale numbers are "
                f"those whose 95% interval holds zero. {found.examples:,} test images of "
                f"{found.dataset}, severities {severities}."
            ),
        )


def draw(found: Robustness) -> Figure:
    """Draws a cell for each file, clean and under each corruption.

    Args:
      found: what was measured.
    """
    columns = ["clean", *found.corruptions, "mean"]
    left = WIDTH * 0.2
    height = ROW * len(found.files)
    figure = drawing.new_figure(WIDTH, HEAD + height + FOOT)
    axes = drawing.add_axes(figure, left=left, top=HEAD, width=WIDTH - left - 2, height=height)
    axes.set_xlim(0, len(columns))
    axes.set_ylim(len(found.files), 0)
    axes.set_axis_off()
    _write_head(figure, columns, left=left, column=(WIDTH - left - 2) / len(columns))
    for row, file in enumerate(found.files):
        shown = drawing.shorten(file.name, left - 10, drawing.SMALL)
        drawing.write(figure, shown, x=2, y=HEAD + ROW * (row + 0.5) + 4, size=drawing.SMALL)
        if file.difference is None:
            _draw_accuracies(axes, file, y=row)
        else:
            _draw_differences(axes, _cells(file), y=row)
    return figure


def _write_head(figure: Figure, columns: Sequence[str], *, left: float, column: float) -> None:
    """What is shown, and over each column its name, a word a line."""
    for line, told in enumerate(("baseline: accuracy, %", "files: points above it")):
        drawing.write(figure, told, x=2, y=HEAD - 24 + 14 * line, size=drawing.SMALL, color="muted")
    for number, name in enumerate(columns):
        words = name.replace("_", " ").split()
        for line, word in enumerate(words):
            drawing.write(
                figure,
                drawing.shorten(word, column, _TITLE),
                x=left + column * (number + 0.5),
                y=HEAD - 10 - 14 * (len(words) - 1 - line),
                size=_TITLE,
                color="muted",
                align="center",
            )


def _draw_accuracies(axes: Axes, file: RobustFile, *, y: int) -> None:
    under = [score.accuracy for score in file.corruptions]
    for x, accuracy in enumerate((file.clean_accuracy, *under, file.accuracy)):
        drawing.draw_cell(axes, f"{100 * accuracy:.1f}", x=x, y=y)


def _cells(file: RobustFile) -> list[Cell]:
    under: list[Cell] = [(each.difference, each.difference_interval) for each in file.corruptions]
    clean = (file.clean_difference, file.clean_difference_interval)
    return [clean, *under, (file.difference, file.difference_interval)]


def _draw_differences(axes: Axes, cells: Sequence[Cell], *, y: int) -> None:
    for x, (difference, interval) in enumerate(cells):
        if difference is None:
            continue
        points = round(100 * difference, 1) + 0.0
        drawing.draw_cell(
            axes,
            f"{points:+.1f}".replace("-", "\N{MINUS SIGN}") if points else "0.0",
            x=x,
            y=y,
            strength=abs(points) / FULL,
            color="vermilion" if points < 0 else "blue",
            pale=interval is None or interval.low <= 0 <= interval.high,
        )
