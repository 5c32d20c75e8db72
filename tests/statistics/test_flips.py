"""Hand-computed values, and the identity that ties flips to accuracy."""

from __future__ import annotations

import numpy as np
import pytest

from tfcompress import statistics


def test_flips_by_hand():
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    baseline = np.array([0, 0, 1, 1, 1, 2, 2, 0])
    model = np.array([0, 1, 0, 2, 1, 2, 2, 1])
    flips = statistics.count_flips(model, baseline, labels)
    assert (flips.examples, flips.good, flips.bad, flips.neutral) == (8, 1, 1, 2)
    assert (flips.churn, flips.agreement) == (0.5, 0.5)
    assert (flips.good_fraction, flips.bad_fraction, flips.neutral_fraction) == (
        1 / 8,
        1 / 8,
        1 / 4,
    )
    assert flips.churn_interval == statistics.wilson_interval(4, 8)


@pytest.mark.parametrize("classes", [2, 10])
def test_flips_tell_the_difference_of_the_accuracies(classes):
    generator = np.random.default_rng(classes)
    labels, model, baseline = generator.integers(0, classes, size=[3, 1000])
    flips = statistics.count_flips(model, baseline, labels)
    difference = (model == labels).mean() - (baseline == labels).mean()
    assert flips.good_fraction - flips.bad_fraction == pytest.approx(difference)
    assert flips.churn == (model != baseline).mean()
    assert statistics.paired_counts(model == labels, baseline == labels) == (flips.good, flips.bad)
    if classes == 2:
        assert flips.neutral == 0


def test_equal_models_have_no_churn_and_an_interval_still():
    flips = statistics.count_flips(np.zeros(50, int), np.zeros(50, int), np.zeros(50, int))
    assert (flips.churn, flips.agreement) == (0.0, 1.0)
    assert 0 == flips.churn_interval.low < flips.churn_interval.high < 0.1


TWO = np.array([0, 1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((TWO, np.zeros(3, int), TWO), "Received shapes"),
        ((TWO, TWO, np.zeros([2, 2], int)), "Received shapes"),
        ((np.zeros(0, int),) * 3, "at least one"),
        ((TWO, np.array([0, -1]), TWO), "whole numbers from 0"),
        ((np.array([0.5, 1.0]), TWO, TWO), "whole numbers from 0"),
        ((np.array([np.nan, 1.0]), TWO, TWO), "whole numbers from 0"),
    ],
    ids=["lengths", "outputs", "empty", "negative", "half", "nan"],
)
def test_count_flips_refuses_what_does_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        statistics.count_flips(*arguments)


def test_a_model_that_changes_everything_does_not_crowd_out_the_others():
    baseline = np.zeros(100, int)
    broken, careful = np.ones(100, int), baseline.copy()
    careful[[70, 90]] = 1
    found = statistics.telling_changes([broken, careful], baseline, limit=3)
    # Both change 70 and 90; the first of the rest fills up.
    assert found.tolist() == [0, 70, 90]
    assert statistics.telling_changes([careful], baseline, limit=50).tolist() == [70, 90]
    assert statistics.telling_changes([], baseline, limit=5).tolist() == []
    with pytest.raises(ValueError, match="limit must be at least 1"):
        statistics.telling_changes([careful], baseline, limit=0)
