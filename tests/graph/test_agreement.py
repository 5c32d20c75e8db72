"""Whether two models compute the same: what counts as the same, and which layer is named."""

import numpy as np
import pytest

from tfcompress._keras import keras, tf
from tfcompress.graph.agreement import (
    TOLERANCE,
    Step,
    difference,
    disagreement,
    random_inputs,
    tolerance_for,
)
from tfcompress.graph.rebuild import rebuild

layers = keras.layers


def tensor(values, dtype="float32"):
    return tf.constant(values, dtype)


@pytest.mark.parametrize(
    ("expected", "received", "answer"),
    [
        (tensor([[1.0, 2.0]]), tensor([[1.0, 2.0]]), 0),
        # Of the largest value of each example: 0.5 of 2, and 1 of 100.
        (tensor([[1.0, -2.0], [100.0, 0]]), tensor([[1.5, -2.0], [99.0, 0]]), 0.25),
        (tensor([[1.0, np.nan]]), tensor([[1.0, np.nan]]), 0),
        (tensor([[1.0, np.inf]]), tensor([[1.0, 5.0]]), np.inf),
        (tensor([[1.0, np.inf]]), tensor([[1.0, -np.inf]]), np.inf),
        (tensor([[1.0]]), tensor([[1.0, 1.0]]), np.inf),
        (tensor([[1.0]]), tensor([[1.0]], "float16"), np.inf),
        (tensor([[3]], "int32"), tensor([[3]], "int32"), 0),
        (tensor([[3]], "int32"), tensor([[4]], "int32"), np.inf),
        (tensor(np.zeros([0, 3])), tensor(np.zeros([0, 3])), 0),
        # What is left of a saturated sigmoid.
        (tensor([[1e-30]]), tensor([[3e-30]]), 2e-28),
    ],
)
def test_difference_is_a_part_of_the_largest_value(expected, received, answer):
    assert difference(expected, received) == pytest.approx(answer, rel=1e-4)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [("float32", TOLERANCE), ("mixed_float16", 1e-2), ("mixed_bfloat16", 5e-2)],
)
def test_half_precision_is_given_more_room(dtype, tolerance):
    inputs = keras.Input([2])
    hidden = layers.Dense(2, dtype=dtype)(inputs)
    assert tolerance_for(keras.Model(inputs, layers.Dense(2)(hidden))) == tolerance


def test_random_inputs_fit_the_model():
    inputs = [
        keras.Input([None, 8, 3]),
        keras.Input([None], dtype="int32"),
        keras.Input([4], dtype="uint8", batch_size=5),
    ]
    images, tokens, pixels = random_inputs(keras.Model(inputs, inputs))
    assert images.shape == (2, 96, 8, 3)
    assert images.dtype == np.float32
    assert -1 <= images[0].min() < 0 < images[0].max() <= 1
    assert 0 <= images[1].min() < 10 < 200 < images[1].max() <= 255
    assert tokens.shape == (2, 16)
    assert set(np.unique(tokens)) == {0, 1}
    assert pixels.shape == (5, 4)
    assert pixels.dtype == np.uint8
    assert pixels.max() > 1


def chain():
    inputs = keras.Input([8])
    x = layers.Dense(8, name="first")(inputs)
    x = layers.Rescaling(2.0, name="second")(x)
    return keras.Model(inputs, layers.Dense(8, name="third")(x))


def rebuilt_with(model, factor):
    """The model built anew with another factor in its layer `second`, and how it came about."""
    steps = []

    def replace(use):
        is_second = use.layer.name == "second"
        outputs = layers.Rescaling(factor)(*use.args) if is_second else use.again()
        steps.append(Step(use, outputs))
        return outputs

    return rebuild(model, replace), steps


def test_models_that_agree_are_not_complained_of():
    model = chain()
    assert disagreement(model, *rebuilt_with(model, 2.0)) == ""
    # A rounding error of float32 and some more.
    assert disagreement(model, *rebuilt_with(model, 2.0 * (1 + 1e-6))) == ""


def test_the_first_layer_that_differs_is_named():
    model = chain()
    said = disagreement(model, *rebuilt_with(model, 2.01))
    # 0.5% of the largest output, since biases are 0 yet.
    assert said.startswith("computes other outputs: on random inputs they differ by 0.005")
    assert "expected at most 0.0001. The first layer is 'second' (Rescaling)." in said


def test_a_difference_that_no_layer_accounts_for_is_told_too():
    model = chain()
    other, _ = rebuilt_with(model, 3.0)
    assert "No single layer accounts for it" in disagreement(model, other, [])


def test_outputs_that_are_random_cannot_be_compared():
    inputs = keras.Input([64])
    model = keras.Model(inputs, layers.Dropout(0.5)(inputs, training=True))
    said = disagreement(model, rebuild(model), [])
    assert "cannot be compared: those of the given model differ from call to call" in said
