"""Where quantizers stand, and that the int8 file computes the same, operator by operator."""

from __future__ import annotations

import numpy as np
import pytest

from tests.techniques.test_integer_form import built, layers, randomized
from tfcompress.export import convert, inference
from tfcompress.techniques import qat
from tfcompress.techniques.qat import QATConfig

SHAPE = (8, 8, 6)


def images(count=64, shape=SHAPE):
    return np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)


def quantized(model, **options):
    config = QATConfig(calibration=images(shape=model.input_shape[1:]), **options)
    return qat.strip(qat.wrap(model, config, steps_per_epoch=1, epochs=1))


def ranges(model):
    return {layer.name for layer in model.layers if type(layer).__name__ == "Quantize"}


OPERATORS = {
    "convolution": lambda k: [k.Conv2D(4, 3, activation="relu")],
    "grouped": lambda k: [k.Conv2D(6, 3, groups=3)],
    "depthwise": lambda k: [k.DepthwiseConv2D(3, strides=2, depth_multiplier=2)],
    "separable": lambda k: [k.SeparableConv2D(4, 3, activation="relu6")],
    "normalized": lambda k: [k.Conv2D(4, 3), k.BatchNormalization(), k.ReLU()],
    "normalized alone": lambda k: [k.BatchNormalization(), k.ReLU()],
    "normalized twice": lambda k: [k.BatchNormalization(), k.ReLU(), k.BatchNormalization()],
    "dense": lambda k: [k.GlobalAveragePooling2D(), k.Dense(4, activation="tanh")],
    "dense, normalized": lambda k: [k.Flatten(), k.Dense(4), k.BatchNormalization()],
    "dense on images": lambda k: [k.Dense(4)],
    "rescaling": lambda k: [k.Rescaling(3.0, -1.0), k.Conv2D(6, 1)],
    "layer normalization": lambda k: [k.LayerNormalization()],
    "swish": lambda k: [k.Conv2D(6, 1), k.Activation("swish")],
    "gelu": lambda k: [k.Conv2D(6, 1), k.Activation("gelu")],
    "leaky": lambda k: [k.Conv2D(6, 1), k.LeakyReLU(0.2)],
    "prelu": lambda k: [k.PReLU(shared_axes=[1, 2])],
    "sigmoid": lambda k: [k.Conv2D(6, 1), k.Activation("sigmoid")],
    "softmax": lambda k: [k.Flatten(), k.Dense(5), k.Softmax()],
    "average": lambda k: [k.AveragePooling2D(2), k.Conv2D(3, 1)],
    "maximum": lambda k: [k.ZeroPadding2D(1), k.MaxPooling2D(3), k.Conv2D(3, 1)],
    "resized": lambda k: [k.UpSampling2D(2), k.Cropping2D(1), k.Conv2D(3, 1)],
    "dropout": lambda k: [k.Conv2D(4, 1), k.Dropout(0.5), k.Conv2D(3, 1)],
}
# Where an operator before it differs by one step: a sigmoid's own steps are finer, and eight
# operators stand behind one another in a layer normalization.
_STEPS = {"layer normalization": 4, "sigmoid": 6}


@pytest.mark.parametrize("case", OPERATORS, ids=str)
def test_every_operator_is_an_integer_one_and_computes_the_same(case):
    model = built(*OPERATORS[case](layers()))
    wrapped = quantized(model)
    artifact = convert(wrapped, "int8", metadata={})
    assert artifact.integer_operators == len(artifact.operators)
    step = artifact.session().output_details.scale
    expected = inference(wrapped)(images())
    assert np.abs(artifact.run(images()) - expected).max() / step <= _STEPS.get(case, 1) + 0.01
    # Of 255 steps a fake-quantized model loses a few.
    original = model.predict(images(), verbose=0)
    assert np.abs(expected - original).mean() < 0.05 * np.abs(original).max()


def test_one_operator_has_one_range():
    k = layers()
    model = built(
        k.Conv2D(4, 3, name="conv"), k.BatchNormalization(name="norm"), k.ReLU(name="relu")
    )
    assert ranges(quantized(model)) == {f"{model.inputs[0].name}_range", "relu_range"}


def test_what_is_concatenated_shares_the_range_of_the_whole():
    from tfcompress._keras import keras

    k = keras.layers
    inputs = keras.Input([4, 4, 3], name="image")
    small, large = k.Conv2D(2, 1, name="small")(inputs), k.Conv2D(2, 1, name="large")(inputs)
    inner = k.Concatenate(name="inner")([small, large])
    outer = k.Concatenate(name="outer")([inner, k.Conv2D(2, 1, name="third")(inputs)])
    model = randomized(keras.Model(inputs, outer))
    wrapped = quantized(model)
    whole = wrapped.get_layer("outer_range").quantizer
    for name in ("small", "large", "inner", "third"):
        assert wrapped.get_layer(f"{name}_range").quantizer.root is whole
    artifact = convert(wrapped, "int8", metadata={})
    assert "QUANTIZE" not in {operator.name for operator in artifact.operators}
    step = artifact.session().output_details.scale
    found = artifact.run(images(shape=(4, 4, 3)))
    assert np.abs(found - inference(wrapped)(images(shape=(4, 4, 3)))).max() / step <= 1.01


def test_squeeze_and_excite_is_all_integers():
    from tfcompress._keras import keras

    k = keras.layers
    inputs = keras.Input(SHAPE)
    squeezed = k.GlobalAveragePooling2D(keepdims=True)(inputs)
    gate = k.Conv2D(6, 1, activation="sigmoid")(k.Conv2D(2, 1, activation="swish")(squeezed))
    outputs = k.Add()([k.Multiply()([inputs, gate]), inputs])
    wrapped = quantized(randomized(keras.Model(inputs, outputs)))
    artifact = convert(wrapped, "int8", metadata={})
    assert artifact.integer_operators == len(artifact.operators)
    step = artifact.session().output_details.scale
    assert np.abs(artifact.run(images()) - inference(wrapped)(images())).max() / step <= 2.01


def test_pixels_do_not_fall_between_two_integers():
    """Scaled to [-1, 1], every one of 256 values would lie halfway between two steps."""
    pixels = (np.arange(256, dtype=np.float32) / 127.5 - 1).reshape(1, 16, 16, 1)
    model = built(layers().Conv2D(1, 1), shape=(16, 16, 1))
    config = QATConfig(calibration=pixels)
    wrapped = qat.wrap(model, config, steps_per_epoch=1, epochs=1)
    quantizer = next(layer for layer in wrapped.layers if type(layer).__name__ == "Quantize")
    step = float(quantizer.quantizer.step())
    fraction = np.abs(np.mod(pixels / step, 1) - 0.5)
    assert fraction.min() > 1e-3


def test_enlarged_pixels_do_not_fall_between_two_integers():
    """Between two pixels lie their means, of which many are halves."""
    pixels = np.random.default_rng(0).integers(0, 256, 4096)
    values = ((pixels[1:] + pixels[:-1]) / 2).astype(np.float32)[:4080].reshape(1, 68, 60, 1)
    model = built(layers().Conv2D(1, 1), shape=(68, 60, 1))
    wrapped = qat.wrap(model, QATConfig(calibration=values), steps_per_epoch=1, epochs=1)
    quantizer = next(layer for layer in wrapped.layers if type(layer).__name__ == "Quantize")
    fraction = np.mod(values / float(quantizer.quantizer.step()), 1)
    assert np.mean(np.abs(fraction - 0.5) < 1e-3) < 0.005


def test_pixels_that_are_integers_stay_what_they_are():
    pixels = np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1)
    model = built(layers().Conv2D(1, 1), shape=(16, 16, 1))
    wrapped = qat.wrap(model, QATConfig(calibration=pixels), steps_per_epoch=1, epochs=1)
    quantizer = next(layer for layer in wrapped.layers if type(layer).__name__ == "Quantize")
    assert float(quantizer.quantizer.step()) == 1


def test_a_mean_is_not_off_by_what_its_operator_rounds():
    k = layers()
    model = built(k.Conv2D(6, 1, activation="relu", name="conv"), k.GlobalAveragePooling2D())
    wrapped = quantized(model)
    ranges = [layer.quantizer for layer in wrapped.layers if type(layer).__name__ == "Quantize"]
    source, mean = ranges[1:]
    offset = float(source.zero() * source.step() / mean.step())
    assert offset == pytest.approx(round(offset), abs=1e-3)
    assert abs(offset) >= 50


def test_biases_are_what_an_int32_stores():
    model = built(layers().Conv2D(4, 3, name="conv"))
    wrapped = quantized(model)
    kernel = wrapped.get_layer("quant_conv")
    source = next(layer for layer in wrapped.layers if type(layer).__name__ == "Quantize")
    ((_, _, variables),) = kernel._weight_vars
    step = float(source.quantizer.step()) * variables["extent"].numpy() / 127
    bias = kernel.layer.bias.numpy() / step
    np.testing.assert_allclose(bias, np.round(bias), atol=0.01)
    assert np.abs(kernel.layer.bias.numpy() - model.get_layer("conv").bias.numpy()).max() <= max(
        step
    )


def test_a_frozen_layer_is_quantized_and_not_trained():
    k = layers()
    model = built(k.Conv2D(4, 3, name="frozen", trainable=False), k.Conv2D(2, 1, name="free"))
    wrapped = quantized(model)
    assert wrapped.get_layer("quant_frozen").trainable_weights == []
    assert len(wrapped.get_layer("quant_free").trainable_weights) == 2


def test_an_uncalibrated_concatenation_passes_values_on_in_its_first_step():
    """Its operands' range is that of the whole, which no batch has given yet."""
    from tfcompress._keras import keras

    k = keras.layers
    inputs = keras.Input(SHAPE)
    parts = [k.Conv2D(2, 1, name="one")(inputs), k.Conv2D(2, 1, name="two")(inputs)]
    model = randomized(keras.Model(inputs, k.Concatenate(name="whole")(parts)))
    wrapped = qat.wrap(model, QATConfig(), steps_per_epoch=1, epochs=1)
    found = wrapped(images(), training=True).numpy()
    expected = model.predict(images(), verbose=0)
    assert np.abs(found - expected).mean() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize(
    "layer",
    [
        lambda k: k.Conv2D(4, 3, dilation_rate=2, name="other"),
        lambda k: k.Conv2DTranspose(4, 3, name="other"),
        lambda k: k.Activation("softplus", name="other"),
    ],
    ids=["dilated", "transposed", "softplus"],
)
def test_what_has_no_integer_form_is_computed_in_float_by_the_file(layer):
    k = layers()
    model = built(k.Conv2D(6, 1, name="first"), layer(k), k.Conv2D(3, 1, name="last"))
    wrapped = quantized(model)
    assert set(qat.skipped(model, QATConfig())) == {"other"}
    artifact = convert(wrapped, "int8", metadata={})
    kept = {operator.name for operator in artifact.operators if not operator.integer}
    assert kept >= {"DEQUANTIZE", "QUANTIZE"}
    assert artifact.integer_operators == 2
    step = artifact.session().output_details.scale
    # The float operator differs in its last bits; rounded, by a step where it lies halfway.
    assert np.abs(artifact.run(images()) - inference(wrapped)(images())).max() / step <= 3.01
