"""The rewriting for integer arithmetic: same outputs, one operator a layer."""

from __future__ import annotations

import numpy as np
import pytest


def built(*make, shape=(8, 8, 6)):
    """A model of layers in a row, its weights and BatchNormalization statistics random."""
    from tfcompress._keras import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input(shape)
    x = inputs
    for layer in make:
        x = layer(x)
    return randomized(keras.Model(inputs, x))


def randomized(model):
    generator = np.random.default_rng(1)
    for layer in model.layers:
        weights = [generator.normal(0, 0.5, weight.shape) for weight in layer.get_weights()]
        if type(layer).__name__ == "BatchNormalization":
            weights[-1] = generator.uniform(0.3, 2.0, weights[-1].shape)
        if weights:
            layer.set_weights(weights)
    return model


def rewritten(model, **options):
    """The form, after its outputs were held against the model's."""
    from tfcompress.graph.normal_form import normalize
    from tfcompress.techniques._integer_form import integer_form

    normal = normalize(model)
    form = integer_form(normal, **options)
    images = np.random.default_rng(0).normal(size=(3, *model.input_shape[1:])).astype(np.float32)
    expected = normal.predict(images, verbose=0)
    # Kernels of ones are some units in the last place above one.
    np.testing.assert_allclose(
        form.model.predict(images, verbose=0), expected, rtol=1e-4, atol=1e-4
    )
    return form


def kinds(form):
    return [type(layer).__name__ for layer in form.model.layers][1:]


def layers():
    from tfcompress._keras import keras

    return keras.layers


CASES = {
    "a convolution keeps its normalization": (
        lambda k: [k.Conv2D(4, 3), k.BatchNormalization(), k.ReLU()],
        ["Conv2D", "BatchNormalization", "ReLU"],
    ),
    "an activation becomes a layer": (
        lambda k: [k.Conv2D(4, 3, activation="relu6")],
        ["Conv2D", "ReLU"],
    ),
    "swish is a sigmoid and a product": (
        lambda k: [k.DepthwiseConv2D(3, activation="swish")],
        ["DepthwiseConv2D", "Activation", "Multiply"],
    ),
    "a separable convolution is two": (
        lambda k: [k.SeparableConv2D(4, 3, depth_multiplier=2)],
        ["DepthwiseConv2D", "Conv2D"],
    ),
    "a Dense layer on images is a convolution": (
        lambda k: [k.Dense(4, activation="gelu")],
        ["Conv2D", "Activation"],
    ),
    "a normalization alone multiplies channels first": (
        lambda k: [k.ReLU(), k.BatchNormalization()],
        ["ReLU", "ConstantDepthwiseConv2D", "BatchNormalization"],
    ),
    "so does one of features": (
        lambda k: [k.GlobalAveragePooling2D(), k.BatchNormalization()],
        [
            "GlobalAveragePooling2D",
            "Reshape",
            "ConstantDepthwiseConv2D",
            "BatchNormalization",
            "Reshape",
        ],
    ),
    "rescaling multiplies channels": (
        lambda k: [k.Rescaling(1 / 3, -0.5)],
        ["ConstantDepthwiseConv2D"],
    ),
    "normalization of inputs multiplies channels": (
        lambda k: [k.Normalization(mean=[1, 2, 3, 4, 5, 6], variance=[1, 2, 3, 4, 5, 6])],
        ["ConstantDepthwiseConv2D"],
    ),
    "layer normalization is eight operators": (
        lambda k: [k.LayerNormalization()],
        [
            "ChannelMean",
            "Subtract",
            "Multiply",
            "ChannelMean",
            "Shift",
            "Rsqrt",
            "Multiply",
            "DepthwiseConv2D",
        ],
    ),
    "an average of an even number is a convolution": (
        lambda k: [k.AveragePooling2D(2)],
        ["ConstantDepthwiseConv2D"],
    ),
    "an average of an odd number stays": (
        lambda k: [k.AveragePooling2D(3, 1, padding="same")],
        ["AveragePooling2D"],
    ),
    "leaky ReLU by another name": (
        lambda k: [k.ReLU(negative_slope=0.1)],
        ["LeakyReLU"],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_layer_becomes_single_operators_with_the_same_outputs(case):
    make, expected = case
    form = rewritten(built(*make(layers())))
    assert kinds(form) == expected
    assert not form.passed_over


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("HardSigmoid", ["ConstantDepthwiseConv2D", "UnitClip"]),
        ("HardSwish", ["ConstantDepthwiseConv2D", "UnitClip", "Multiply"]),
    ],
)
def test_hard_activations_are_a_line_and_a_saturation(name, expected):
    from tfcompress.graph import _layers

    assert kinds(rewritten(built(getattr(_layers, name)()))) == expected


def test_a_sum_of_several_is_a_chain_of_pairs():
    from tfcompress._keras import keras

    inputs = keras.Input([4, 4, 3])
    parts = [keras.layers.Conv2D(3, 1, name=f"part{number}")(inputs) for number in range(4)]
    form = rewritten(randomized(keras.Model(inputs, keras.layers.Add(name="sum")(parts))))
    assert kinds(form).count("Add") == 3
    assert {form.origin[name] for name in ("sum", "sum_1", "sum_2")} == {"sum"}


def test_a_shared_layer_stays_shared():
    from tfcompress._keras import keras

    inputs = keras.Input([6, 6, 3])
    shared = keras.layers.SeparableConv2D(3, 3, padding="same", activation="relu")
    form = rewritten(randomized(keras.Model(inputs, shared(shared(inputs)))))
    assert kinds(form).count("DepthwiseConv2D") == 1
    assert form.model.count_params() == 3 * 9 + 3 * 3 + 3


def test_a_normalization_of_a_tensor_that_others_take_is_not_folded():
    from tfcompress._keras import keras

    inputs = keras.Input([6, 6, 3])
    convolved = keras.layers.Conv2D(3, 1)(inputs)
    normal = keras.layers.BatchNormalization()(convolved)
    form = rewritten(randomized(keras.Model(inputs, keras.layers.Add()([convolved, normal]))))
    assert "ConstantDepthwiseConv2D" in kinds(form)


def test_kernels_of_ones_differ():
    """The converter would scale one tensor by two normalizations."""
    k = layers()
    form = rewritten(built(k.ReLU(), k.BatchNormalization(), k.ReLU(), k.BatchNormalization()))
    ones = [
        layer.get_weights()[0][0, 0, 0, 0]
        for layer in form.model.layers
        if type(layer).__name__ == "ConstantDepthwiseConv2D"
    ]
    assert len(set(ones)) == 2


def test_constants_are_not_trained():
    form = rewritten(built(layers().Rescaling(0.5)))
    form.model.trainable = True
    assert not form.model.trainable_weights


def test_what_has_no_integer_form_is_kept_and_named():
    k = layers()
    form = rewritten(
        built(k.Conv2D(4, 3), k.Activation("softplus", name="soft"), k.Conv2DTranspose(2, 3)),
    )
    assert kinds(form) == ["Conv2D", "Activation", "Conv2DTranspose"]
    assert form.passed_over["soft"] == "activation softplus has no integer form here"
    assert "Conv2DTranspose has no integer form here" in form.passed_over.values()


def test_what_is_skipped_is_kept_and_named():
    k = layers()
    form = rewritten(built(k.SeparableConv2D(4, 3, name="separable")), skip="sep*")
    assert kinds(form) == ["SeparableConv2D"]
    assert form.passed_over == {"separable": "named in skip=sep*"}


def test_units_behind_a_dense_layer_are_computed_in_its_operator():
    k = layers()
    form = rewritten(
        built(k.Flatten(), k.Dense(2), k.Rescaling([26.0, 5.0], [-3.0, 7.0], name="values"))
    )
    assert kinds(form) == ["Flatten", "Reshape", "Conv2D", "Rescaling", "Reshape"]
    assert form.passed_over == {}


@pytest.mark.parametrize("skip", ["values", "first"])
def test_units_are_an_operator_of_their_own_where_one_of_the_two_stays_in_float(skip):
    k = layers()
    model = built(k.Flatten(), k.Dense(2, name="first"), k.Rescaling(26.0, name="values"))
    form = rewritten(model, skip=skip)
    assert list(form.passed_over) == [skip]
    assert "Dense" in kinds(form)


def test_a_file_computes_units_in_one_integer_operator_and_as_the_model_does():
    from tfcompress.export import convert
    from tfcompress.techniques import qat

    k = layers()
    units = k.Rescaling([26.0, 50.0], [5.0, -9.0])
    model = built(k.Conv2D(4, 3, activation="relu"), k.Flatten(), k.Dense(2), units)
    images = np.random.default_rng(0).random((64, 8, 8, 6)).astype(np.float32)
    config = qat.QATConfig(calibration=images)
    quantized = qat.strip(qat.wrap(model, config, steps_per_epoch=1, epochs=1))
    artifact = convert(quantized, "int8")
    names = [operator.name for operator in artifact.operators]
    assert names.count("CONV_2D") == 2
    assert not {"DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MUL", "ADD"} & set(names)
    assert artifact.integer_operators == len(names)
    expected = quantized.predict(images, verbose=0)
    step = artifact.session().output_details.scale
    assert np.abs(artifact.run(images) - expected).max() < 0.01 * step
    # Eight bits of input, weights and activations.
    assert np.abs(expected - model.predict(images, verbose=0)).mean() < 2 * step
