"""Reference values: statsmodels 0.15.0, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tfcompress import statistics

# statsmodels.stats.proportion.proportion_confint(..., method="wilson")
WILSON = [
    (9123, 10000, 0.95, 0.9065965642806005, 0.9176867906629395),
    (0, 20, 0.95, 0.0, 0.1611251580528194),
    (87, 100, 0.95, 0.7901964855992356, 0.9224283257275949),
    (87, 100, 0.99, 0.7599889418542458, 0.9339677492360452),
]


def _one_hot(predicted, classes=3):
    return np.eye(classes, dtype=np.float32)[np.asarray(predicted)]


@pytest.mark.parametrize(("successes", "trials", "confidence", "low", "high"), WILSON)
def test_wilson_interval_matches_statsmodels(successes, trials, confidence, low, high):
    interval = statistics.wilson_interval(successes, trials, confidence=confidence)
    assert interval.low == pytest.approx(low, abs=1e-12)
    assert interval.high == pytest.approx(high, abs=1e-12)
    assert (interval.confidence, interval.method) == (confidence, "wilson")


def test_wilson_interval_by_hand():
    z = 1.959963984540054
    centre = (0.8 + z * z / 20) / (1 + z * z / 10)
    half = z / (1 + z * z / 10) * math.sqrt(0.8 * 0.2 / 10 + z * z / 400)
    interval = statistics.wilson_interval(8, 10)
    assert interval.low == pytest.approx(centre - half)
    assert interval.high == pytest.approx(centre + half)


@pytest.mark.parametrize("arguments", [(1, 0), (-1, 5), (6, 5)])
def test_wilson_interval_refuses_counts_out_of_range(arguments):
    with pytest.raises(ValueError, match="successes"):
        statistics.wilson_interval(*arguments)


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_confidence_is_a_fraction(confidence):
    with pytest.raises(ValueError, match=r"For 95% pass 0\.95"):
        statistics.wilson_interval(1, 2, confidence=confidence)
    with pytest.raises(ValueError, match=r"For 95% pass 0\.95"):
        statistics.paired_difference_interval(1, 2, 9, confidence=confidence)


def test_accuracy_with_interval():
    accuracy, interval = statistics.accuracy_with_interval(_one_hot([0, 1]), np.array([0, 0]))
    assert accuracy == 0.5
    assert interval == statistics.wilson_interval(1, 2)
