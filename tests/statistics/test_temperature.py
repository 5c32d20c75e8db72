"""Reference values: scipy's minimizers, scikit-learn, planted temperatures, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize
from sklearn import metrics

from tfcompress import statistics


def overconfident(temperature, *, examples=20000, classes=5, seed=0):
    """Logits that are `temperature` times those which the labels follow."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=[examples, classes]) * 2
    shares = statistics.softmax(logits)
    labels = (shares.cumsum(axis=1) > generator.random([examples, 1])).argmax(axis=1)
    return logits * temperature, labels


@pytest.mark.parametrize("planted", [0.5, 1.0, 2.0, 7.0])
def test_a_planted_temperature_is_found(planted):
    logits, labels = overconfident(planted)
    found = statistics.fit_temperature(logits, labels, "logits")
    assert found.temperature == pytest.approx(planted, rel=0.03)
    assert found.nll_after <= found.nll_before
    assert found.examples == len(labels)
    scaled = statistics.scaled_probabilities(logits, "logits", found.temperature)
    assert statistics.expected_calibration_error(scaled, labels) < 0.015  # 0.01 by chance alone


def test_the_temperature_is_the_minimum_that_scipy_finds():
    logits, labels = overconfident(3.0, examples=500)

    def nll(temperature):
        return metrics.log_loss(labels, statistics.softmax(logits / temperature))

    expected = optimize.minimize_scalar(
        nll, bounds=(0.1, 20), method="bounded", options={"xatol": 1e-10}
    )
    found = statistics.fit_temperature(logits, labels, "logits")
    assert found.temperature == pytest.approx(expected.x, rel=1e-6)
    assert found.nll_after == pytest.approx(expected.fun, abs=1e-9)
    assert found.nll_before == pytest.approx(nll(1.0), abs=1e-9)


def test_temperature_by_hand():
    # Three of four right with a margin of 4: best where softmax gives 3/4, so 4 / T = ln 3.
    logits = np.array([[4.0, 0.0]] * 3 + [[0.0, 4.0]])
    found = statistics.fit_temperature(logits, np.zeros(4, int), "logits")
    assert found.temperature == pytest.approx(4 / math.log(3), rel=1e-9)


def test_probabilities_and_their_logits_have_one_temperature():
    logits, labels = overconfident(1.5, examples=2000)
    one = statistics.fit_temperature(logits, labels, "logits")
    other = statistics.fit_temperature(
        statistics.softmax(logits), labels, "probabilities", floor=1e-300
    )
    assert other.temperature == pytest.approx(one.temperature, rel=1e-9)
    assert other.nll_before == pytest.approx(one.nll_before, abs=1e-9)


def test_an_int8_softmax_is_scaled_by_the_floor():
    logits, labels = overconfident(3.0)
    quantized = np.round(statistics.softmax(logits) * 256).clip(0, 255) / 256
    found = statistics.fit_temperature(quantized, labels, "probabilities", floor=1 / 512)
    scaled = statistics.scaled_probabilities(
        quantized, "probabilities", found.temperature, floor=1 / 512
    )
    assert found.temperature > 1.5
    before = statistics.expected_calibration_error(quantized, labels)
    assert statistics.expected_calibration_error(scaled, labels) < before / 2


@pytest.mark.parametrize(("outputs", "kind"), [([[3.0, -1.0, 3.0]], "logits"),
                                               ([[0.5, 0.0, 0.5]], "probabilities")])  # fmt: skip
@pytest.mark.parametrize("temperature", [0.01, 0.7, 100.0])
def test_scaling_keeps_the_order_of_the_classes(outputs, kind, temperature):
    scaled = statistics.scaled_probabilities(np.array(outputs), kind, temperature)
    assert scaled.sum() == pytest.approx(1.0)
    assert scaled[0, 0] == scaled[0, 2] > scaled[0, 1]


def test_scaling_by_one_is_the_softmax():
    logits = np.random.default_rng(0).normal(size=[5, 4]) * 10
    scaled = statistics.scaled_probabilities(logits, "logits", 1.0)
    assert scaled == pytest.approx(statistics.softmax(logits), abs=1e-15)


@pytest.mark.parametrize(
    ("outputs", "labels", "kind", "message"),
    [
        (np.eye(3), np.arange(3), "logits", "all are right"),
        (np.zeros([3, 2]), np.zeros(3, int), "logits", "same output"),
        (np.eye(3), np.array([1, 2, 0]), "logits", "belong together"),
        (np.array([[np.nan, 0.0]]), np.array([0]), "logits", "NaN in 1 of 1"),
        (np.array([[np.inf, 0.0]]), np.array([0]), "logits", "infinity"),
        (np.array([[1.5, 0.5]]), np.array([0]), "probabilities", "For logits"),
        (np.eye(3), np.arange(2), "logits", "labels"),
        (np.eye(3), np.arange(3), "scores", "Known: logits, probabilities"),
    ],
    ids=["perfect", "constant", "hopeless", "nan", "inf", "outside", "lengths", "kind"],
)
def test_fit_temperature_refuses_what_has_none(outputs, labels, kind, message):
    with pytest.raises(ValueError, match=message):
        statistics.fit_temperature(outputs, labels, kind)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_scaled_probabilities_refuses_what_is_no_temperature(temperature):
    with pytest.raises(ValueError, match="above 0"):
        statistics.scaled_probabilities(np.eye(2), "logits", temperature)
