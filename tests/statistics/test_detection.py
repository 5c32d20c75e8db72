"""AUROC by hand and against scikit-learn, and the interval of a difference."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tfcompress.statistics import Confidences, auroc, auroc_difference_interval


def drawn(seed, own=60, foreign=45, levels=20):
    """Confidences with many ties, as of a file with few output levels."""
    generator = np.random.default_rng(seed)
    return Confidences(
        generator.integers(5, levels, own) / levels,
        generator.integers(0, levels - 3, foreign) / levels,
    )


def by_scikit_learn(own, foreign):
    return roc_auc_score(np.r_[np.ones(len(own)), np.zeros(len(foreign))], np.r_[own, foreign])


@pytest.mark.parametrize(
    ("own", "foreign", "expected"),
    [
        ([0.9, 0.8], [0.5, 0.1], 1.0),
        ([0.1], [0.5], 0.0),
        ([0.5, 0.5], [0.5], 0.5),
        ([0.9, 0.6], [0.6, 0.5], 3.5 / 4),
    ],
)
def test_by_hand(own, foreign, expected):
    assert auroc(Confidences(np.array(own), np.array(foreign))) == expected


@pytest.mark.parametrize("seed", range(4))
def test_it_is_scikit_learns(seed):
    found = drawn(seed)
    assert auroc(found) == pytest.approx(by_scikit_learn(found.own, found.foreign))


def test_the_interval_is_that_of_a_plain_bootstrap():
    model, baseline = drawn(0), drawn(1)
    found = auroc_difference_interval(model, baseline, resamples=200, seed=4)
    generator = np.random.default_rng(4)
    own = generator.integers(0, 60, (200, 60))
    foreign = generator.integers(0, 45, (200, 45))
    values = [
        by_scikit_learn(model.own[i], model.foreign[j])
        - by_scikit_learn(baseline.own[i], baseline.foreign[j])
        for i, j in zip(own, foreign, strict=True)
    ]
    assert [found.low, found.high] == pytest.approx(np.quantile(values, [0.025, 0.975]))


def test_a_model_beside_itself_differs_by_nothing():
    interval = auroc_difference_interval(drawn(2), drawn(2), resamples=100)
    assert (interval.low, interval.high) == (0, 0)


def test_pairing_counts():
    """A model that differs from the baseline by little does so on any sample."""
    generator = np.random.default_rng(0)
    baseline = Confidences(generator.normal(1, 1, 400), generator.normal(0, 1, 400))
    close = Confidences(baseline.own + generator.normal(0, 0.05, 400), baseline.foreign)
    interval = auroc_difference_interval(close, baseline, resamples=300)
    assert interval.high - interval.low < 0.01


@pytest.mark.parametrize(
    ("own", "foreign"),
    [(np.zeros(0), np.zeros(2)), (np.zeros([2, 2]), np.zeros(2)), (np.ones(2), np.array([np.nan]))],
)
def test_confidences_that_are_none(own, foreign):
    with pytest.raises(ValueError, match=r"Confidences\.(own|foreign) takes a vector"):
        Confidences(own, foreign)


def test_other_images_cannot_be_paired():
    with pytest.raises(ValueError, match=r"Received: \(60, 45\) and \(60, 44\)"):
        auroc_difference_interval(drawn(0), drawn(0, foreign=44))
