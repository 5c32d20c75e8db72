"""Losses and metrics, by hand."""

import math

import numpy as np
import pytest

from tfcompress import objectives
from tfcompress.goals import Classes, Values

GOAL = Values(("x", "y"), mean=(5.0, -1.0), std=(2.0, 10.0))
EXPECTED = np.array([[1.0, 0.0], [3.0, 20.0]], np.float32)
RECEIVED = np.array([[3.0, 0.0], [3.0, -20.0]], np.float32)
# In standard deviations: 1, 0 and 0, 4.


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        ("default", (1 + 16) / 4),
        ("mean_squared_error", (1 + 16) / 4),
        ("mean_absolute_error", 5 / 4),
        # Half a square up to 1, then straight.
        ("huber", (0.5 + 3.5) / 4),
    ],
)
def test_differences_count_in_standard_deviations(loss, value):
    found = np.mean(objectives.build_loss(loss, GOAL)(EXPECTED, RECEIVED))
    assert found == pytest.approx(value)


def test_the_error_is_in_the_units_of_the_values():
    (metric,) = objectives.build_metrics(GOAL)
    metric.update_state(EXPECTED, RECEIVED)
    assert float(metric.result()) == pytest.approx((2 + 40) / 4)
    assert metric.name == "mean_absolute_error"


def test_labels_are_one_hot_or_values():
    assert objectives.encoded(np.array([2, 0]), Classes.numbered(3)).numpy().tolist() == [
        [0, 0, 1],
        [1, 0, 0],
    ]
    assert objectives.encoded(EXPECTED, GOAL) is EXPECTED


@pytest.mark.parametrize(
    ("loss", "task", "smoothing", "says"),
    [
        ("huber", "classification", 0.0, "'huber' is none of a classification"),
        ("categorical_hinge", "regression", 0.0, "Use one of mean_squared_error"),
        ("default", "regression", 0.1, "label_smoothing is for classes"),
    ],
)
def test_a_loss_of_another_task_is_refused(loss, task, smoothing, says):
    with pytest.raises(ValueError, match=says):
        objectives.require_loss(loss, task=task, label_smoothing=smoothing)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        # Logits (0, ln 3): probabilities 1/4 and 3/4; the label is the second class.
        ("categorical_crossentropy", -math.log(0.75)),
        ("categorical_focal_crossentropy", -0.25 * 0.25**2 * math.log(0.75)),
        ("categorical_hinge", max(0.0, 0.0 - math.log(3) + 1)),
        ("mean_squared_error", (0 + (math.log(3) - 1) ** 2) / 2),
    ],
)
def test_losses_by_hand(loss, expected):
    built = objectives.build_loss(loss, Classes.numbered(2))
    found = float(built([[0.0, 1.0]], [[0.0, math.log(3)]]))
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_label_smoothing_by_hand():
    built = objectives.build_loss("default", Classes.numbered(2), label_smoothing=0.2)
    found = float(built([[0.0, 1.0]], [[0.0, math.log(3)]]))
    assert found == pytest.approx(-(0.9 * math.log(0.75) + 0.1 * math.log(0.25)), rel=1e-5)
