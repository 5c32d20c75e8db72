"""The figures of a transfer study: order, regime, frozen layers.

Knows how a comparison becomes marks. Does not know how it was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfcompress import transfer_comparisons as comparisons
from tfcompress.fraction_text import percent
from tfcompress.report import drawing
from tfcompress.transfer import DOWNSTREAM, NONE, TransferStudy, Trial, TrialResult
from tfcompress.transfer_comparisons import Comparison, Ranking

WIDTH = 760
ROW = 22
COLUMNS = 2
# In the order in which compressions first appear; the whole backbone is always the ink's.
_HUES = ("blue", "vermilion", "green", "purple", "amber")
_MARKERS = ("o", "s", "D", "^", "v")
_GAP = 0.4


Curves = dict[tuple[str, str], dict[str, dict[float, Mapping[int, TrialResult]]]]
"""By backbone and target, compression, share of frozen layers and seed."""


class NothingToDraw(ValueError):
    """A study that has no results yet for a figure."""


def order_svg(study: TransferStudy) -> str:
    """Part a: points of accuracy that compressing before the transfer gains or loses.

    Raises:
      NothingToDraw: no comparison has both of its sides.
    """
    with drawing.theme():
        return drawing.to_svg(
            draw_order(study),
            name="transfer-order",
            title="Compressing before the transfer against after it",
            description=(
                "For each backbone, target and compression, the accuracy of compressing before "
                "the transfer minus that of compressing after it, in points, with the same number "
                "of training images: a small dot for each seed, a large one for their mean. Right "
                "of zero, before is better."
            ),
        )


def draw_order(study: TransferStudy) -> Figure:
    """Draws a row for each comparison, grouped by backbone and target."""
    found = _required(comparisons.of_order(study))
    groups = list(dict.fromkeys((one.backbone, one.target) for one in found))
    height = ROW * (len(found) + len(groups) * (1 + _GAP))
    left, head, foot = WIDTH * 0.33, 8, 46
    figure = drawing.new_figure(WIDTH, head + height + foot)
    axes = drawing.add_axes(figure, left=left, top=head, width=WIDTH - left - 16, height=height)
    axes.set_ylim(height / ROW, 0)
    axes.set_yticks([])
    axes.axvline(0, color=drawing.COLORS["muted"], linewidth=1)
    axes.grid(axis="x", color=drawing.COLORS["grid"], linewidth=0.8)
    axes.set_xlabel(
        "accuracy before minus after the transfer, points",
        color=drawing.COLORS["muted"],
        fontsize=drawing.SMALL,
    )
    row = 0.0
    for group in groups:
        y = head + ROW * (row + 0.5) + 4
        title = ", on ".join(filter(None, group))
        drawing.write(figure, title, x=2, y=y, size=drawing.SMALL, weight="bold")
        row += 1
        for one in (one for one in found if (one.backbone, one.target) == group):
            y = head + ROW * (row + 0.5) + 4
            drawing.write(figure, one.compression, x=14, y=y, size=drawing.SMALL)
            _draw_differences(axes, one, y=row + 0.5)
            row += 1
        row += _GAP
    return figure


def _required(found: Sequence[Comparison]) -> Sequence[Comparison]:
    if not found:
        raise NothingToDraw("No comparison has both of its sides: there is nothing to draw yet.")
    return found


def _draw_differences(axes: Axes, one: Comparison, *, y: float) -> None:
    points = [100 * value for value in one.differences]
    color = drawing.COLORS["blue" if one.difference > 0 else "vermilion"]
    axes.plot([min(points), max(points)], [y, y], color=color, linewidth=1, alpha=0.5)
    axes.plot(points, [y] * len(points), "o", color=color, markersize=4, alpha=0.5)
    axes.plot([100 * one.difference], [y], "o", color=color, markersize=8)


def regime_svg(study: TransferStudy) -> str:
    """Part b: the ranks of compressions under a linear probe and under a full fine-tune.

    Raises:
      NothingToDraw: no backbone and target has two compressions in both regimes.
    """
    with drawing.theme():
        return drawing.to_svg(
            draw_regimes(study),
            name="transfer-regime",
            title="Ranks under a linear probe and under a full fine-tune",
            description=(
                "For each backbone and target, the compressions in order of their mean accuracy "
                "under a linear probe (left) and under a full fine-tune (right), with the accuracy "
                "in percent. Lines that cross are pairs that the two regimes rank differently."
            ),
        )


def draw_regimes(study: TransferStudy) -> Figure:
    """Draws a panel for each backbone and target, a line for each compression."""
    found = comparisons.rankings(study)
    if not found:
        raise NothingToDraw("Both regimes of two compressions are needed: nothing to draw yet.")
    styles = _styles(study)
    most = max(len(one.probe) for one in found)
    head, row = 54, 26.0
    panel = head + row * most + 14
    rows = -(-len(found) // COLUMNS)
    width = WIDTH / COLUMNS
    figure = drawing.new_figure(WIDTH, panel * rows)
    for number, one in enumerate(found):
        left, top = width * (number % COLUMNS), panel * (number // COLUMNS)
        _draw_ranks(figure, one, styles, left=left, top=top, width=width, head=head, row=row)
    return figure


def _draw_ranks(
    figure: Figure,
    one: Ranking,
    styles: Mapping[str, tuple[str, str]],
    *,
    left: float,
    top: float,
    width: float,
    head: float,
    row: float,
) -> None:
    # Names stand on the left alone: with both, the lines between them would be too short to follow.
    label = 172.0
    inner = width - label - 62
    axes = drawing.add_axes(
        figure, left=left + label, top=top + head, width=inner, height=row * len(one.probe)
    )
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(len(one.probe), 0)
    size = drawing.SMALL
    title = drawing.shorten(f"{one.backbone}, on {one.target}", width - 12)
    drawing.write(figure, title, x=left + 2, y=top + 18, weight="bold")
    ends = ((left + label - 8, "right", "linear probe, %"), (left + label + inner + 8, "left", ""))
    drawing.write(
        figure, ends[0][2], x=ends[0][0], y=top + 40, size=size, color="muted", align="right"
    )
    edge = left + width - 16
    drawing.write(
        figure, "full fine-tune, %", x=edge, y=top + 40, size=size, color="muted", align="right"
    )
    places = {name: [0.0, 0.0] for name, _ in one.probe}
    for side, ranking in enumerate((one.probe, one.full)):
        x, align, _ = ends[side]
        for rank, (name, accuracy) in enumerate(ranking):
            places[name][side] = rank + 0.5
            y = top + head + row * (rank + 0.5) + 4
            shown = drawing.shorten(name, label - 46, size)
            number = percent(accuracy, digits=1)
            text = f"{shown}  {number}" if side == 0 else number
            drawing.write(figure, text, x=x, y=y, size=size, align=align)
    for name, ys in places.items():
        hue, marker = styles[name]
        axes.plot(
            [0, 1],
            ys,
            color=drawing.COLORS[hue],
            marker=marker,
            markersize=6,
            linewidth=2,
            clip_on=False,
        )


def frozen_svg(study: TransferStudy) -> str:
    """Part d: accuracy against the share of layers that the transfer leaves as they are.

    Raises:
      NothingToDraw: no setting was tried with two shares.
    """
    with drawing.theme():
        return drawing.to_svg(
            draw_frozen(study),
            name="transfer-frozen",
            title="Accuracy against the share of frozen layers",
            description=(
                "For each backbone and target, test accuracy in percent against the percentage of "
                "the backbone's layers that the transfer leaves as they are, from the input on: "
                "the mean over the seeds, and a bar from the lowest seed to the highest. At 100 "
                "the head alone is trained."
            ),
        )


def draw_frozen(study: TransferStudy) -> Figure:
    """Draws a panel for each backbone and target, a line for each compression."""
    panels = curves(study)
    if not panels:
        raise NothingToDraw(
            "No setting was tried with two shares of frozen layers: nothing to draw."
        )
    styles = _styles(study)
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    height, rows = 230.0, -(-len(panels) // COLUMNS)
    head, width = 30.0, WIDTH / COLUMNS
    figure = drawing.new_figure(WIDTH, head + height * rows)
    _write_key(figure, names, styles)
    for number, (pair, panel) in enumerate(panels.items()):
        left, top = width * (number % COLUMNS), head + height * (number // COLUMNS)
        title = drawing.shorten(", on ".join(pair), width - 12)
        drawing.write(figure, title, x=left + 2, y=top + 18, weight="bold")
        axes = drawing.add_axes(
            figure, left=left + 44, top=top + 46, width=width - 72, height=height - 98
        )
        drawing.write(
            figure, "accuracy, %", x=left + 2, y=top + 36, size=drawing.SMALL, color="muted"
        )
        _draw_curves(axes, panel, styles)
    return figure


def _write_key(figure: Figure, names: Sequence[str], styles: Mapping[str, tuple[str, str]]) -> None:
    x, axes = 8.0, drawing.add_axes(figure, left=0, top=0, width=WIDTH, height=26)
    axes.set_axis_off()
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(26, 0)
    for name in names:
        hue, marker = styles[name]
        axes.plot(
            [x, x + 22], [14, 14], color=drawing.COLORS[hue], linewidth=2, marker=marker, ms=6
        )
        told = _told(name)
        drawing.write(figure, told, x=x + 30, y=18, size=drawing.SMALL)
        x += 50 + drawing.text_size(told, drawing.SMALL)[0]


def _told(name: str) -> str:
    return "not compressed" if name == NONE else name


def _draw_curves(
    axes: Axes,
    panel: Mapping[str, Mapping[float, Mapping[int, TrialResult]]],
    styles: Mapping[str, tuple[str, str]],
) -> None:
    for name, by_share in panel.items():
        hue, marker = styles[name]
        shares = sorted(by_share)
        found = [comparisons.summary(by_share[share]) for share in shares]
        means = [100 * one.mean for one in found]
        below = [100 * (one.mean - one.low) for one in found]
        above = [100 * (one.high - one.mean) for one in found]
        axes.errorbar(
            [100 * share for share in shares],
            means,
            yerr=[below, above],
            color=drawing.COLORS[hue],
            marker=marker,
            markersize=6,
            linewidth=2,
            elinewidth=1.2,
            capsize=3,
        )
    axes.set_xlim(-4, 104)
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.grid(axis="y", color=drawing.COLORS["grid"], linewidth=0.8)
    axes.set_xlabel("layers frozen, %", color=drawing.COLORS["muted"], fontsize=drawing.SMALL)


def curves(study: TransferStudy) -> Curves:
    """What part d asked for, of which there are two shares or more.

    Only over the seeds that all shares of a line have: else its shape would be that of the seeds.
    """
    asked = study.config["frozen_compressions"] if "d" in study.config["parts"] else ()
    found: Curves = {}
    for setting, results in comparisons.by_setting(study).items():
        if setting.compression in asked and setting.order != DOWNSTREAM:
            panel = found.setdefault((setting.backbone, setting.target), {})
            panel.setdefault(setting.compression, {})[setting.frozen] = results
    return {
        pair: kept
        for pair, panel in found.items()
        if (kept := {name: line for name, line in map(_shared, panel.items()) if len(line) > 1})
    }


def _shared(
    line: tuple[str, dict[float, Mapping[int, TrialResult]]],
) -> tuple[str, dict[float, Mapping[int, TrialResult]]]:
    name, by_share = line
    seeds = set.intersection(*({*results} for results in by_share.values()))
    kept: dict[float, Mapping[int, TrialResult]] = {
        share: {s: results[s] for s in sorted(seeds)} for share, results in by_share.items()
    }
    return name, kept if seeds else {}


def _styles(study: TransferStudy) -> dict[str, tuple[str, str]]:
    """Colour and marker of each compression, the same in all figures."""
    settings: Sequence[Trial] = list(comparisons.by_setting(study))
    names = dict.fromkeys(setting.compression for setting in settings)
    names.pop(NONE, None)
    found = {NONE: ("ink", "o")}
    for number, name in enumerate(names):
        found[name] = (_HUES[number % len(_HUES)], _MARKERS[(number + 1) % len(_MARKERS)])
    return found


FIGURES: Mapping[str, Callable[[TransferStudy], str]] = {
    "order": order_svg,
    "regime": regime_svg,
    "frozen": frozen_svg,
}
"""Every figure of a study by its name."""
