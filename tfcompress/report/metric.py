"""The figure that a run's files are judged by first: accuracy, or the error of values.

Knows where it stands in the results, which way is better, and how it reads. Does not know what is
concluded from it, nor tables or figures.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tfcompress.report import text
from tfcompress.results import ArtifactResult, Interval, Results


@dataclass(frozen=True)
class MainMetric:
    """How the main figure of a task reads.

    Attributes:
      title: at the head of a column: `"Accuracy"`.
      unit: of the figure, such as `"%"`; empty where it has none.
      difference_unit: of a difference, such as `"points"`.
      verb: what a file does that is worse: `"loses accuracy"`.
      upwards: which way is better where it is drawn, at the beginning of a sentence.
      tested_by: what its p value is of, in a sentence.
      in_history: its Keras name in the history of a training.
      show: the figure as text.
      signed: a difference as text, with its sign.
      per_unit: what the figure of the results is multiplied by to be drawn; below 0 where less is
        better, so that better is always up.
      bounds: least and greatest value that can be drawn.
      collapsed: of how much more of a loss than these, as drawn, a file is left out of the scale;
        a fraction of the baseline's figure where `per_unit` is below 0.
    """

    title: str
    unit: str
    difference_unit: str
    verb: str
    upwards: str
    tested_by: str
    in_history: str
    show: Callable[[float | None], str]
    signed: Callable[[float | None], str]
    per_unit: float
    bounds: tuple[float, float]
    collapsed: tuple[float, float]

    @property
    def better(self) -> int:
        """1 where more of the figure is better, -1 where less is."""
        return 1 if self.per_unit > 0 else -1

    @property
    def noun(self) -> str:
        """The title within a sentence."""
        return self.title[0].lower() + self.title[1:]

    @property
    def heading(self) -> str:
        """Title and unit."""
        return ", ".join(filter(None, (self.title, self.unit)))

    def show_interval(self, interval: Interval | None) -> str:
        """An interval of the figure."""
        return _ends(interval, self.show)

    def signed_interval(self, interval: Interval | None) -> str:
        """An interval of a difference."""
        return _ends(interval, self.signed)

    def amount(self, value: float) -> str:
        """The size of a difference, at least 0."""
        return self.signed(value).lstrip("+")

    def with_unit(self, value: str) -> str:
        """A shown difference with its unit."""
        return f"{value} {self.difference_unit}".rstrip()


def _ends(interval: Interval | None, show: Callable[[float | None], str]) -> str:
    return text.MISSING if interval is None else f"{show(interval.low)} to {show(interval.high)}"


def decimals(value: float | None) -> int:
    """Decimals with which a figure shows four digits.

    Example:
      >>> decimals(12.71), decimals(0.00431), decimals(51234.0)
      (2, 6, 0)
    """
    return max(0, 3 - math.floor(math.log10(abs(value)))) if value else 3


def plain(value: float | None, digits: int) -> str:
    """A number with so many decimals."""
    return text.MISSING if value is None else f"{value:,.{digits}f}".replace("-", text.MINUS)


def signed(value: float | None, digits: int) -> str:
    """A difference with so many decimals and its sign.

    Example:
      >>> signed(0.5151, 3), signed(-1e-8, 3)
      ('+0.515', '0.000')
    """
    return text.MISSING if value is None else text.signed(value, digits)


ACCURACY = MainMetric(
    title="Accuracy",
    unit="%",
    difference_unit="points",
    verb="loses accuracy",
    upwards="Up",
    tested_by="the exact test",
    in_history="accuracy",
    show=text.percent,
    signed=text.points,
    per_unit=100.0,
    bounds=(0.0, 100.0),
    collapsed=(5.0, 15.0),
)
ERROR = MainMetric(
    title="Mean absolute error",
    unit="",
    difference_unit="",
    verb="has larger errors",
    upwards="Up, where errors are smaller,",
    tested_by="the bootstrap's test",
    in_history="mean_absolute_error",
    show=partial(plain, digits=3),
    signed=partial(signed, digits=3),
    per_unit=-1.0,
    bounds=(-float("inf"), 0.0),
    collapsed=(0.5, 2.0),
)


def of(results: Results) -> MainMetric:
    """The main metric of a run, with the unit of its target where it has one."""
    targets = results.data.targets
    if not targets:
        return ACCURACY
    unit = targets[0] if len(targets) == 1 else f"mean of {len(targets)} targets"
    digits = decimals(figure(results.baseline).value)
    return dataclasses.replace(
        ERROR,
        unit=unit,
        difference_unit=unit,
        show=partial(plain, digits=digits),
        # One more, since a paired difference is far surer than the figures that it is of.
        signed=partial(signed, digits=digits + 1),
    )


def of_entry(entry: ArtifactResult) -> MainMetric:
    """The main metric of one model or file, with no unit for values."""
    return ERROR if entry.metrics else ACCURACY


@dataclass(frozen=True)
class Figure:
    """The main figure of one model or file.

    Attributes:
      value: None where it was not measured.
      interval: of `value`.
      difference: to the baseline.
      difference_interval: of `difference`.
      p_value: of no difference.
      gain: `difference` in the direction that is better.
      gain_interval: of `gain`.
    """

    value: float | None
    interval: Interval | None
    difference: float | None
    difference_interval: Interval | None
    p_value: float | None
    gain: float | None
    gain_interval: Interval | None


def figure(entry: ArtifactResult) -> Figure:
    """The main figure of a model or a file."""
    if not entry.metrics:
        shown, interval = entry.difference, entry.difference_interval
        own = (entry.accuracy, entry.accuracy_interval, shown, interval, entry.p_value)
        return Figure(*own, shown, interval)
    main = entry.metrics[0]
    gain = None if main.difference is None else -main.difference
    turned = as_gain(main.difference_interval, ERROR)
    return Figure(
        main.value,
        main.interval,
        main.difference,
        main.difference_interval,
        main.p_value,
        gain,
        turned,
    )


def as_gain(interval: Interval | None, metric: MainMetric) -> Interval | None:
    """The interval of a difference as that of a gain, and the other way round."""
    if interval is None or metric.better > 0:
        return interval
    return dataclasses.replace(interval, low=-interval.high, high=-interval.low)


def level(entry: ArtifactResult) -> tuple[float, float, float] | None:
    """The figure and the ends of its interval as they are drawn, better up; None without one."""
    found, scale = figure(entry), of_entry(entry).per_unit
    if found.value is None:
        return None
    interval = found.interval or Interval(found.value, found.value)
    low, high = sorted((scale * interval.low, scale * interval.high))
    return scale * found.value, low, high


def shown_level(drawn: float, metric: MainMetric) -> str:
    """The text of a figure as `level` gives it."""
    return metric.show(drawn / metric.per_unit)
