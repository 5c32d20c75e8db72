"""Reference values: scipy, statsmodels 0.15.0, the R package contingencytables 3.0.0, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from tfcompress import statistics


def _one_hot(predicted, classes=3):
    return np.eye(classes, dtype=np.float32)[np.asarray(predicted)]


def test_paired_difference_interval_matches_contingencytables():
    # contingencytables, table cavo_2012 (59, 6; 16, 80):
    # "estimate = -0.0621 (95% CI -0.1240 to -0.0054)"
    interval = statistics.paired_difference_interval(6, 16, 161)
    assert round(interval.low, 4) == -0.1240
    assert round(interval.high, 4) == -0.0054
    assert interval.method == "tango_score"


@pytest.mark.parametrize(
    ("gained", "lost", "n"), [(6, 16, 161), (3, 0, 40), (40, 20, 160), (130, 170, 10000)]
)
def test_paired_difference_limits_solve_the_score_equation(gained, lost, n):
    """At each limit, the score with a numerically maximized likelihood is plus or minus z."""
    interval = statistics.paired_difference_interval(gained, lost, n)
    for limit, expected in ((interval.low, 1.959964), (interval.high, -1.959964)):

        def negative_log_likelihood(q, d=limit):
            # cells: only model q + d, only baseline q, agreement the rest
            cells = np.array([q + d, q, 1 - 2 * q - d])
            counts = np.array([gained, lost, n - gained - lost])
            return -np.sum(stats.multinomial.logpmf(counts, n, np.clip(cells, 1e-15, 1)))

        low, high = max(0.0, -limit), (1 - limit) / 2
        q = optimize.minimize_scalar(
            negative_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12}
        ).x
        score = (gained - lost - n * limit) / math.sqrt(n * (2 * q + limit - limit * limit))
        assert score == pytest.approx(expected, abs=2e-3)


def test_paired_difference_interval_keeps_a_width_where_nothing_changed():
    # With gained = lost = 0 the limits are plus and minus z^2 / (n + z^2).
    z2 = 1.959963984540054**2
    interval = statistics.paired_difference_interval(0, 0, 1000)
    assert interval.high == pytest.approx(z2 / (1000 + z2), rel=1e-6)
    assert interval.low == pytest.approx(-interval.high)


@pytest.mark.parametrize(("gained", "lost", "end"), [(10, 0, "high"), (0, 10, "low")])
def test_paired_difference_interval_at_the_extremes(gained, lost, end):
    interval = statistics.paired_difference_interval(gained, lost, 10)
    assert abs(getattr(interval, end)) == 1.0
    assert -1 <= interval.low < interval.high <= 1


def test_paired_difference_interval_mirrors_when_the_models_swap():
    one = statistics.paired_difference_interval(12, 30, 500)
    other = statistics.paired_difference_interval(30, 12, 500)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


@pytest.mark.parametrize("gained", range(0, 40, 3))
def test_paired_difference_interval_agrees_with_the_score_test(gained):
    """Zero lies outside exactly when McNemar's asymptotic test rejects at 5%."""
    lost = 20
    interval = statistics.paired_difference_interval(gained, lost, 2000)
    rejected = abs(gained - lost) / math.sqrt(gained + lost) > 1.959963984540054
    assert (interval.low > 0 or interval.high < 0) == rejected


def test_paired_difference_interval_covers_the_truth():
    """95% nominal; 2,000 draws have a standard error of 0.5 points."""
    generator = np.random.default_rng(7)
    truth, cells = -0.01, [0.015, 0.025, 0.96]
    draws = generator.multinomial(400, cells, size=2000)
    covered = 0
    for gained, lost, _ in draws:
        interval = statistics.paired_difference_interval(int(gained), int(lost), 400)
        covered += interval.low <= truth <= interval.high
    assert 0.93 <= covered / len(draws) <= 0.98


@pytest.mark.parametrize("arguments", [(-1, 0, 5), (3, 3, 5), (0, 0, 0)])
def test_paired_difference_interval_refuses_counts_out_of_range(arguments):
    with pytest.raises(ValueError, match="gained"):
        statistics.paired_difference_interval(*arguments)


@pytest.mark.parametrize(
    ("gained", "lost", "expected"),
    [
        (12, 2, 0.012939453125),  # statsmodels mcnemar(exact=True)
        (130, 170, 0.02418198247326274),  # statsmodels mcnemar(exact=True)
        (6, 16, 0.052479),  # contingencytables, cavo_2012
        (0, 5, 2 / 2**5),  # by hand
        (4, 4, 1.0),
        (0, 0, 1.0),
    ],
)
def test_mcnemar_exact(gained, lost, expected):
    assert statistics.mcnemar_p_value(gained, lost) == pytest.approx(expected, abs=1e-6)
    assert statistics.mcnemar_p_value(lost, gained) == pytest.approx(expected, abs=1e-6)


def test_mcnemar_refuses_negative_counts():
    with pytest.raises(ValueError, match="at least 0"):
        statistics.mcnemar_p_value(-1, 3)


def test_compare_by_hand():
    labels = np.array([0, 0, 1, 1, 2, 2, 2, 2])
    baseline = _one_hot([0, 1, 1, 1, 2, 2, 2, 0])  # right: 1 0 1 1 1 1 1 0
    model = _one_hot([0, 0, 1, 0, 2, 2, 0, 0])  # right: 1 1 1 0 1 1 0 0
    result = statistics.compare(model, baseline, labels)
    assert (result.examples, result.gained, result.lost) == (8, 1, 2)
    assert result.accuracy == 5 / 8
    assert result.difference == -1 / 8
    assert result.p_value == 1.0
    assert result.difference_interval.low < -1 / 8 < result.difference_interval.high
    assert result.accuracy_interval == statistics.wilson_interval(5, 8)


def test_paired_counts_refuses_different_lengths():
    with pytest.raises(ValueError, match="one length"):
        statistics.paired_counts(np.ones(3, bool), np.ones(4, bool))


def test_what_says_not_which_are_right_is_refused():
    with pytest.raises(ValueError, match=r"vectors of bool. Received: float64"):
        statistics.compare_right(np.full(5, 0.9), np.full(5, 0.2))
    with pytest.raises(ValueError, match=r"vectors of bool. Received: int64"):
        statistics.paired_counts(np.array([2, 0]), np.array([0, 0]))
