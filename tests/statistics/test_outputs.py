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
