"""How a figure reads: units, digits, signs. A missing value is an en dash.

Results hold fractions and bytes; the plain tables that studies print have `fraction_text`.
"""

from __future__ import annotations

from tfcompress.results import Interval

MISSING = "\u2013"
MINUS = "\u2212"
TIMES = "\u00d7"


def percent(fraction: float | None, digits: int = 2) -> str:
    """A fraction as a percentage, without the sign.

    Example:
      >>> percent(0.91357), percent(None)
      ('91.36', '–')
    """
    return MISSING if fraction is None else f"{100 * fraction:.{digits}f}"


def points(difference: float | None, digits: int = 2) -> str:
    """A difference of two fractions in percentage points, signed.

    Example:
      >>> points(0.0031), points(-0.0031), points(0.0)
      ('+0.31', '−0.31', '0.00')
    """
    return MISSING if difference is None else signed(100 * difference, digits)


def signed(value: float, digits: int) -> str:
    """A number with its sign; none where it rounds to zero.

    Example:
      >>> signed(0.0312, 3), signed(-0.0312, 3), signed(-0.0001, 3)
      ('+0.031', '−0.031', '0.000')
    """
    text = f"{abs(value):,.{digits}f}"
    if not text.strip("0.,"):
        return text
    return ("+" if value > 0 else MINUS) + text


def percent_interval(interval: Interval | None) -> str:
    """An interval of a fraction, in percent: `90.79 to 91.89`."""
    return MISSING if interval is None else f"{percent(interval.low)} to {percent(interval.high)}"


def points_interval(interval: Interval | None) -> str:
    """An interval of a difference, in points: `−0.71 to +0.12`."""
    return MISSING if interval is None else f"{points(interval.low)} to {points(interval.high)}"


def kib(size_bytes: float | None) -> str:
    """Bytes in KiB (1,024 bytes).

    Example:
      >>> kib(98496), kib(4694024)
      ('96.2', '4,584')
    """
    if size_bytes is None:
        return MISSING
    size = size_bytes / 1024
    return f"{size:,.0f}" if size >= 1000 else f"{size:.1f}"


def mib(size_bytes: float | None) -> str:
    """Bytes in MiB (1,048,576 bytes)."""
    return MISSING if size_bytes is None else f"{size_bytes / 2**20:,.1f}"


def ratio(value: float | None) -> str:
    """A ratio with three digits at most.

    Example:
      >>> ratio(3.94), ratio(39.4), ratio(394.0), ratio(0.84)
      ('3.9×', '39×', '394×', '0.84×')
    """
    if value is None:
        return MISSING
    digits = 2 if value < 0.995 else 1 if value < 9.95 else 0
    return f"{value:.{digits}f}{TIMES}"


def milliseconds(value: float | None) -> str:
    """Milliseconds with three significant digits.

    Example:
      >>> milliseconds(0.1256), milliseconds(3.617), milliseconds(127.3)
      ('0.126', '3.62', '127')
    """
    if value is None:
        return MISSING
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


def p_value(value: float | None) -> str:
    """A p-value with three digits, `<0.001` below."""
    if value is None:
        return MISSING
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def duration(seconds: float | None) -> str:
    """Wall time as a person reads it.

    Example:
      >>> duration(4.2), duration(75), duration(7322)
      ('4.2 s', '1 min 15 s', '2 h 2 min')
    """
    if seconds is None:
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def count(value: int | None) -> str:
    """A count with thousands separated."""
    return MISSING if value is None else f"{value:,}"


def plural(number: int, noun: str) -> str:
    """A count with its noun: `1 thread`, `2 threads`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
