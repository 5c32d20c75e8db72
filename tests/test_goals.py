"""What a model is to say: the best epoch, units, and how coarse they come out in int8."""

import numpy as np
import pytest

from tfcompress.goals import GOALS, Classes, Monitor, Values


def test_units_are_those_of_the_labels():
    labels = np.array([[1.0, 10.0], [3.0, 50.0]], np.float32)
    assert Values.of(("a", "b"), labels) == Values(("a", "b"), mean=(2.0, 30.0), std=(1.0, 20.0))


@pytest.mark.parametrize(
    ("monitor", "values", "best"),
    [
        (Classes.monitor, (0.5, 0.9, 0.7), 1),
        (Values.monitor, (0.5, 0.9, 0.7), 0),
        (Values.monitor, (float("nan"), 0.9, float("inf")), 1),
    ],
)
def test_the_best_epoch_has_the_highest_score(monitor, values, best):
    scores = [monitor.score({monitor.metric: value}) for value in values]
    assert int(np.argmax(scores)) == best


def test_a_step_of_an_int8_output_spans_all_values_and_zero():
    goal = Values(("year", "share"), mean=(2000.0, 0.5), std=(10.0, 0.1))
    labels = np.array([[1980.0, 0.2], [2020.0, 0.9]])
    np.testing.assert_allclose(goal.int8_steps(labels), [2020 / 255 / 10, 2020 / 255 / 0.1])


def test_every_goal_has_a_task_a_loss_and_a_monitor():
    assert list(GOALS) == ["classification", "regression"]
    for kind in GOALS.values():
        assert len(kind.losses) >= 3
        assert isinstance(kind.monitor, Monitor)
    assert Classes.numbered(3).names == ("0", "1", "2")
