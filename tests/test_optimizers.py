"""Every optimizer and schedule by its name."""

import math

import numpy as np
import pytest

from tfcompress import optimizers


@pytest.mark.parametrize("optimizer", optimizers.OPTIMIZERS)
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_every_optimizer_takes_a_step(optimizer, weight_decay):
    from tfcompress._keras import tf

    built = optimizers.build_optimizer(optimizer, 0.1, weight_decay=weight_decay)
    assert type(built).__name__.lower() == optimizer
    variable = tf.Variable([1.0, -2.0])
    built.build([variable])
    built.apply_gradients([(tf.constant([1.0, -1.0]), variable)])
    found = variable.numpy()
    assert np.isfinite(found).all()
    assert found[0] < 1.0
    assert found[1] > -2.0


def test_weight_decay_is_decoupled_and_zero_is_none():
    from tfcompress._keras import tf

    for optimizer in ("sgd", "adamw"):
        for decay, expected in ((0.0, 2.0), (0.5, 2.0 - 0.1 * 0.5 * 2.0)):
            built = optimizers.build_optimizer(optimizer, 0.1, weight_decay=decay)
            variable = tf.Variable([2.0])
            built.build([variable])
            built.apply_gradients([(tf.constant([0.0]), variable)])
            np.testing.assert_allclose(variable.numpy(), [expected], rtol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "first", "middle", "last"),
    [
        ("constant", 0.1, 0.1, 0.1),
        ("cosine_decay", 0.1, 0.05, 0.0),
        ("exponential_decay", 0.1, 0.01, 0.001),
        ("inverse_time_decay", 0.1, 0.1 / 50.5, 0.001),
        ("polynomial_decay", 0.1, 0.0505, 0.001),
    ],
)
def test_schedules_by_hand(schedule, first, middle, last):
    built = optimizers.build_schedule(schedule, 0.1, steps=100)
    rate = built if callable(built) else lambda step: built
    found = [float(rate(step)) for step in (0, 50, 100)]
    assert found == pytest.approx([first, middle, last], rel=1e-4, abs=1e-7)
    assert set(optimizers.SCHEDULES) == {
        "constant",
        "cosine_decay",
        "exponential_decay",
        "inverse_time_decay",
        "polynomial_decay",
    }


def test_warm_up_by_hand():
    rate = optimizers.build_schedule("cosine_decay", 0.1, steps=10, warmup=0.2)
    # Two steps up, then a cosine over the other eight.
    cosine = [0.1 * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
    found = [float(rate(step)) for step in range(10)]
    assert found == pytest.approx([0.05, 0.1, *cosine], rel=1e-5)


def test_warm_up_into_a_constant():
    rate = optimizers.build_schedule("constant", 0.1, steps=4, warmup=0.5)
    assert [float(rate(s)) for s in range(4)] == pytest.approx([0.05, 0.1, 0.1, 0.1])
