"""Reference values: scipy's paired t test, simulated coverage, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tfcompress import statistics


def test_summarize_seeds_by_hand():
    summary = statistics.summarize_seeds([0.90, 0.92, 0.94])
    assert summary.mean == pytest.approx(0.92)
    assert summary.std == pytest.approx(0.02)
    assert (summary.n, summary.low, summary.high) == (3, 0.90, 0.94)
    assert statistics.summarize_seeds([0.9]).std is None


@pytest.mark.parametrize("values", [[], [float("nan")]])
def test_summarize_seeds_refuses_nothing_and_nan(values):
    with pytest.raises(ValueError, match="finite"):
        statistics.summarize_seeds(values)


@pytest.mark.parametrize("seeds", [2, 3, 10])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_paired_seed_difference_matches_scipy(seeds, confidence):
    values, baseline = np.random.default_rng(seeds).normal(0.9, 0.01, size=[2, seeds])
    found = statistics.paired_seed_difference(values, baseline, confidence=confidence)
    expected = stats.ttest_rel(values, baseline)
    interval = expected.confidence_interval(confidence)
    assert found.p_value == pytest.approx(expected.pvalue, abs=1e-12)
    assert (found.interval.low, found.interval.high) == pytest.approx(
        (interval.low, interval.high), abs=1e-12
    )
    assert found.mean == pytest.approx(values.mean() - baseline.mean(), abs=1e-15)
    assert found.std == pytest.approx(np.std(values - baseline, ddof=1))
    assert (found.n, found.interval.confidence) == (seeds, confidence)


def test_one_seed_has_a_difference_only():
    found = statistics.paired_seed_difference([0.75], [0.5])
    assert found == statistics.SeedDifference(0.25, None, None, None, 1)


def test_differences_that_do_not_vary_have_no_interval():
    found = statistics.paired_seed_difference([0.91, 0.92, 0.95], [0.90, 0.91, 0.94])
    assert found.mean == pytest.approx(0.01)
    assert (found.interval, found.p_value, found.n) == (None, None, 3)
    equal = statistics.paired_seed_difference([0.0, 0.0], [0.0, 0.0])
    assert equal == statistics.SeedDifference(0.0, 0.0, None, None, 2)


@pytest.mark.parametrize("seeds", [2, 5])
def test_paired_seed_intervals_cover_the_truth(seeds):
    """95% nominal; 2,000 draws have a standard error of 0.5 points."""
    generator, held = np.random.default_rng(seeds), 0
    for _ in range(2000):
        baseline = generator.normal(0.9, 0.02, size=seeds)
        values = baseline - 0.005 + generator.normal(0, 0.004, size=seeds)
        interval = statistics.paired_seed_difference(values, baseline).interval
        held += interval.low <= -0.005 <= interval.high
    assert held / 2000 == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(
    ("values", "baseline", "message"),
    [
        ([0.9, 0.8], [0.9], "Received: 2 and 1"),
        ([0.9, float("nan")], [0.9, 0.8], "finite"),
        ([], [], "finite"),
    ],
    ids=["lengths", "nan", "empty"],
)
def test_paired_seed_difference_refuses_what_does_not_fit(values, baseline, message):
    with pytest.raises(ValueError, match=message):
        statistics.paired_seed_difference(values, baseline)
