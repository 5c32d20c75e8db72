"""Images that a compressed model answers differently, with the answers below them.

Knows how pictures are laid out. Does not know how they were chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from tfcompress.report import drawing
from tfcompress.report.analysis import Judged
from tfcompress.report.run import Run

SIDE = 76
GAP = 12
LINE = 15
MOST = 24


@dataclass(frozen=True)
class Captioned:
    """A picture with two answers.

    Attributes:
      image: uint8 [height, width, 1 or 3].
      before: class that the baseline gives.
      after: class that the compressed model gives.
      true: the true class.
    """

    image: np.ndarray
    before: str
    after: str
    true: str


def changed(run: Run, judged: Judged, baseline: Judged) -> list[Captioned]:
    """The kept pictures of images to which a file gives another class than the baseline.

    Lost ones come first, then gained ones, then other mistakes.
    """
    names = run.results.data.classes
    at = np.flatnonzero(judged.predicted != baseline.predicted)
    order = sorted(at, key=lambda i: (not baseline.right[i], not judged.right[i], i))
    return [
        Captioned(
            run.pictures[int(judged.ids[i])],
            names[baseline.predicted[i]],
            names[judged.predicted[i]],
            names[judged.labels[i]],
        )
        for i in order
        if int(judged.ids[i]) in run.pictures
    ][:MOST]


def draw(pictures: Sequence[Captioned], *, width: int) -> Figure:
    """Draws pictures in rows; the true class is in green and has a tick.

    Args:
      pictures: at least one.
      width: of the figure in pixels.
    """
    columns = max(1, (width + GAP) // (SIDE + GAP))
    rows = -(-len(pictures) // columns)
    cell = SIDE + 2 * LINE + GAP + 4
    figure = drawing.new_figure(width, rows * cell + 4)
    for index, each in enumerate(pictures):
        left = (index % columns) * (SIDE + GAP) + 1
        top = (index // columns) * cell + 1
        axes = drawing.add_axes(figure, left=left, top=top, width=SIDE, height=SIDE)
        axes.axis("off")
        grey = each.image.shape[-1] == 1
        axes.imshow(
            each.image[..., 0] if grey else each.image,
            cmap="gray" if grey else None,
            vmin=0,
            vmax=255,
            interpolation="nearest",
        )
        for line, answer in enumerate((each.before, each.after)):
            words = ("" if line == 0 else "→ ") + answer + (" ✓" if answer == each.true else "")
            drawing.write(
                figure,
                drawing.shorten(words, SIDE, drawing.SMALL),
                x=left,
                y=top + SIDE + (line + 1) * LINE,
                size=drawing.SMALL,
                color="green" if answer == each.true else "vermilion",
            )
    return figure
