"""Budgets: what is refused, what is over them and by how much."""

import pytest

from tfcompress.budgets import Budget, Figures, distance, keeps


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"max_size_bytes": "100k"}, "must be a whole number. Received: '100k'"),
        ({"max_size_bytes": 10**400}, "at most 9223372036854775807.*of 401 digits"),
        ({"max_size_bytes": 100}, "at least 400.*Received: 100"),
        ({"max_gzip_size_bytes": 0}, "at least 400"),
        ({"max_drop": -0.1}, "max_drop must be at least 0"),
        ({"max_drop": float("nan")}, "max_drop must be at least 0"),
        ({"max_latency_ms": 0}, "above 0"),
        ({"max_latency_ms": float("inf")}, "above 0 and finite"),
        ({"max_size_bytes": 5000, "max_gzip_size_bytes": 6000}, "contradict each other"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(limits, says):
    with pytest.raises(ValueError, match=says):
        Budget(**limits)


def test_points_for_a_fraction_are_refused_where_there_are_classes():
    with pytest.raises(ValueError, match=r"Received: 1\. For 1 points pass 0\.01"):
        Budget(max_drop=1).require_task(of_classes=True)
    Budget(max_drop=1).require_task(of_classes=False)


def test_no_limit_is_always_kept():
    budget = Budget()
    assert budget.is_empty
    over = budget.overruns(Figures(10**9, 10**9, 1.0), baseline_error=0.1, least_error=0.01)
    assert over == {}
    assert keeps(over)
    assert distance(over) == (0, 0)


def test_overruns_are_fractions_of_the_limit():
    budget = Budget(max_size_bytes=1000, max_gzip_size_bytes=500, max_drop=0.02, max_latency_ms=0.5)
    figures = Figures(1500, 400, 0.13, 0.5)
    over = budget.overruns(figures, baseline_error=0.08, least_error=0.001)
    # 0.10 may be wrong, 0.13 is.
    expected = {
        "max_size_bytes": 0.5,
        "max_gzip_size_bytes": -0.2,
        "max_drop": 0.3,
        "max_latency_ms": 0.0,
    }
    assert over == pytest.approx(expected)
    assert not keeps(over)
    assert distance(over) == pytest.approx((0.5, 0.8))


def test_where_nothing_may_be_wrong_examples_are_counted():
    budget = Budget(max_drop=0)
    over = budget.overruns(Figures(1, 1, 0.03), baseline_error=0.0, least_error=0.01)
    assert over == pytest.approx({"max_drop": 3.0})
    assert keeps(budget.overruns(Figures(1, 1, 0.0), baseline_error=0.0, least_error=0.01))


def test_a_limit_of_the_latency_needs_one():
    with pytest.raises(ValueError, match="latency was not measured"):
        Budget(max_latency_ms=1).overruns(Figures(1, 1, 0), baseline_error=0, least_error=1)
