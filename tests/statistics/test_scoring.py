"""Reference values: scikit-learn, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from tfcompress import statistics


@pytest.fixture(scope="module", params=[2, 3, 40], ids=lambda classes: f"{classes} classes")
def judged(request):
    """Ordinary probabilities of a float model, and labels that follow them."""
    generator = np.random.default_rng(request.param)
    shares = statistics.softmax(generator.normal(size=[3000, request.param]) * 2)
    labels = (shares.cumsum(axis=1) > generator.random([3000, 1])).argmax(axis=1)
    return shares, labels


def test_scores_match_scikit_learn(judged):
    shares, labels = judged
    known = range(shares.shape[1])
    expected = metrics.log_loss(labels, shares, labels=known)
    assert statistics.negative_log_likelihood(shares, labels) == pytest.approx(expected, abs=1e-9)
    expected = metrics.brier_score_loss(labels, shares, labels=known, scale_by_half=False)
    assert statistics.brier_score(shares, labels) == pytest.approx(expected, abs=1e-9)


def test_scores_of_examples_have_the_score_as_their_mean(judged):
    shares, labels = judged
    one_hot = np.eye(shares.shape[1])[labels]
    expected = ((shares - one_hot) ** 2).sum(axis=1)
    assert statistics.brier_losses(shares, labels) == pytest.approx(expected, abs=1e-12)
    assert statistics.log_losses(shares, labels).mean() == pytest.approx(
        statistics.negative_log_likelihood(shares, labels), abs=1e-12
    )


def test_a_zero_costs_what_the_floor_says():
    int8 = np.array([[0.99609375, 0.0], [0.99609375, 0.0]])  # 255/256: the rows do not sum to 1.
    losses = statistics.log_losses(int8, np.array([0, 1]))
    assert losses == pytest.approx([0.0, -math.log(1e-7)], abs=1e-12)
    losses = statistics.log_losses(int8, np.array([0, 1]), floor=1 / 512)
    assert losses == pytest.approx([0.0, math.log(512)], abs=1e-12)
    assert statistics.brier_losses(int8, np.array([0, 1])).tolist() == [0.0, 2.0]


def test_the_extremes_of_the_brier_score():
    assert statistics.brier_score(np.full([4, 5], 0.2), np.arange(4)) == pytest.approx(0.8)
    assert statistics.brier_score(np.eye(3), np.arange(3)) == 0.0
    assert statistics.brier_score(np.eye(3), np.array([1, 2, 0])) == 2.0


SHARES = np.full([2, 2], 0.5)


@pytest.mark.parametrize("score", [statistics.log_losses, statistics.brier_losses])
@pytest.mark.parametrize(
    ("shares", "labels", "message"),
    [
        (np.array([[np.nan, 1.0]]), np.array([0]), "NaN in 1 of 1"),
        (np.array([[-0.5, 1.5]]), np.array([0]), r"in \[0, 1\]"),
        (np.array([[0.9, 0.8]]), np.array([0]), "a sum of 1.7"),
        (SHARES, np.zeros(3, int), "labels"),
        (SHARES, np.array([0, 2]), r"\[0, 2\)"),
        (SHARES, np.array([0.0, 0.5]), "whole numbers"),
        (np.zeros([0, 2]), np.zeros(0, int), "at least one"),
    ],
    ids=["nan", "outside", "sigmoids", "lengths", "label", "half a class", "empty"],
)
def test_scores_refuse_what_does_not_fit(score, shares, labels, message):
    with pytest.raises(ValueError, match=message):
        score(shares, labels)


@pytest.mark.parametrize("floor", [0.0, 1.0, -1e-7])
def test_log_losses_refuse_a_floor_out_of_range(floor):
    with pytest.raises(ValueError, match="1/512"):
        statistics.log_losses(SHARES, np.array([0, 1]), floor=floor)
