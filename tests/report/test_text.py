from __future__ import annotations

import pytest

from tfcompress.report import text
from tfcompress.results import Interval


@pytest.mark.parametrize(
    ("render", "value", "expected"),
    [
        (text.percent, 0.5, "50.00"),
        (text.points, -0.00001, "0.00"),
        (text.points, 0.1, "+10.00"),
        (text.points, -0.0123, "\u22121.23"),
        (text.kib, 1024, "1.0"),
        (text.kib, 1_023_900, "999.9"),
        (text.kib, 1_024_000, "1,000"),
        (text.mib, 2**21, "2.0"),
        (text.ratio, 0.9999, "1.0\u00d7"),
        (text.ratio, 0.5, "0.50\u00d7"),
        (text.ratio, 9.99, "10\u00d7"),
        (text.milliseconds, 0.05, "0.050"),
        (text.milliseconds, 12.34, "12.3"),
        (text.p_value, 0.0004, "<0.001"),
        (text.p_value, 0.05, "0.050"),
        (text.duration, 59.94, "59.9 s"),
        (text.duration, 3600, "1 h 0 min"),
        (text.count, 431_080, "431,080"),
    ],
)
def test_reads_as_a_person_expects(render, value, expected):
    assert render(value) == expected


@pytest.mark.parametrize(
    "render",
    [
        text.percent,
        text.points,
        text.percent_interval,
        text.points_interval,
        text.kib,
        text.mib,
        text.ratio,
        text.milliseconds,
        text.p_value,
        text.duration,
        text.count,
    ],
)
def test_missing_is_an_en_dash(render):
    assert render(None) == "\u2013"


def test_intervals_and_plurals():
    assert text.percent_interval(Interval(0.9, 0.925)) == "90.00 to 92.50"
    assert text.points_interval(Interval(-0.01, 0.002)) == "\u22121.00 to +0.20"
    assert text.plural(1, "thread") == "1 thread"
    assert text.plural(2000, "image") == "2,000 images"
