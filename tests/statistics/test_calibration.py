"""Reference values: scikit-learn's bins, simulated models whose confidence is right, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from tfcompress import statistics


def calibrated(examples, *, seed=0, classes=4, scale=2.0):
    """Logits, and labels that follow exactly what they say."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=[examples, classes]) * scale
    shares = statistics.softmax(logits)
    labels = (shares.cumsum(axis=1) > generator.random([examples, 1])).argmax(axis=1)
    return logits, labels


def test_bins_match_scikit_learn_where_nothing_is_equal():
    logits, labels = calibrated(3000)
    shares = statistics.softmax(logits)
    right = statistics.correct(shares, labels)
    accuracy, confidence = calibration_curve(
        right, shares.max(axis=1), n_bins=15, strategy="quantile"
    )
    found = statistics.reliability_bins(shares, labels)
    assert [each.count for each in found] == [200] * 15
    assert [each.accuracy for each in found] == pytest.approx(accuracy, abs=1e-9)
    assert [each.confidence for each in found] == pytest.approx(confidence, abs=1e-9)
    expected = np.abs(accuracy - confidence).mean()
    error = statistics.expected_calibration_error(shares, labels)
    assert error == pytest.approx(expected, abs=1e-9)


def test_bins_by_hand():
    # Ranks 0..5 in 3 bins. The three of 0.8 have ranks 2, 3, 4: their middle is in the second bin.
    confidence = np.array([0.8, 0.5, 0.9, 0.8, 0.6, 0.8])
    shares = np.stack([confidence, 1 - confidence], axis=1)
    labels = np.array([0, 1, 0, 0, 0, 1])
    low, middle, high = statistics.reliability_bins(shares, labels, bins=3)
    assert (low.count, low.low, low.high, low.accuracy) == (2, 0.5, 0.6, 0.5)
    assert low.confidence == pytest.approx(0.55)
    assert (middle.count, middle.low, middle.high) == (3, 0.8, 0.8)
    assert middle.accuracy == pytest.approx(2 / 3)
    assert middle.accuracy_interval == statistics.wilson_interval(2, 3)
    assert (high.count, high.accuracy) == (1, 1.0)
    error = statistics.expected_calibration_error(shares, labels, bins=3)
    assert error == pytest.approx((2 * 0.05 + 3 * (0.8 - 2 / 3) + 0.1) / 6)


def test_equal_confidences_stay_together_in_any_order():
    generator = np.random.default_rng(1)
    confidence = generator.choice([0.996, 0.75, 0.625, 0.5], p=[0.7, 0.1, 0.1, 0.1], size=900)
    shares = np.stack([confidence, 1 - confidence], axis=1)
    labels = (generator.random(900) > confidence).astype(int)
    order = generator.permutation(900)
    found = statistics.reliability_bins(shares, labels)
    assert [each.high - each.low for each in found] == [0.0] * 4
    assert sum(each.count for each in found) == 900
    assert statistics.reliability_bins(shares[order], labels[order]) == found


def test_one_bin_holds_everything():
    logits, labels = calibrated(50)
    found = statistics.summarize_calibration(logits, labels, "logits", bins=1)
    assert found.bins[0].count == 50
    assert found.ece == pytest.approx(abs(found.accuracy - found.mean_confidence))


def test_intervals_of_bins_cover_a_confidence_that_is_right():
    """95% nominal; 40 draws of 15 bins have a standard error of 0.9 points."""
    held = []
    for seed in range(40):
        logits, labels = calibrated(1500, seed=seed)
        for each in statistics.reliability_bins(statistics.softmax(logits), labels):
            interval = each.accuracy_interval
            held.append(interval.low <= each.confidence <= interval.high)
    assert 0.92 <= np.mean(held) <= 0.98


def test_the_error_by_chance_is_what_the_formula_says():
    errors, shares_right = [], []
    for seed in range(20):
        logits, labels = calibrated(10000, seed=seed, scale=4.0)
        found = statistics.summarize_calibration(logits, labels, "logits")
        errors.append(found.ece)
        shares_right.append(found.accuracy)
    p = np.mean(shares_right)
    bound = np.sqrt(2 * 15 * p * (1 - p) / (np.pi * 10000))
    assert 0.7 * bound < np.mean(errors) < 1.05 * bound


def test_summary_gathers_what_the_functions_say():
    logits, labels = calibrated(400)
    logits = 3 * logits
    found = statistics.summarize_calibration(logits, labels, "logits")
    shares = statistics.softmax(logits)
    assert found.nll == statistics.negative_log_likelihood(shares, labels)
    assert found.brier == statistics.brier_score(shares, labels)
    assert found.ece == statistics.expected_calibration_error(shares, labels)
    assert found.bins == statistics.reliability_bins(shares, labels)
    assert found.selective == statistics.selective_accuracies(shares, labels)
    assert found.aurc == statistics.risk_coverage_area(shares, labels)
    assert found.selective[-1].accuracy == found.accuracy
    assert found.mean_confidence > found.accuracy
    assert (found.examples, found.temperature) == (400, None)


def test_summary_at_a_temperature():
    logits, labels = calibrated(2000)
    logits = 3 * logits
    temperature = statistics.fit_temperature(logits, labels, "logits").temperature
    before = statistics.summarize_calibration(logits, labels, "logits")
    after = statistics.summarize_calibration(logits, labels, "logits", temperature=temperature)
    assert after.accuracy == before.accuracy
    assert after.temperature == temperature
    assert after.nll < before.nll
    assert after.ece < before.ece / 3


def test_summary_says_how_many_examples_the_floor_decided():
    int8 = np.array([[1.0, 0.0], [0.99609375, 0.0], [0.5, 0.5]])
    found = statistics.summarize_calibration(int8, np.array([0, 1, 1]), "probabilities")
    assert found.floored == 1
    assert found.nll == pytest.approx((-np.log(1e-7) - np.log(0.5)) / 3)


@pytest.mark.parametrize(
    ("outputs", "labels", "kind", "message"),
    [
        (np.array([[np.nan, 0.0]]), np.array([0]), "logits", "NaN in 1 of 1"),
        (np.zeros([3, 2]), np.zeros(2, int), "logits", "labels"),
        (np.zeros([2, 2]), np.array([0, 2]), "logits", r"\[0, 2\)"),
        (np.array([[1.2, -0.2]]), np.array([0]), "probabilities", "For logits"),
        (np.zeros([2, 2]), np.array([0, 1]), "scores", "Known: logits, probabilities"),
    ],
    ids=["nan", "lengths", "label", "outside", "kind"],
)
def test_summary_refuses_what_does_not_fit(outputs, labels, kind, message):
    with pytest.raises(ValueError, match=message):
        statistics.summarize_calibration(outputs, labels, kind)


def test_bins_refuse_none_at_all():
    with pytest.raises(ValueError, match="bins must be at least 1"):
        statistics.reliability_bins(np.full([2, 2], 0.5), np.array([0, 1]), bins=0)
