"""Accuracy change of each class, of each file against the baseline.

Knows which classes are shown and which cells stand out from noise. Does not know where the figure
is shown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tfcompress import statistics
from tfcompress.report import comparison, drawing, text
from tfcompress.report.drawing import COLORS
from tfcompress.report.run import Run
from tfcompress.statistics import ClassChange

MOST_CLASSES = 10
CELL_HEIGHT = 24
LONGEST_NAME = 80.0
# From here on a cell has no room for a tenth of a point.
LARGE = 0.1


@dataclass(frozen=True)
class ChangeTable:
    """Changes of the shown classes.

    Attributes:
      files: names, in the order of the results.
      classes: names of the shown classes.
      changes: for each file, a record for each shown class.
      significant: bool [files, classes], by McNemar's exact test after Holm's correction for all
        files and classes, shown or not.
      omitted: classes that are not shown; those shown change the most.
    """

    files: tuple[str, ...]
    classes: tuple[str, ...]
    changes: tuple[tuple[ClassChange, ...], ...]
    significant: np.ndarray
    omitted: int


def table(run: Run) -> ChangeTable | None:
    """Computes the changes out of the stored predictions; None with nothing to compare."""
    names = run.results.data.classes
    changes = [each.class_changes for each in run.files if each.class_changes is not None]
    if not changes:
        return None
    size = [max(abs(row[k].change or 0.0) for row in changes) for k in range(len(names))]
    present = [k for k in range(len(names)) if changes[0][k].examples]
    shown = sorted(sorted(present, key=lambda k: -size[k])[:MOST_CLASSES])
    kept = tuple(tuple(row[k] for k in shown) for row in changes)
    # Of all classes: those shown are chosen by their change, which one must not profit from twice.
    adjusted = statistics.holm(p_values(run))
    return ChangeTable(
        files=tuple(each.name for each in run.files),
        classes=tuple(names[k] for k in shown),
        changes=kept,
        significant=adjusted[:, shown] < statistics.LEVEL,
        omitted=len(names) - len(shown),
    )


def p_values(run: Run) -> np.ndarray:
    """Of every class of every file, float [files, classes]; NaN where there is no test.

    There is none in a class without examples, nor of the baseline's own float32 file.
    """
    own = comparison.reference(run.results)
    return np.array(
        [
            [None if own and each.name == own.name else cell.p_value for cell in each.class_changes]
            for each in run.files
            if each.class_changes is not None
        ],
        float,
    )


def draw(changes: ChangeTable, *, width: int) -> Figure:
    """Draws a cell for each file and class, coloured by sign and size of the change in points.

    Args:
      changes: what `table` gives.
      width: of the figure in pixels; narrow ones put a file's name above its cells.
    """
    narrow = width < 450
    left = 0.0 if narrow else 0.32 * width
    row_height = CELL_HEIGHT + (22 if narrow else 4)
    longest = max(drawing.text_size(name, drawing.SMALL)[0] for name in changes.classes)
    head = 34 + 0.75 * min(longest, LONGEST_NAME)
    figure = drawing.new_figure(width, head + row_height * len(changes.files) + 8)
    drawing.write(figure, "Change, points", x=2, y=14)
    # The names lean to the right, past the last cell.
    cell = (width - left - max(0.72 * min(longest, LONGEST_NAME) - 8, 8)) / len(changes.classes)
    cell = min(cell, 64.0)
    height = row_height * len(changes.files)
    axes = drawing.add_axes(
        figure, left=left, top=head, width=cell * len(changes.classes), height=height
    )
    axes.axis("off")
    axes.set_xlim(0, cell * len(changes.classes))
    axes.set_ylim(height, 0)
    _draw_classes(figure, changes.classes, left=left, top=head - 6, cell=cell)
    for row, name in enumerate(changes.files):
        top = row * row_height
        room = (width - 8) if narrow else left - 10
        y = head + top + (15 if narrow else CELL_HEIGHT / 2 + 6)
        drawing.write(
            figure, drawing.shorten(name, room, drawing.SMALL), x=2, y=y, size=drawing.SMALL
        )
        _draw_cells(axes, changes, row=row, top=top + (20 if narrow else 2), width=cell)
    return figure


def _draw_classes(
    figure: Figure, names: tuple[str, ...], *, left: float, top: float, cell: float
) -> None:
    width, height = figure.get_size_inches() * 72
    for index, name in enumerate(names):
        figure.text(
            (left + (index + 0.5) * cell - 3) / width,
            1 - top / height,
            drawing.shorten(name, LONGEST_NAME, drawing.SMALL),
            fontsize=drawing.SMALL,
            color=COLORS["muted"],
            rotation=45,
            rotation_mode="anchor",
            ha="left",
            va="baseline",
        )


def _draw_cells(axes: Axes, changes: ChangeTable, *, row: int, top: float, width: float) -> None:
    largest = max(abs(c.change or 0.0) for line in changes.changes for c in line) or 1.0
    # A scale that small changes cannot fill: one point in a hundred is the least full colour.
    scale = max(largest, 0.01)
    for column, change in enumerate(changes.changes[row]):
        value = change.change or 0.0
        axes.add_patch(
            Rectangle(
                (column * width + 1, top),
                width - 2,
                CELL_HEIGHT,
                facecolor=COLORS["blue" if value > 0 else "vermilion"],
                alpha=0.04 + 0.5 * abs(value) / scale,
                lw=0,
            )
        )
        outlined = bool(changes.significant[row, column])
        if outlined:
            axes.add_patch(
                Rectangle(
                    (column * width + 1.8, top + 0.8),
                    width - 3.6,
                    CELL_HEIGHT - 1.6,
                    facecolor="none",
                    edgecolor=COLORS["ink"],
                    lw=1.4,
                )
            )
        axes.text(
            (column + 0.5) * width,
            top + CELL_HEIGHT / 2,
            text.points(change.change, 1 if scale < LARGE else 0),
            fontsize=drawing.SMALL if width >= 42 else 10.5 if width >= 32 else 9.5,
            color=COLORS["ink"],
            weight="bold" if outlined else "normal",
            ha="center",
            va="center_baseline",
        )
