"""Losses and metrics of values, by hand; those of classes stand in test_training.py."""

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
