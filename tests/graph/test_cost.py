"""Parameters and multiply-accumulates, worked out by hand."""

from __future__ import annotations

import pytest

from tfcompress._keras import keras
from tfcompress.graph import cost
from tfcompress.graph._layers import MatMul


def functional(shape, *layers):
    inputs = outputs = keras.Input(shape)
    for layer in layers:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize(
    ("shape", "layer", "expected"),
    [
        # Kernel 3*3*2*5 at 4*4 output positions.
        ((8, 8, 2), keras.layers.Conv2D(5, 3, strides=2, padding="same", name="own"), 90 * 16),
        ((8, 8, 2), keras.layers.DepthwiseConv2D(3, padding="same", name="own"), 18 * 64),
        # 3*3*2 depthwise and 2*5 pointwise.
        ((8, 8, 2), keras.layers.SeparableConv2D(5, 3, padding="same", name="own"), 28 * 64),
        # A transposed convolution spreads each of its 8*8 inputs.
        ((8, 8, 2), keras.layers.Conv2DTranspose(5, 3, strides=2, name="own"), 90 * 64),
        ((7, 2), keras.layers.Dense(5, name="own"), 10 * 7),
        # 2 inputs and 3 states to 3 outputs, in each of 7 steps.
        ((7, 2), keras.layers.SimpleRNN(3, name="own"), (6 + 9) * 7),
        # Four gates, there and back.
        ((7, 2), keras.layers.Bidirectional(keras.layers.LSTM(3), name="own"), 2 * 60 * 7),
        # Each of two groups has 1 input and 3 outputs.
        ((8, 8, 2), keras.layers.Conv2D(6, 3, groups=2, padding="same", name="own"), 54 * 64),
        ((7, 2), keras.layers.Conv1D(5, 3, name="own"), 30 * 5),
        ((7, 2), keras.layers.Conv1DTranspose(5, 3, name="own"), 30 * 7),
        ((4, 4, 4, 2), keras.layers.Conv3D(5, 2, name="own"), 80 * 27),
        ((7, 4, 4, 2), keras.layers.TimeDistributed(keras.layers.Conv2D(5, 1), name="own"), 1120),
        # 2 and 3 inputs to the 12 gates of 3 channels, at 2*2 positions in 5 steps.
        ((5, 4, 4, 2), keras.layers.ConvLSTM2D(3, 3, name="own"), (216 + 324) * 4 * 5),
        # 8 inputs to 2*4 outputs, at 7 positions.
        ((7, 8), keras.layers.EinsumDense("abc,cde->abde", (None, 2, 4), name="own"), 64 * 7),
        ((7, 2, 4), keras.layers.EinsumDense("abcd,cde->abe", (None, 8), name="own"), 64 * 7),
    ],
    ids=[
        "conv",
        "depthwise",
        "separable",
        "transposed",
        "dense",
        "recurrent",
        "bidirectional",
        "grouped",
        "conv1d",
        "conv1d_transposed",
        "conv3d",
        "time_distributed",
        "conv_lstm",
        "einsum",
        "einsum_of_two_axes",
    ],
)
def test_one_layer(shape, layer, expected):
    model = functional(shape, layer)
    assert cost.macs(model) == expected
    assert {name for name, _ in cost.macs_by_kernel(model)} == {"own"}
    assert cost.parameters(model) == model.count_params()


def test_each_kernel_of_a_separable_convolution_has_its_own_share():
    model = functional((8, 8, 2), keras.layers.SeparableConv2D(5, 3, padding="same", name="own"))
    assert cost.macs_by_kernel(model) == {
        ("own", "depthwise_kernel"): 18 * 64,
        ("own", "pointwise_kernel"): 10 * 64,
    }


def test_layers_without_a_kernel_cost_nothing():
    model = functional((4, 4, 2), keras.layers.BatchNormalization(), keras.layers.ReLU())
    assert cost.macs(model) == 0


def test_a_shared_layer_costs_each_of_its_calls():
    shared = keras.layers.Conv2D(2, 1, name="shared")
    model = functional((4, 4, 2), shared, keras.layers.MaxPooling2D(), shared)
    assert cost.macs_by_kernel(model) == {("shared", "kernel"): 4 * 16 + 4 * 4}
    assert cost.parameters(model) == 6


def test_calls_in_other_models_are_not_counted():
    model = functional((4, 4, 2), keras.layers.Conv2D(2, 1, name="conv"))
    keras.Model(model.input, model.layers[-1](model.output))
    assert cost.macs_by_kernel(model) == {("conv", "kernel"): 4 * 16}


def test_nested_models_are_counted_where_they_stand():
    inner = functional((4, 4, 2), keras.layers.Conv2D(2, 1, name="conv"))
    outer = functional((4, 4, 2), inner, keras.layers.Flatten(), keras.layers.Dense(3, name="head"))
    assert cost.macs_by_kernel(outer) == {("conv", "kernel"): 4 * 16, ("head", "kernel"): 32 * 3}


def test_an_open_size_is_not_counted():
    model = functional((None, None, 2), keras.layers.Conv2D(2, 1, name="conv"))
    assert cost.macs_by_kernel(model) == {("conv", "kernel"): None}
    with pytest.raises(ValueError, match="depend on the size of its input, which is open"):
        cost.macs(model)


def test_attention_applies_its_kernels_to_queries_and_to_values():
    queries, values = keras.Input([5, 8]), keras.Input([7, 6])
    outputs = keras.layers.MultiHeadAttention(2, 4, name="own")(queries, values)
    model = keras.Model([queries, values], outputs)
    found = cost.macs_by_kernel(model)
    assert found == {
        ("own", "query/kernel"): 8 * 8 * 5,
        ("own", "key/kernel"): 6 * 8 * 7,
        ("own", "value/kernel"): 6 * 8 * 7,
        ("own", "attention_output/kernel"): 8 * 8 * 5,
    }

    # Two heads, 5 queries, 7 keys: scores of width 4 and sums of width 4.
    assert cost.macs_of_products(model) == {"own": 2 * 5 * 7 * (4 + 4)}
    assert cost.macs(model) == sum(found.values()) + 560


@pytest.mark.parametrize(
    ("shapes", "multiply", "expected"),
    [
        # Three pairs of matrices, 5 by 4 and 4 by 7.
        ([[3, 5, 4], [3, 4, 7]], lambda: MatMul(name="own"), 3 * 5 * 4 * 7),
        ([[3, 5, 4], [3, 7, 4]], lambda: MatMul(transpose_b=True, name="own"), 3 * 5 * 4 * 7),
        ([[3, 4, 5], [3, 4, 7]], lambda: MatMul(transpose_a=True, name="own"), 3 * 5 * 4 * 7),
        # One matrix for each of the three.
        ([[3, 5, 4], [1, 4, 7]], lambda: MatMul(name="own"), 3 * 5 * 4 * 7),
        ([[5, 4], [7, 4]], lambda: keras.layers.Dot((2, 2), name="own"), 5 * 4 * 7),
        ([[4], [4]], lambda: keras.layers.Dot(1, name="own"), 4),
        ([[5, 4], [7, 4]], lambda: keras.layers.Attention(name="own"), 5 * 7 * (4 + 4)),
        ([[5, 4], [7, 4]], lambda: keras.layers.AdditiveAttention(name="own"), 5 * 7 * 4),
    ],
    ids=[
        "matmul",
        "transposed_second",
        "transposed_first",
        "one_for_all",
        "dot",
        "dot_of_vectors",
        "attention",
        "additive_attention",
    ],
)
def test_products_of_two_activations(shapes, multiply, expected):
    inputs = [keras.Input(shape) for shape in shapes]
    model = keras.Model(inputs, multiply()(inputs))
    assert cost.macs_of_products(model) == {"own": expected}
    assert cost.macs(model) == expected


def test_a_product_of_an_open_length_is_not_counted():
    inputs = keras.Input([None, 4])
    model = keras.Model(inputs, MatMul(transpose_b=True, name="own")([inputs, inputs]))
    assert cost.macs_of_products(model) == {"own": None}
    with pytest.raises(ValueError, match="which is open"):
        cost.macs(model)


def test_a_model_within_a_model_costs_each_of_its_calls():
    inner = functional((4,), keras.layers.Dense(4, name="own"))
    inputs = keras.Input([4])
    model = keras.Model(inputs, inner(inner(inputs)))
    assert cost.macs(model) == 2 * 16
    assert cost.parameters(model) == 20
