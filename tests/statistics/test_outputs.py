"""Hand-computed values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tfcompress import statistics


def test_softmax_is_safe_and_exact():
    outputs = np.array([[1000.0, 1000.0], [0.0, math.log(3)]], np.float32)
    assert statistics.softmax(outputs) == pytest.approx(np.array([[0.5, 0.5], [0.25, 0.75]]))


def test_probabilities_by_kind():
    rows = np.array([[0.2, 0.8]])
    assert statistics.probabilities(rows, "probabilities").tolist() == [[0.2, 0.8]]
    assert statistics.probabilities(np.zeros([1, 4]), "logits").tolist() == [[0.25] * 4]
    with pytest.raises(ValueError, match="Known: logits, probabilities"):
        statistics.probabilities(rows, "scores")


def test_correct_takes_the_first_of_equal_outputs():
    outputs = np.array([[3, 3, 1], [3, 3, 1], [0, 1, 2]], np.int8)
    assert statistics.correct(outputs, np.array([0, 1, 2])).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("outputs", "labels", "message"),
    [
        (np.zeros([3, 2]), np.zeros(2, int), "labels"),
        (np.zeros([0, 2]), np.zeros(0, int), "at least one"),
        (np.zeros([2, 2]), np.array([0, 2]), r"\[0, 2\)"),
        (np.array([[np.nan, 0.0]]), np.array([0]), "NaN in 1 of 1"),
    ],
    ids=["lengths", "empty", "label", "nan"],
)
def test_correct_refuses_what_does_not_fit(outputs, labels, message):
    with pytest.raises(ValueError, match=message):
        statistics.correct(outputs, labels)


def test_correct_refuses_labels_that_are_no_whole_numbers():
    with pytest.raises(ValueError, match="whole numbers"):
        statistics.correct(np.zeros([2, 2]), np.array([0.0, 0.5]))


def test_normalized_probabilities_takes_what_a_quantized_softmax_gives():
    quantized = np.array([[128, 64, 0, 63], [255, 0, 0, 0]]) / 256
    rows = statistics.normalized_probabilities(quantized)
    assert rows == pytest.approx(np.array([[128 / 255, 64 / 255, 0, 63 / 255], [1, 0, 0, 0]]))
    # Each of 1,000 classes below half a step: the file says nothing.
    nothing = statistics.normalized_probabilities(np.zeros([1, 1000]))
    assert nothing.tolist() == [[0.001] * 1000]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[2.0, -1.0]]), "For logits"),
        (np.array([[np.nan, 1.0]]), "NaN in 1 of 1"),
        (np.array([[0.0, 0.0]]), "sum to 1. Received: a sum of 0"),
        (np.array([[0.9, 0.7]]), "sigmoids"),
        (np.array([0.5, 0.5]), r"\[examples, classes\]"),
    ],
    ids=["logits", "nan", "zeros", "sigmoids", "vector"],
)
def test_normalized_probabilities_refuses_what_is_none(values, message):
    with pytest.raises(ValueError, match=message):
        statistics.normalized_probabilities(values)


def test_predicted_classes_takes_the_first_of_equals_and_refuses_nan():
    assert statistics.predicted_classes(np.array([[1, 3, 3], [0, 0, 0]])).tolist() == [1, 0]
    with pytest.raises(ValueError, match="NaN in 1 of 2"):
        statistics.predicted_classes(np.array([[np.nan, 0.0], [0.0, 0.0]]))
