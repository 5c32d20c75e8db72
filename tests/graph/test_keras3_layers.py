"""Each layer and operator of Keras 3, with settings, against its counterpart in tf_keras."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tfcompress._keras import keras3
from tfcompress.graph.loading import ModelError, load_model


class _Layers:
    """`keras3.layers`, imported by the tests and not by their collection."""

    def __getattr__(self, name: str) -> Any:
        return getattr(keras3.layers, name)


L = _Layers()
IMAGE, SEQUENCE, VECTOR = (8, 6, 4), (7, 4), (6,)


@dataclass(frozen=True)
class Case:
    """A layer, or a function of tensors, and the shape that it is called on."""

    make: Callable[..., Any]
    shape: tuple[int, ...] = IMAGE
    inputs: int = 1
    dtype: str = "float32"


def model_of(case: Case) -> Any:
    given = [keras3.Input(case.shape, dtype=case.dtype) for _ in range(case.inputs)]
    made = case.make()
    outputs = made(given[0] if case.inputs == 1 else given)
    return randomized(keras3.Model(given, outputs))


def randomized(model: Any, seed: int = 0) -> Any:
    """Gives every weight random values, variances positive ones."""
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        least = 0.5 if "variance" in weight.path else -1.0
        weight.assign(generator.uniform(least, 1.5, weight.shape))
    return model


def assert_same_outputs(model: Any, built: Any, shape: tuple[int, ...], inputs: int = 1) -> None:
    generator = np.random.default_rng(1)
    arrays = [generator.uniform(0, 1, (3, *shape)).astype("float32") for _ in range(inputs)]
    expected = keras3.tree.flatten(model(arrays, training=False))
    received = keras3.tree.flatten(built(arrays if inputs > 1 else arrays[0], training=False))
    assert len(expected) == len(received)
    for a, b in zip(map(np.asarray, expected), map(np.asarray, received), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        # float32 in another order of additions, over at most some hundred terms.
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-5 * max(1.0, np.abs(a).max()))


LAYERS = {
    "conv2d": Case(lambda: L.Conv2D(5, 3, strides=2, padding="same", activation="relu")),
    "conv2d_grouped": Case(lambda: L.Conv2D(6, (3, 2), groups=2, use_bias=False)),
    "conv2d_dilated": Case(lambda: L.Conv2D(3, 3, dilation_rate=2, kernel_regularizer="l2")),
    "conv1d_causal": Case(lambda: L.Conv1D(3, 3, padding="causal"), SEQUENCE),
    "conv3d": Case(lambda: L.Conv3D(2, 2), (4, 4, 4, 2)),
    "conv2d_transpose": Case(lambda: L.Conv2DTranspose(3, 3, strides=2, padding="same")),
    "depthwise_conv2d": Case(lambda: L.DepthwiseConv2D(3, depth_multiplier=2, activation="silu")),
    "depthwise_conv1d": Case(lambda: L.DepthwiseConv1D(3), SEQUENCE),
    "separable_conv2d": Case(lambda: L.SeparableConv2D(5, 3, depth_multiplier=2)),
    "separable_conv1d": Case(lambda: L.SeparableConv1D(5, 3), SEQUENCE),
    "dense": Case(lambda: L.Dense(3, kernel_constraint=keras3.constraints.MaxNorm(2.0)), VECTOR),
    "einsum_dense": Case(lambda: L.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d"), SEQUENCE),
    "batch_norm": Case(lambda: L.BatchNormalization(epsilon=1e-5, scale=False)),
    "batch_norm_axis": Case(lambda: L.BatchNormalization(axis=1)),
    "layer_norm": Case(lambda: L.LayerNormalization(epsilon=1e-6)),
    "layer_norm_axes": Case(lambda: L.LayerNormalization(axis=[1, 2])),
    "group_norm": Case(lambda: L.GroupNormalization(2)),
    "unit_norm": Case(lambda: L.UnitNormalization()),
    "spectral_norm": Case(lambda: L.SpectralNormalization(L.Conv2D(3, 3))),
    "rescaling": Case(lambda: L.Rescaling(1 / 255, offset=[-1.0, 0.0, 1.0, 2.0])),
    "rescaling_list": Case(lambda: L.Rescaling([0.5, 1.0, 2.0, 3.0])),
    "normalization": Case(lambda: L.Normalization(mean=[0, 1, 2, 3], variance=[1, 2, 3, 4])),
    "max_pool": Case(lambda: L.MaxPooling2D(3, strides=2, padding="same")),
    "average_pool": Case(lambda: L.AveragePooling2D((2, 3))),
    "average_pool1d": Case(lambda: L.AveragePooling1D(2), SEQUENCE),
    "global_average_pool": Case(lambda: L.GlobalAveragePooling2D(keepdims=True)),
    "global_max_pool1d": Case(lambda: L.GlobalMaxPooling1D(), SEQUENCE),
    "zero_padding": Case(lambda: L.ZeroPadding2D(((1, 0), (2, 1)))),
    "zero_padding1d": Case(lambda: L.ZeroPadding1D(2), SEQUENCE),
    "cropping": Case(lambda: L.Cropping2D(((1, 0), (1, 2)))),
    "up_sampling": Case(lambda: L.UpSampling2D((2, 3), interpolation="bilinear")),
    "resizing": Case(lambda: L.Resizing(5, 9)),
    "center_crop": Case(lambda: L.CenterCrop(4, 4)),
    "reshape": Case(lambda: L.Reshape((-1, 2))),
    "permute": Case(lambda: L.Permute((3, 1, 2))),
    "flatten": Case(lambda: L.Flatten()),
    "repeat_vector": Case(lambda: L.RepeatVector(3), VECTOR),
    "identity": Case(lambda: L.Identity()),
    "relu": Case(lambda: L.ReLU(max_value=6, negative_slope=0.1, threshold=0.2)),
    "leaky_relu": Case(lambda: L.LeakyReLU(negative_slope=0.07)),
    "prelu": Case(lambda: L.PReLU(shared_axes=[1, 2])),
    "elu": Case(lambda: L.ELU(alpha=0.7)),
    "softmax": Case(lambda: L.Softmax(axis=1)),
    "dropout": Case(lambda: L.Dropout(0.5, seed=3)),
    "spatial_dropout": Case(lambda: L.SpatialDropout2D(0.5)),
    "gaussian_noise": Case(lambda: L.GaussianNoise(0.5)),
    "activity_regularization": Case(lambda: L.ActivityRegularization(l2=0.1)),
    "random_flip": Case(lambda: L.RandomFlip("horizontal")),
    "random_rotation": Case(lambda: L.RandomRotation(0.1)),
    "random_zoom": Case(lambda: L.RandomZoom(0.1)),
    "random_contrast": Case(lambda: L.RandomContrast(0.1)),
    "random_brightness": Case(lambda: L.RandomBrightness(0.1)),
    "random_translation": Case(lambda: L.RandomTranslation(0.1, 0.1)),
    "add": Case(lambda: L.Add(), inputs=3),
    "subtract": Case(lambda: L.Subtract(), inputs=2),
    "multiply": Case(lambda: L.Multiply(), inputs=2),
    "average": Case(lambda: L.Average(), inputs=2),
    "maximum": Case(lambda: L.Maximum(), inputs=2),
    "minimum": Case(lambda: L.Minimum(), inputs=2),
    "concatenate": Case(lambda: L.Concatenate(axis=1), inputs=2),
    "dot": Case(lambda: L.Dot(axes=1), VECTOR, inputs=2),
    "lstm": Case(lambda: L.LSTM(3, return_sequences=True, dropout=0.2), SEQUENCE),
    "gru": Case(lambda: L.GRU(3), SEQUENCE),
    "gru_reset_before": Case(lambda: L.GRU(3, reset_after=False), SEQUENCE),
    "simple_rnn": Case(lambda: L.SimpleRNN(3), SEQUENCE),
    "bidirectional": Case(lambda: L.Bidirectional(L.LSTM(3), merge_mode="sum"), SEQUENCE),
    "stacked_cells": Case(lambda: L.RNN([L.LSTMCell(3), L.GRUCell(2)]), SEQUENCE),
    "conv_lstm": Case(lambda: L.ConvLSTM2D(2, 3), (3, 5, 5, 2)),
    "time_distributed": Case(lambda: L.TimeDistributed(L.Dense(3)), SEQUENCE),
    "attention": Case(lambda: L.Attention(use_scale=True), SEQUENCE, inputs=2),
    "additive_attention": Case(lambda: L.AdditiveAttention(), SEQUENCE, inputs=2),
    "multi_head_attention": Case(lambda: lambda x: L.MultiHeadAttention(2, 3)(x, x), SEQUENCE),
}


@pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS)
def test_a_layer_computes_the_same(case: Case) -> None:
    model = model_of(case)
    assert_same_outputs(model, load_model(model), case.shape, case.inputs)


ACTIVATIONS = (
    "celu",
    "elu",
    "exponential",
    "gelu",
    "hard_sigmoid",
    "hard_silu",
    "leaky_relu",
    "linear",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "tanh",
)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("layer", ["Dense", "Activation"])
def test_an_activation_computes_the_same(name: str, layer: str) -> None:
    settings = {"units": 5} if layer == "Dense" else {}
    case = Case(lambda: getattr(L, layer)(activation=name, name="own", **settings), VECTOR)
    model = model_of(case)
    if name == "celu":
        with pytest.raises(ModelError, match=r"'own'.*'celu'"):
            load_model(model)
        return
    built = load_model(model)
    assert_same_outputs(model, built, VECTOR)
    assert "own" in [layer.name for layer in built.layers]


def ops(name: str, *args: Any, **kwargs: Any) -> Callable[[], Callable[[Any], Any]]:
    """A call of an operator of Keras 3 on one tensor, with further arguments."""
    return lambda: lambda x: getattr(keras3.ops, name)(x, *args, **kwargs)


def of(compute: Callable[..., Any], shape: tuple[int, ...] = IMAGE, inputs: int = 1) -> Case:
    return Case(lambda: compute, shape, inputs)


OPERATORS = {
    "add": of(lambda x: x + 1.5),
    "add_two": of(lambda pair: pair[0] + pair[1], inputs=2),
    "subtract_from": of(lambda x: 2.0 - x),
    "multiply": of(lambda x: x * np.float32([1, 2, 3, 4])),
    "divide": of(lambda x: x / 4.0),
    "true_divide_two": of(lambda p: keras3.ops.true_divide(p[0], p[1] + 1.0), inputs=2),
    "negative": of(lambda x: -x),
    "power": of(lambda x: x**2),
    "abs": of(lambda x: abs(x - 0.5)),
    "maximum": of(lambda x: keras3.ops.maximum(x, 0.3)),
    "clip": Case(ops("clip", 0.2, 0.7)),
    "mean": Case(ops("mean", axis=[1, 2])),
    "mean_keepdims": Case(ops("mean", axis=(1, 2), keepdims=True)),
    "max": Case(ops("max", axis=-1)),
    "sum": Case(ops("sum", axis=1)),
    "reshape": Case(ops("reshape", (-1, 48, 4))),
    "transpose": Case(ops("transpose", (0, 3, 1, 2))),
    "expand_dims": Case(ops("expand_dims", 1)),
    "squeeze": of(lambda x: keras3.ops.squeeze(x[:, :1], axis=1)),
    "concatenate": of(lambda p: keras3.ops.concatenate(p, axis=-1), inputs=2),
    "stack": of(lambda p: keras3.ops.stack(p, axis=1), inputs=2),
    "split": of(lambda x: keras3.ops.split(x, 2, axis=-1)),
    "get_item": of(lambda x: x[:, 1:5, ::2, 0]),
    "pad": Case(ops("pad", [[0, 0], [1, 2], [0, 1], [0, 0]])),
    "matmul": of(lambda p: keras3.ops.matmul(*p), (4, 4), inputs=2),
    "square": Case(ops("square")),
    "sqrt": Case(ops("sqrt")),
    "exp": Case(ops("exp")),
    "log": of(lambda x: keras3.ops.log(x + 1.0)),
    "relu": Case(ops("relu")),
    "relu6": Case(ops("relu6")),
    "leaky_relu": Case(ops("leaky_relu", negative_slope=0.05)),
    "gelu_approximate": Case(ops("gelu")),
    "gelu_exact": Case(ops("gelu", approximate=False)),
    "silu": Case(ops("silu")),
    "sigmoid": Case(ops("sigmoid")),
    "hard_sigmoid": Case(ops("hard_sigmoid")),
    "hard_silu": Case(ops("hard_silu")),
    "softmax": Case(ops("softmax", axis=-1)),
    "tanh": Case(ops("tanh")),
    "cast": Case(ops("cast", "float16")),
    "average_pool": Case(ops("average_pool", 2, strides=2, padding="same")),
    "max_pool": Case(ops("max_pool", 2)),
    "resize": of(lambda x: keras3.ops.image.resize(x, (5, 9))),
    "mobilenet_v3_gate": of(lambda x: x * (keras3.ops.relu6(x + 3.0) / 6.0)),
}


@pytest.mark.parametrize("case", OPERATORS.values(), ids=OPERATORS)
def test_an_operator_computes_the_same(case: Case) -> None:
    model = model_of(case)
    assert_same_outputs(model, load_model(model), case.shape, case.inputs)
