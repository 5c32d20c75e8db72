"""Fractions as tables write them: percent and points, with the bounds of an interval.

Knows digits and signs. Does not know what a figure is of. No TensorFlow here.
"""

from __future__ import annotations

from tfcompress.results import Interval


def percent(value: float | None, interval: Interval | None = None, *, digits: int = 2) -> str:
    """A fraction in percent, with no sign; "" for None.

    Example:
      >>> percent(0.5, Interval(0.4, 0.6, 0.95, "wilson"), digits=1)
      '50.0 (40.0 to 60.0)'
    """
    return _with_bounds(value, interval, digits=digits, sign="")


def points(value: float | None, interval: Interval | None = None) -> str:
    """A difference of fractions in points, with its sign; "" for None.

    Example:
      >>> points(-0.012)
      '-1.20'
    """
    return _with_bounds(value, interval, digits=2, sign="+")


def _with_bounds(value: float | None, interval: Interval | None, *, digits: int, sign: str) -> str:
    def shown(fraction: float) -> str:
        # Adding zero makes a negative zero a plain one.
        return f"{round(100 * fraction, digits) + 0.0:{sign}.{digits}f}"

    if value is None:
        return ""
    bounds = "" if interval is None else f" ({shown(interval.low)} to {shown(interval.high)})"
    return shown(value) + bounds
