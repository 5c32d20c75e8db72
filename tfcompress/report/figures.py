"""The figures of a report: which there are, what each says in words, and their SVG.

Knows the list of figures and the two widths of a page. Does not know HTML or Markdown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from tfcompress.report import (
    class_changes,
    comparison,
    confidence_charts,
    drawing,
    level_chart,
    metric,
    picture_grid,
    repetitions,
    side_by_side,
    sparsity_chart,
    time_curves,
    trade_off,
    trade_off_chart,
    training_curves,
    verdict,
)
from tfcompress.report.run import Run

# A column of a desktop page and the inside of a phone's, in CSS pixels.
WIDE = 528
NARROW = 340


NAMES = (
    "accuracy-size",
    "accuracy-latency",
    "class-change",
    "changed-images",
    "identified-images",
    "reliability",
    "selective-accuracy",
    "layer-sparsity",
    "levels",
    "training-curves",
    "accuracy-time",
)
"""Of all figures that a report may have."""


@dataclass(frozen=True)
class Drawn:
    """A figure, drawn.

    Attributes:
      name: file name without its ending, and prefix of ids.
      title: heading.
      description: what it shows and how to read it, in a sentence or two.
      wide: SVG at the desktop width, light colours.
      narrow: SVG at the phone width, light colours.
    """

    name: str
    title: str
    description: str
    wide: str
    narrow: str


def draw_all(run: Run) -> tuple[Drawn, ...]:
    """Draws every figure that the run has data for, in reading order."""
    with drawing.theme():
        makers = (
            _size,
            _latency,
            _classes,
            _pictures,
            _reliability,
            _selective,
            _sparsity,
            _levels,
            _curves,
            _clock,
        )
        return tuple(each for maker in makers if (each := maker(run)) is not None)


def draw_comparison(runs: Sequence[Run]) -> tuple[Drawn, ...]:
    """Draws the figures of a report on several runs of different settings."""
    with drawing.theme():
        found = _size(side_by_side.gathered(runs))
    return () if found is None else (found,)


def draw_repetitions(runs: Sequence[Run]) -> tuple[Drawn, ...]:
    """Draws the figures of a report on repetitions with other seeds."""
    name, pictures = repetitions.pictures(runs)
    examples = runs[0].results.data.examples
    if not pictures:
        return ()
    with drawing.theme():
        found = drawn(
            "identified-images",
            f"{examples.capitalize()} that compression forgets",
            f"Test {examples} to which more than half of the {len(runs)} models behind {name} give "
            "one class and more than half of the baselines another: the baselines' class, then the "
            "compressed models'. A tick marks the true one.",
            lambda width: picture_grid.draw(pictures, width=width),
        )
    return (found,)


def drawn(name: str, title: str, description: str, draw: Callable[[int], Figure]) -> Drawn:
    """Draws a figure at both widths.

    Args:
      name: see `Drawn`.
      title: see `Drawn`.
      description: see `Drawn`.
      draw: gives the figure at a width in pixels; called within `drawing.theme`.
    """
    wide, narrow = (
        drawing.to_svg(draw(width), name=f"{name}-{kind}", title=title, description=description)
        for kind, width in (("wide", WIDE), ("narrow", NARROW))
    )
    return Drawn(name, title, description, wide, narrow)


def _size(run: Run) -> Drawn | None:
    points = trade_off.size_points(run.results)
    if not points:
        return None
    main = metric.of(run.results)
    gzipped = trade_off.size_field(run.results) == "gzip_size_bytes"
    x_title = "Size of the gzipped file, KiB" if gzipped else "Size of the stored file, KiB"
    return drawn(
        "accuracy-size",
        f"{main.title} against size",
        f"{main.upwards} and to the left is better; the grey steps are the best that is reached "
        f"for so many bytes. {_baseline_words(run)} Bars are 95% intervals.",
        lambda width: trade_off_chart.draw(
            points, run.results.baseline, x_title=x_title, width=width, y_title=main.heading
        ),
    )


def _latency(run: Run) -> Drawn | None:
    points = trade_off.latency_points(run.results)
    if not points:
        return None
    setting, main = comparison.common_setting(run.results), metric.of(run.results)
    return drawn(
        "accuracy-latency",
        f"{main.title} against latency",
        f"{main.upwards} and to the left is better; the grey steps are the best that is reached in "
        f"so much time. {_baseline_words(run)} Upright bars are 95% intervals, "
        f"level ones span the rounds' medians ({setting}).",
        lambda width: trade_off_chart.draw(
            points,
            run.results.baseline,
            x_title="Median latency, ms",
            width=width,
            y_title=main.heading,
        ),
    )


def _baseline_words(run: Run) -> str:
    main, value = metric.of(run.results), metric.figure(run.results.baseline).value
    if value is None:
        return f"The baseline's {main.noun} was not measured."
    ring = " The ringed point is its float32 file." if comparison.reference(run.results) else ""
    shown = f"{main.show(value)}%" if main is metric.ACCURACY else f"{main.show(value)} {main.unit}"
    return f"The dashed line is the baseline, {shown}.{ring}"


def _levels(run: Run) -> Drawn | None:
    stages = level_chart.searched(run.results.stages)
    if not stages:
        return None
    return drawn(
        "levels",
        "How far it goes",
        "Accuracy on validation at each level that was tried, in percent; further right is more "
        "compression. Below the dashed line more is lost than was allowed.",
        lambda width: level_chart.draw(stages, width=width),
    )


def _curves(run: Run) -> Drawn | None:
    stages = training_curves.trained(run.results.stages)
    if not stages:
        return None
    return drawn(
        "training-curves",
        "Training",
        f"Loss and {metric.of(run.results).noun} after each epoch of each stage. "
        "The circle marks the epoch whose weights were kept, chosen on validation.",
        lambda width: training_curves.draw(stages, width=width),
    )


def _clock(run: Run) -> Drawn | None:
    main = metric.of(run.results)
    found = time_curves.curves(run.results.stages, main)
    if not found:
        return None
    return drawn(
        "accuracy-time",
        f"{main.title} against time",
        f"{main.title} on validation at the end of each epoch, by the wall time of all training "
        "that leads to it: each stage begins where the one that it went on from ended.",
        lambda width: time_curves.draw(found, width=width, main=main),
    )


def _classes(run: Run) -> Drawn | None:
    changes = class_changes.table(run)
    if changes is None:
        return None
    which = (
        f"The {len(changes.classes)} of {len(changes.classes) + changes.omitted} classes that "
        "change the most. "
        if changes.omitted
        else ""
    )
    return drawn(
        "class-change",
        "Change by class",
        "Accuracy on each class minus the baseline's, in points: blue gains, orange losses. "
        f"{which}"
        "Outlined cells are real at 5%, corrected for all classes of all files; of the others "
        "nothing is shown.",
        lambda width: class_changes.draw(changes, width=width),
    )


def _pictures(run: Run) -> Drawn | None:
    chosen, baseline = verdict.reach(run.results).chosen, run.judged.get(run.results.baseline.name)
    judged = run.judged.get(chosen.name) if chosen else None
    examples = run.results.data.examples
    if judged is None or baseline is None:
        return None
    pictures = picture_grid.changed(run, judged, baseline)
    if not pictures:
        return None
    changed = int((judged.predicted != baseline.predicted).sum())
    which = f" ({len(pictures)} of {changed})" if len(pictures) < changed else ""
    return drawn(
        "changed-images",
        f"{examples.capitalize()} with another answer",
        f"Test {examples} to which {judged.name} gives another class than the baseline{which}: the "
        "baseline's class, then the file's. A tick marks the true one. First those that were lost.",
        lambda width: picture_grid.draw(pictures, width=width),
    )


def _reliability(run: Run) -> Drawn | None:
    models = confidence_charts.reliability_models(run)
    if not models:
        return None
    return drawn(
        "reliability",
        "Confidence and accuracy",
        f"The points are up to 15 groups of about equally many test {run.results.data.examples}, "
        "by how sure the model is of its answer: on the dashed line it is right as often as it "
        f"says. Bars are 95% intervals. Shown: {_roles(models)}; the table has all.",
        lambda width: confidence_charts.draw_reliability(models, width=width),
    )


def _selective(run: Run) -> Drawn | None:
    models, examples = confidence_charts.selective_models(run), run.results.data.examples
    if not models:
        return None
    return drawn(
        "selective-accuracy",
        "Accuracy where only sure answers count",
        f"Accuracy on the share of {examples} that the model is surest of; the others are passed "
        "over, to a larger model or a person.",
        lambda width: confidence_charts.draw_selective(models, width=width, examples=examples),
    )


def _roles(models: Sequence[confidence_charts.Shown]) -> str:
    return " and ".join(
        each.role if each.role == each.judged.name else f"{each.judged.name} ({each.role})"
        for each in models
    )


def _sparsity(run: Run) -> Drawn | None:
    stages = sparsity_chart.reporting(run.results.stages)
    layers, omitted = sparsity_chart.shown_layers(stages)
    if not stages or not layers:
        return None
    which = (
        f" The {len(layers)} largest of {len(layers) + omitted} layers; the tables below have all."
        if omitted
        else ""
    )
    return drawn(
        "layer-sparsity",
        "Zeros by layer",
        "Share of each layer's treated weights that are exactly zero in the Keras model after each "
        f"stage.{which}",
        lambda width: sparsity_chart.draw(stages, width=width),
    )
