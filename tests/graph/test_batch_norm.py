"""Moving statistics that are taken anew."""

import numpy as np
import pytest

from tfcompress.graph.batch_norm import reestimate


def network(**settings):
    from tfcompress._keras import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    inputs = keras.Input([4])
    x = layers.BatchNormalization(name="first", **settings)(inputs)
    x = layers.Dropout(0.5)(x)
    x = layers.Dense(3, name="dense")(x)
    return keras.Model(inputs, layers.BatchNormalization(name="second")(x))


def numbers(count=256):
    generator = np.random.default_rng(0)
    return generator.normal([1, 2, 3, 4], [1, 2, 3, 4], (count, 4)).astype(np.float32)


@pytest.mark.parametrize("settings", [{}, {"trainable": False}, {"momentum": 0.999}], ids=str)
def test_statistics_are_those_of_the_images(settings):
    model, given = network(**settings), numbers()
    trained = [weight.numpy() for weight in model.trainable_weights]
    assert reestimate(model, given) == 2
    batches = given.reshape(4, 64, 4)
    first = model.get_layer("first")
    mean, variance = first.get_weights()[-2:]
    np.testing.assert_allclose(mean, batches.mean(axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(variance, batches.var(axis=1).mean(axis=0), rtol=1e-4)
    # Of what the first layer gives with its batch's own statistics, and with nothing dropped.
    normal = (batches - batches.mean(1, keepdims=True)) / np.sqrt(
        batches.var(1, keepdims=True) + 1e-3
    )
    kernel, bias = model.get_layer("dense").get_weights()
    expected = (normal @ kernel + bias).mean(axis=(0, 1))
    np.testing.assert_allclose(model.get_layer("second").get_weights()[-2], expected, atol=1e-5)
    for before, after in zip(trained, model.trainable_weights, strict=True):
        np.testing.assert_array_equal(before, after.numpy())


def test_the_layers_are_as_they_were():
    model = network(momentum=0.9, trainable=False)
    first = model.get_layer("first")
    reestimate(model, numbers())
    assert (first.momentum, first.trainable) == (0.9, False)
    before = first.get_weights()
    model(numbers(), training=False)
    for old, new in zip(before, first.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_few_images_make_one_batch():
    model, given = network(), numbers(10)
    reestimate(model, given)
    np.testing.assert_allclose(
        model.get_layer("first").get_weights()[-2], given.mean(axis=0), rtol=1e-5
    )
    with pytest.raises(ValueError, match="needs images"):
        reestimate(model, given[:0])
