"""The look of the figures, and the way from a matplotlib figure to an SVG.

Knows the palette, the type sizes and how a figure takes the page's colours (light or dark). Does
not know what is drawn. One unit of a figure is one CSS pixel.
"""

from __future__ import annotations

import bisect
import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager, textpath
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

# Light-page colours. Each is unlike any other colour in a figure, so that the page's SVG can name
# the role in its place (`var(--ink)`) and follow a dark page. The six hues are Okabe and Ito's,
# darkened where needed for 3:1 against white; format is told by shape as well as by colour.
COLORS: Mapping[str, str] = {
    "ink": "#1c2126",
    "muted": "#5a6570",
    "grid": "#e1e5ea",
    "surface": "#fefefe",
    "blue": "#0072b2",
    "vermilion": "#d55e00",
    "green": "#00835f",
    "purple": "#a8508a",
    "amber": "#a87400",
}
FONT_SIZE = 13.0
SMALL = 12.0
# Of a cell's colour, so that the number on it can be read.
_STRONGEST = 0.85
# matplotlib measures with its own font; the page draws with the reader's, which is narrower.
PAGE_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_SETTINGS: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": FONT_SIZE,
    "svg.fonttype": "none",
    "svg.hashsalt": "tfcompress",
    "text.parse_math": False,
    "axes.unicode_minus": True,
}


@contextmanager
def theme() -> Iterator[None]:
    """The settings that figures are made and saved under; matplotlib's own come back afterwards."""
    with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        # The SVG carries the text itself: a script that matplotlib's font lacks is drawn by the
        # page's.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` by `height` CSS pixels."""
    return Figure(figsize=(width / 72, height / 72), dpi=72, facecolor="none")


def add_axes(figure: Figure, *, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place given in pixels from the figure's upper left corner, in the house look."""
    total_width, total_height = figure.get_size_inches() * 72
    axes = figure.add_axes(
        (
            left / total_width,
            1 - (top + height) / total_height,
            width / total_width,
            height / total_height,
        )
    )
    axes.set_facecolor("none")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(COLORS["muted"])
    axes.tick_params(colors=COLORS["muted"], labelsize=SMALL, length=3, width=0.8)
    axes.tick_params(axis="y", length=0)
    axes.set_axisbelow(True)
    return axes


def write(
    figure: Figure,
    text: str,
    *,
    x: float,
    y: float,
    size: float = FONT_SIZE,
    color: str = "ink",
    align: str = "left",
    weight: str = "normal",
) -> None:
    """Puts a line of text at pixels from the figure's upper left corner (its baseline at `y`)."""
    width, height = figure.get_size_inches() * 72
    figure.text(
        x / width,
        1 - y / height,
        text,
        fontsize=size,
        color=COLORS[color],
        ha=align,
        va="baseline",
        weight=weight,
    )


def draw_cell(
    axes: Axes,
    text: str,
    *,
    x: float,
    y: float,
    strength: float = 0.0,
    color: str = "vermilion",
    pale: bool = False,
) -> None:
    """Draws a cell of a table of numbers, coloured by how much it says.

    Args:
      axes: on which a column and a row are one unit wide and high, with y downwards.
      text: the number.
      x: the cell's column, 0-based.
      y: the cell's row, 0-based.
      strength: how full the colour is; below 0 is none, above 1 as full as 1.
      color: of the cell, of `COLORS`.
      pale: write the number so that it steps back.
    """
    alpha = _STRONGEST * min(max(strength, 0.0), 1.0)
    axes.add_patch(
        Rectangle((x + 0.02, y + 0.06), 0.96, 0.88, color=COLORS[color], alpha=alpha, lw=0)
    )
    axes.text(
        x + 0.5,
        y + 0.5,
        text,
        ha="center",
        va="center_baseline",
        fontsize=SMALL,
        color=COLORS["muted" if pale else "ink"],
    )


def write_line_key(figure: Figure, text: str, *, color: str, style: Any, y: float) -> None:
    """Puts a line of a legend at the figure's left edge: a stroke, and what it stands for.

    Args:
      figure: of any size.
      text: shortened where the figure is narrower.
      color: a name in `COLORS`.
      style: matplotlib's line style.
      y: baseline of the text, in pixels from the upper edge.
    """
    width, height = figure.get_size_inches() * 72
    level = 1 - (y - 4) / height
    figure.add_artist(
        Line2D([6 / width, 30 / width], [level, level], color=COLORS[color], lw=1.8, ls=style)
    )
    shown = shorten(text, width - 50, SMALL)
    write(figure, shown, x=36, y=y, size=SMALL, color="muted")


def text_size(text: str, size: float = FONT_SIZE) -> tuple[float, float]:
    """Width and height of a line of text in pixels."""
    properties = font_manager.FontProperties(family="DejaVu Sans", size=size)
    width, _, _ = textpath.text_to_path.get_text_width_height_descent(text, properties, False)
    return float(width), 1.2 * size


def shorten(text: str, limit: float, size: float = FONT_SIZE) -> str:
    """The text, or its two ends around an ellipsis where it is wider than `limit` pixels."""
    if text_size(text, size)[0] <= limit:
        return text

    def kept(letters: int) -> str:
        return f"{text[: (letters + 1) // 2]}…{text[len(text) - letters // 2 :]}"

    fitting = bisect.bisect_left(
        range(2, len(text)), True, key=lambda letters: text_size(kept(letters), size)[0] > limit
    )
    return kept(fitting + 1) if fitting else text[:1] + "…"


def nice_log_ticks(low: float, high: float) -> np.ndarray:
    """Round values between `low` and `high`: the densest of a few series with at most seven."""
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    best = np.array([])
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), np.arange(1, 10, 0.5)):
        ticks = np.unique(np.outer(decades, steps))
        ticks = ticks[(ticks >= low) & (ticks <= high)]
        if len(ticks) > 7:
            break
        best = ticks
    return best


def scale_x_logarithmically(axes: Axes, low: float, high: float) -> None:
    """Gives axes a logarithmic scale with a few round values, whose labels stay in the figure."""
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    total = 72 * axes.figure.bbox.width / axes.figure.dpi
    left, right = (total * end for end in axes.get_position().intervalx)
    shown = []
    for tick in nice_log_ticks(low, high).tolist():
        label = f"{tick:,g}"
        middle = left + (right - left) * np.log(tick / low) / np.log(high / low)
        half = text_size(label, SMALL)[0] / 2
        if middle - half >= 0 and middle + half <= total:
            shown.append((tick, label))
    axes.xaxis.set_major_locator(FixedLocator([tick for tick, _ in shown]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FixedFormatter([label for _, label in shown]))


def to_svg(figure: Figure, *, name: str, title: str, description: str) -> str:
    """The figure as an SVG element with accessible text and no metadata.

    Args:
      figure: drawn under `theme`.
      name: prefix of every id, so that several figures share a page.
      title: for assistive technology and the tooltip.
      description: what the figure shows, in words.

    Returns:
      `<svg ...>...</svg>` with a viewBox and the light colours.
    """
    stream = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(stream, format="svg", transparent=True, metadata=metadata)
    body = stream.getvalue()
    body = body[body.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    body = body.replace("'DejaVu Sans'", PAGE_FONTS)
    width, height = (round(float(side) * 72) for side in figure.get_size_inches())
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-labelledby="{name}-title {name}-description">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-description">{escape(description)}</desc>'
    )
    return opening + body[body.index(">") + 1 :].strip()


def for_page(svg: str) -> str:
    """The SVG with the page's colours in place of the light ones."""
    for role, color in COLORS.items():
        svg = svg.replace(color, f"var(--{role})")
    return svg


def for_file(svg: str) -> str:
    """The SVG as a file of its own: on the light surface, since it cannot know its page."""
    return svg.replace(
        "<desc ", f'<rect width="100%" height="100%" fill="{COLORS["surface"]}"/><desc ', 1
    )
