"""The bootstrap's counts and intervals."""

import numpy as np
import pytest

from tfcompress.statistics.resampling import percentile_interval, portions, resampled_counts


def test_counts_are_those_of_a_plain_draw():
    drawn = np.random.default_rng(3).integers(0, 4, (5, 4))
    expected = [[int((row == example).sum()) for example in range(4)] for row in drawn]
    found = resampled_counts(4, resamples=5, generator=np.random.default_rng(3))
    assert found.tolist() == expected


def test_portions_do_not_change_what_is_drawn():
    whole = resampled_counts(7, resamples=6, generator=np.random.default_rng(0))
    generator = np.random.default_rng(0)
    parts = [resampled_counts(7, resamples=n, generator=generator) for n in (1, 3, 2)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_portions_are_as_large_as_memory_allows():
    assert list(portions(10, examples=3)) == [10]
    assert list(portions(3, examples=2**21)) == [1, 1, 1]
    assert list(portions(2, examples=2**30)) == [1, 1]


def test_an_interval_by_hand():
    found = percentile_interval(np.arange(201.0), confidence=0.95)
    assert (found.low, found.high) == pytest.approx((5.0, 195.0))
    assert found.method == "paired_bootstrap"


def test_a_few_undefined_resamples_are_left_out_and_many_leave_no_interval():
    values = np.arange(1000.0)
    values[:10] = np.nan
    assert percentile_interval(values).low > 10
    values[10] = np.nan
    assert percentile_interval(values) is None


def test_bad_input():
    with pytest.raises(ValueError, match="at least 1 example and 1 resample"):
        next(portions(0, examples=5))
    with pytest.raises(ValueError, match=r"confidence must be in \(0, 1\)"):
        percentile_interval(np.arange(3.0), confidence=95)
