"""Quantization-aware training: ranges by hand, and the int8 file against the trained model."""

import numpy as np
import pytest

from tfcompress.export import convert
from tfcompress.techniques import VerificationError, qat
from tfcompress.techniques.qat import QATConfig


def quantized(config, values):
    """Feeds batches with the given extremes through one running range; returns what it is."""
    from tfcompress._keras import keras, tf
    from tfcompress.techniques._qat_scheme import RunningRange

    layer = keras.layers.Layer()
    quantizer = RunningRange(config.range_decay)
    weights = quantizer.build(None, "output", layer)
    found = []
    for low, high in values:
        quantizer(tf.constant([low, 0.5 * high, high]), True, weights)
        found.append((float(weights["min"]), float(weights["max"])))
    return found


def test_a_range_starts_at_the_first_batch_and_is_a_mean_while_batches_are_few():
    found = quantized(QATConfig(), [(-48, 23), (-46, 25), (-47, 27)])
    assert found == [(-48, 23), (-47, 24), pytest.approx((-47, 25))]


def test_many_batches_move_a_range_by_the_decay():
    found = quantized(QATConfig(range_decay=0.5), [(-1, 1), (-1, 1), (-1, 9)])
    assert found[-1] == pytest.approx((-1, 0.5 * 1 + 0.5 * 9))


def test_a_range_always_holds_zero():
    assert quantized(QATConfig(), [(2, 4)]) == [(0, 4)]
    assert quantized(QATConfig(), [(-4, -2)]) == [(-4, 0)]


def test_an_evaluation_moves_no_range():
    from tfcompress._keras import keras, tf
    from tfcompress.techniques._qat_scheme import RunningRange

    layer = keras.layers.Layer()
    quantizer = RunningRange(0.99)
    weights = quantizer.build(None, "output", layer)
    quantizer(tf.constant([-1.0, 1.0]), True, weights)
    found = quantizer(tf.constant([-9.0, 9.0]), False, weights)
    assert float(weights["max"]) == 1
    np.testing.assert_allclose(found, [-1.0, 1.0], atol=0.01)


def channel_ranges(extents, floor):
    from tfcompress._keras import keras, tf
    from tfcompress.techniques._qat_scheme import FlooredChannels

    kernel = tf.constant([extents, [-0.5 * extent for extent in extents]], tf.float32)
    quantizer = FlooredChannels(floor)
    weights = quantizer.build(kernel.shape, "kernel", keras.layers.Layer())
    quantizer(kernel, True, weights)
    np.testing.assert_array_equal(weights["min"].numpy(), -weights["max"].numpy())
    return weights["max"].numpy().tolist()


def test_no_channels_range_lies_far_below_the_median():
    assert channel_ranges([1.0, 2.0, 4.0], 0.001) == [1, 2, 4]
    assert channel_ranges([1e-9, 2.0, 4.0], 0.001) == pytest.approx([0.004, 2, 4])


def test_channels_of_zeros_do_not_lower_the_floor():
    """After pruning most channels may be zero altogether, and the median of all with them."""
    assert channel_ranges([0.0, 0.0, 0.0, 1e-9, 2.0], 0.001)[:4] == pytest.approx([0.002] * 4)
    assert min(channel_ranges([0.0, 0.0, 0.0], 0.001)) > 0


def planted(dead, scale):
    """A classifier in which some channels have all but no weights, and large biases."""
    from tfcompress._keras import keras

    keras.utils.set_random_seed(3)
    layers = keras.layers
    inputs = keras.Input([8, 8, 1])
    x = layers.Conv2D(8, 3, activation="relu", name="planted")(inputs)
    x = layers.Flatten()(x)
    model = keras.Model(inputs, layers.Dense(4, name="logits")(x))
    kernel, bias = model.get_layer("planted").get_weights()
    kernel[..., dead] *= scale
    bias[dead] = 6.2
    model.get_layer("planted").set_weights([kernel, bias])
    return model


def difference_of_file(model, config):
    """Greatest difference of the int8 file from the fake-quantized model, in output steps."""
    from tfcompress._keras import keras

    images = np.random.default_rng(0).uniform(0, 1, (64, 8, 8, 1)).astype(np.float32)
    wrapped = qat.wrap(model, config, steps_per_epoch=2, epochs=1)
    wrapped.compile(
        keras.optimizers.SGD(0.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    wrapped.fit(images, np.zeros(64), batch_size=32, verbose=0)
    artifact = convert(wrapped, "int8", metadata={})
    step = artifact.session().output_details.scale
    expected = wrapped.predict(images, verbose=0)
    return np.abs(artifact.run(images) - expected).max() / step


@pytest.mark.parametrize(
    ("dead", "scale"),
    [([2], 1e-8), ([2], 0.0), ([0, 1, 2, 3, 4, 5], 1e-8), ([0, 1, 2, 3, 4, 5], 0.0)],
)
def test_a_near_dead_channel_with_a_large_bias_does_not_saturate(dead, scale):
    assert difference_of_file(planted(dead, scale), QATConfig()) < 3


def test_without_the_floor_it_does():
    """What the floor is there for; if this fails, the converter has learned to do it."""
    assert difference_of_file(planted([2], 1e-8), QATConfig(weight_floor=0.0)) > 10


@pytest.fixture(scope="module")
def trained(digits):
    from tfcompress._keras import keras

    wrapped = qat.wrap(digits.model, QATConfig(), steps_per_epoch=24, epochs=2)
    wrapped.compile(
        keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    wrapped.fit(digits.train_inputs, digits.train_labels, batch_size=64, epochs=2, verbose=0)
    return qat.strip(wrapped)


def test_the_int8_file_computes_what_was_trained(trained, digits):
    artifact = convert(trained, "int8", metadata=digits.metadata)
    ours, theirs = trained.predict(digits.inputs, verbose=0), artifact.run(digits.inputs)
    assert np.mean(ours.argmax(1) == theirs.argmax(1)) >= 0.99
    assert artifact.integer_operators == len(artifact.operators)
    accuracy = np.mean(digits.model.predict(digits.inputs, verbose=0).argmax(1) == digits.labels)
    assert np.mean(theirs.argmax(1) == digits.labels) >= accuracy - 0.03


def test_a_layer_that_is_skipped_stays_float(digits):
    from tfcompress._keras import keras

    config = QATConfig(skip="point*")
    wrapped = qat.wrap(digits.model, config, steps_per_epoch=1, epochs=1)
    wrapped.compile(
        keras.optimizers.SGD(0.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    wrapped.fit(digits.train_inputs[:64], digits.train_labels[:64], verbose=0)
    qat.verify(wrapped, config)
    report = qat.report(digits.model, wrapped, config)
    skipped = {layer.name: layer.reason for layer in report.layers if not layer.treated}
    assert skipped["pointwise"] == "named in skip=point*"
    assert not qat.is_quantized(wrapped.get_layer("pointwise"))
    artifact = convert(wrapped, "int8", calibration=digits.inputs[:32], metadata=digits.metadata)
    qat.verify_artifact(artifact, report, config)


def test_a_float_file_is_found_out(trained, digits):
    report = qat.report(digits.model, trained, QATConfig())
    artifact = convert(digits.model, "float32", metadata=digits.metadata)
    with pytest.raises(VerificationError, match=r"0 weight tensors .* are int8, expected 4"):
        qat.verify_artifact(artifact, report, QATConfig())


def test_a_layer_that_tf_mot_does_not_know_is_named():
    from tfcompress._keras import keras

    inputs = keras.Input([4])
    x = keras.layers.Dense(4)(keras.layers.GaussianNoise(0.1, name="noise")(inputs))
    with pytest.raises(ValueError, match=r"qat cannot quantize this model.*(?s:.*)skip=NAME"):
        qat.wrap(keras.Model(inputs, x), QATConfig(), steps_per_epoch=1, epochs=1)
