"""The kernels of a model, through wrappers and nested models, and what the model costs."""

import numpy as np
import pytest

from tfcompress.graph import cost
from tfcompress.graph.kernels import distinct, kernels, layer_reports, leaf_layers, weighted_layers


@pytest.fixture(scope="module")
def model():
    from tfcompress._keras import keras

    layers = keras.layers
    inner_inputs = keras.Input([8, 8, 3])
    inner = keras.Model(inner_inputs, layers.Conv2D(4, 3, name="inner")(inner_inputs), name="net")
    inputs = keras.Input([8, 8, 3])
    x = inner(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.SeparableConv2D(5, 3, name="separable")(x)
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", name="depthwise")(x)
    x = layers.GlobalAveragePooling2D()(x)
    shared = layers.Dense(5, name="shared")
    return keras.Model(inputs, layers.Dense(2, name="logits")(shared(shared(x))))


def test_each_kernel_once_in_order(model):
    found = kernels(model)
    assert [(kernel.name, kernel.kind, kernel.depthwise) for kernel in found] == [
        ("inner", "Conv2D", False),
        ("separable", "SeparableConv2D", True),
        ("separable", "SeparableConv2D", False),
        ("depthwise", "DepthwiseConv2D", True),
        ("shared", "Dense", False),
        ("logits", "Dense", False),
    ]
    assert found[0].numpy().shape == (3, 3, 3, 4)


def test_a_copy_does_not_change_the_model(model):
    values = kernels(model)[0].numpy()
    values[:] = 0
    assert (kernels(model)[0].numpy() != 0).any()


def test_leaf_layers_opens_nested_models(model):
    names = [layer.name for layer in leaf_layers(model)]
    assert "inner" in names
    assert "net" not in names


def test_the_kernels_of_a_quantized_model_have_the_names_of_the_plain_one(digits):
    from tfcompress.techniques import qat

    wrapped = qat.wrap(digits.model, qat.QATConfig(), steps_per_epoch=1, epochs=1)
    plain, quantized = kernels(digits.model), kernels(wrapped)
    assert [(k.name, k.kind, k.depthwise) for k in plain] == [
        (k.name, k.kind, k.depthwise) for k in quantized
    ]
    for ours, theirs in zip(plain, quantized, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert cost.macs(wrapped) == cost.macs(digits.model)
    assert cost.parameters(wrapped) == cost.parameters(digits.model)


def test_distinct_takes_both_zeros_for_one():
    assert distinct(np.array([0.0, -0.0, 1.0, 1.0])) == 2


def test_parameters_and_multiply_accumulates_by_hand(digits):
    # conv 3x3x1x8, depthwise 3x3x8, pointwise 8x16+16, logits 400x10+10, two norms of 4x8.
    assert cost.parameters(digits.model) == 72 + 72 + 144 + 4010 + 64
    # Outputs 12x12, then 5x5, 5x5 and 1.
    assert cost.macs(digits.model) == 72 * 144 + 72 * 25 + 128 * 25 + 4000


def test_a_dense_layer_on_positions_costs_each_of_them():
    from tfcompress._keras import keras

    inputs = keras.Input([6, 3])
    assert cost.macs(keras.Model(inputs, keras.layers.Dense(2)(inputs))) == 6 * 3 * 2


def test_reports_name_every_layer_with_weights(model):
    found = {
        layer.name: layer for layer in layer_reports(model, model, reasons={"shared": "chosen"})
    }
    assert list(found) == ["inner", "norm", "separable", "depthwise", "shared", "logits"]
    assert (found["norm"].treated, found["norm"].reason) == (False, "no kernel")
    assert (found["shared"].treated, found["shared"].reason) == (False, "chosen")
    assert found["separable"].kernel_parameters == 3 * 3 * 4 + 4 * 5
    assert found["inner"].parameters == 3 * 3 * 3 * 4 + 4
    assert found["inner"].sparsity == 0


def test_a_pattern_that_fits_no_layer_is_refused():
    from tfcompress._keras import keras
    from tfcompress.graph import kernels

    model = keras.Sequential([keras.Input([4]), keras.layers.Dense(2, name="head")])
    kernels.require_named(model, "he*", what="prune: skip")
    with pytest.raises(ValueError, match=r"skip=haed fits no layer of the model\. Layers: head\."):
        kernels.require_named(model, "head|haed", what="prune: skip")


def test_a_slash_belongs_to_a_name_and_between_two_names_is_refused():
    from tfcompress._keras import keras
    from tfcompress.graph import kernels

    layers = [keras.layers.Dense(2, name=f"layer_0/attention/{name}") for name in ("key", "query")]
    model = keras.Sequential([keras.Input([4]), *layers, keras.layers.Dense(2, name="head")])
    assert kernels.named("layer_0/attention/key", "head|layer_*/key")
    assert not kernels.named("layer_0/attention/query", "head|layer_*/key")
    kernels.require_named(model, "head|layer_0/attention/*", what="prune: skip")
    advice = r"fits no layer of the model\. Several are written as head\|layer_0\*\. Layers: "
    with pytest.raises(ValueError, match=advice):
        kernels.require_named(model, "head/layer_0*", what="prune: skip")


def test_layers_of_one_name_in_several_models_have_names_of_their_own():
    from tfcompress._keras import keras
    from tfcompress.graph.rebuild import rebuild

    def block(name):
        inputs = keras.Input([4])
        return keras.Model(inputs, keras.layers.Dense(4, name="dense")(inputs), name=name)

    inputs = keras.Input([4])
    x = block("first")(inputs)
    x = keras.Model(inputs, block("second")(x), name="outer")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="logits")(x))
    assert list(weighted_layers(model)) == ["dense", "outer_second_dense", "logits"]
    assert [kernel.name for kernel in kernels(model)] == list(weighted_layers(model))
    # As the flattened model calls them.
    assert list(weighted_layers(rebuild(model))) == list(weighted_layers(model))


@pytest.mark.parametrize(
    ("layer", "shape", "parts"),
    [
        ("Bidirectional", [3, 2], ["forward_rnn/cell/kernel", "forward_rnn/cell/recurrent_kernel"]),
        ("MultiHeadAttention", [3, 2], ["query/kernel", "key/kernel"]),
        ("TimeDistributed", [3, 2], ["kernel"]),
        ("SeparableConv1D", [3, 2], ["depthwise_kernel", "pointwise_kernel"]),
    ],
)
def test_a_layer_with_several_kernels_has_a_name_for_each(layer, shape, parts):
    from tfcompress._keras import keras

    layers = keras.layers
    made = {
        "Bidirectional": lambda: layers.Bidirectional(
            layers.RNN(layers.SimpleRNNCell(2, name="cell"), name="rnn"), name="own"
        ),
        "MultiHeadAttention": lambda: layers.MultiHeadAttention(2, 2, name="own"),
        "TimeDistributed": lambda: layers.TimeDistributed(layers.Dense(2), name="own"),
        "SeparableConv1D": lambda: layers.SeparableConv1D(2, 2, name="own"),
    }[layer]()
    inputs = keras.Input(shape)
    called = made(inputs, inputs) if layer == "MultiHeadAttention" else made(inputs)
    found = kernels(keras.Model(inputs, called))
    assert [kernel.part for kernel in found][: len(parts)] == parts
    assert {kernel.name for kernel in found} == {"own"}
    assert {kernel.kind for kernel in found} == {layer}


def test_what_no_training_changes_is_frozen():
    from tfcompress._keras import keras

    inputs = keras.Input([4])
    inner = keras.Model(inputs, keras.layers.Dense(4, name="inner")(inputs), name="body")
    model = keras.Model(inputs, keras.layers.Dense(2, name="logits")(inner(inputs)))
    assert [kernel.frozen for kernel in kernels(model)] == [False, False]
    inner.trainable = False
    assert [kernel.frozen for kernel in kernels(model)] == [True, False]
    # A layer of a frozen model is frozen, whatever it says of itself.
    inner.layers[1].trainable = True
    assert [kernel.frozen for kernel in kernels(model)] == [True, False]


def test_values_of_half_precision_are_read_and_written_as_they_are():
    from tfcompress._keras import keras

    inputs = keras.Input([2], dtype="bfloat16")
    layer = keras.layers.Dense(2, dtype="bfloat16")
    (kernel,) = kernels(keras.Model(inputs, layer(inputs)))
    kernel.assign(np.array([[1.0, 0.1], [0.0, -3.0]], np.float32))
    # bfloat16 has eight bits of fraction: 0.1 becomes 205 / 2048.
    assert kernel.numpy().dtype == np.float32
    assert kernel.numpy().tolist() == [[1.0, 205 / 2048], [0.0, -3.0]]


def test_a_layer_that_became_two_is_described_by_both():
    from tfcompress._keras import keras

    def model(*layers):
        return keras.Sequential([keras.Input([4]), *layers])

    before = model(keras.layers.Dense(6, name="own"), keras.layers.Dense(2, name="head"))
    after = model(
        keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="first"),
        keras.layers.Dense(6, kernel_initializer="ones", name="own"),
        keras.layers.Dense(2, name="head"),
    )
    own, head = layer_reports(
        before,
        after,
        reasons={"head": "chosen"},
        became={"own": ("first", "own")},
        details={"own": "rank 1 of 4"},
    )
    # Its own 24 weights and 6 biases; then 4 zeros and 6 ones.
    assert (own.parameters, own.kernel_parameters, own.sparsity) == (30, 10, 0.4)
    assert (own.treated, own.distinct_weights, own.detail) == (True, 2, "rank 1 of 4")
    assert (head.treated, head.kernel_parameters, head.detail) == (False, 12, "")
