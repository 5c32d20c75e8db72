"""TensorFlow operators on a model's tensors: which layers they become, and what is refused."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tfcompress._keras import keras, tf
from tfcompress.graph import tensorflow_operators
from tfcompress.graph.normal_form import NormalFormError, normalize
from tfcompress.graph.operators import UnsupportedOperator

K = keras.backend
layers = keras.layers


@dataclass(frozen=True)
class Case:
    """A function of a tensor [batch, 8, 8, 4] and the layers that it becomes."""

    function: Callable[[Any], Any]
    layers: str = ""

    @property
    def classes(self) -> list[str]:
        return self.layers.split()


CASES = {
    "add": Case(lambda x: x + tf.nn.relu(x), "ReLU Add"),
    "tf.add": Case(lambda x: tf.add(x, tf.nn.relu(x)), "ReLU Add"),
    "add_n": Case(lambda x: tf.add_n([x, x, x]), "Add"),
    "subtract": Case(lambda x: x - tf.nn.relu(x), "ReLU Subtract"),
    "multiply": Case(lambda x: x * tf.nn.relu(x), "ReLU Multiply"),
    "divide": Case(lambda x: x / (tf.nn.relu(x) + 1), "ReLU Rescaling Divide"),
    "maximum": Case(lambda x: tf.maximum(x, -x), "Rescaling Maximum"),
    "minimum": Case(lambda x: tf.minimum(x, -x), "Rescaling Minimum"),
    "squared difference": Case(
        lambda x: tf.math.squared_difference(x, -x), "Rescaling Subtract Elementwise"
    ),
    "plus number": Case(lambda x: x + 3, "Rescaling"),
    "number plus": Case(lambda x: 3.0 + x, "Rescaling"),
    "minus number": Case(lambda x: x - 3.0, "Rescaling"),
    "number minus": Case(lambda x: 1.0 - x, "Rescaling"),
    "times number": Case(lambda x: x * 2.0, "Rescaling"),
    "times one": Case(lambda x: x * 1.0),
    "by number": Case(lambda x: x / 255.0, "Rescaling"),
    "number by": Case(lambda x: 2.0 / (x + 1000.0), "Rescaling Elementwise Rescaling"),
    "times numpy": Case(lambda x: x * np.float32([1, 2, 3, 4]), "Rescaling"),
    "tensor times": Case(lambda x: tf.constant([[[1.0, 2, 3, 4]]]) * x, "Rescaling"),
    "bias_add": Case(lambda x: tf.nn.bias_add(x, tf.constant([1.0, 2, 3, 4])), "Rescaling"),
    "minus": Case(lambda x: -x, "Rescaling"),
    "square": Case(lambda x: x**2, "Elementwise"),
    "power": Case(lambda x: x**3, "Power"),
    "abs": Case(lambda x: abs(x), "Elementwise"),
    "rsqrt": Case(lambda x: tf.math.rsqrt(x + 2.0), "Rescaling Elementwise"),
    "exp": Case(lambda x: tf.exp(x / 100), "Rescaling Activation"),
    "norm": Case(
        lambda x: tf.norm(x, axis=[1, 2], keepdims=True), "Elementwise Reduce Elementwise"
    ),
    "l2_normalize": Case(lambda x: tf.nn.l2_normalize(x, -1), "UnitNormalization"),
    "mean of images": Case(lambda x: tf.reduce_mean(x, [1, 2]), "GlobalAveragePooling2D"),
    "mean kept": Case(lambda x: tf.reduce_mean(x, (-3, -2), True), "GlobalAveragePooling2D"),
    "mean of rows": Case(lambda x: K.mean(x, axis=1), "Reduce"),
    "sum": Case(lambda x: K.sum(x, axis=[1, 2], keepdims=True), "Reduce"),
    "max of channels": Case(lambda x: tf.reduce_max(x, axis=-1, keepdims=True), "Reduce"),
    "min": Case(lambda x: tf.reduce_min(x, axis=3), "Reduce"),
    "moments": Case(lambda x: tf.nn.moments(x, [1, 2])[0], "GlobalAveragePooling2D Reshape"),
    "batch_normalization": Case(
        lambda x: tf.nn.batch_normalization(x, 2.0, 3.0, None, None, 1e-3), "Rescaling Rescaling"
    ),
    "matmul": Case(lambda x: tf.matmul(x, x, transpose_b=True), "MatMul"),
    "reshape": Case(lambda x: tf.reshape(x, [-1, 64, 4]), "Reshape"),
    "reshape by shape": Case(lambda x: tf.reshape(x, [tf.shape(x)[0], 64, 4]), "Reshape"),
    "reshape by arithmetic": Case(
        lambda x: tf.reshape(x, [tf.shape(x)[0], tf.shape(x)[1] * tf.shape(x)[2], 4]), "Reshape"
    ),
    "reshape to the same": Case(lambda x: tf.reshape(x, [-1, 8, 8, 4])),
    "scale by a length": Case(
        lambda x: x / tf.sqrt(tf.cast(tf.shape(x)[-1], tf.float32)), "Rescaling"
    ),
    "flatten": Case(lambda x: K.batch_flatten(x), "Flatten"),
    "transpose": Case(lambda x: tf.transpose(x, [0, 3, 1, 2]), "Permute"),
    "expand_dims": Case(lambda x: tf.expand_dims(x, 1), "Reshape"),
    "new axis": Case(lambda x: x[:, None], "Reshape"),
    "squeeze": Case(lambda x: tf.squeeze(x[:, :1], 1), "Slice Reshape"),
    "squeeze all": Case(lambda x: tf.squeeze(x[:, :1, :1]), "Slice Reshape"),
    "slices": Case(lambda x: x[:, 1:, ::2, 0], "Slice"),
    "last channels": Case(lambda x: x[..., :2], "Slice"),
    "reversed": Case(lambda x: x[..., ::-1], "Slice"),
    "tf.reverse": Case(lambda x: tf.reverse(x, [1, -1]), "Slice"),
    "tf.slice": Case(lambda x: tf.slice(x, [0, 1, 1, 0], [-1, 4, 4, -1]), "Slice"),
    "whole": Case(lambda x: x[:, 0:8]),
    "concat": Case(lambda x: tf.concat([x, -x], axis=1), "Rescaling Concatenate"),
    "stack": Case(lambda x: tf.stack([x, -x], axis=1), "Reshape Rescaling Reshape Concatenate"),
    "split": Case(lambda x: tf.split(x, 2, -1), "Slice Slice"),
    "split by sizes": Case(lambda x: tf.split(x, [1, -1, 2], 3), "Slice Slice Slice"),
    "unstack": Case(lambda x: tf.unstack(x, axis=3)[1], "Slice"),
    "pad": Case(lambda x: tf.pad(x, [[0, 0], [1, 2], [3, 0], [0, 0]]), "ZeroPadding2D"),
    "pad by reflection": Case(
        lambda x: tf.pad(x, [[0, 0], [1, 2], [3, 0], [0, 0]], "REFLECT"), "Pad"
    ),
    "pad channels": Case(
        lambda x: tf.pad(x, [[0, 0], [0, 0], [0, 0], [0, 2]], constant_values=1.5), "Pad"
    ),
    "relu": Case(lambda x: tf.nn.relu(x), "ReLU"),
    "relu6": Case(lambda x: tf.nn.relu6(x), "ReLU"),
    "at least 0": Case(lambda x: tf.maximum(x, 0.0), "ReLU"),
    "at least 1": Case(lambda x: tf.maximum(x, 1.0), "Clip"),
    "clip to relu6": Case(lambda x: tf.clip_by_value(x, 0.0, 6.0), "ReLU"),
    "clip": Case(lambda x: tf.clip_by_value(x, -1.0, 6.0), "Clip"),
    "leaky_relu": Case(lambda x: tf.nn.leaky_relu(x, alpha=0.1), "LeakyReLU"),
    "elu": Case(lambda x: tf.nn.elu(x), "Activation"),
    "selu": Case(lambda x: tf.nn.selu(x), "Activation"),
    "silu": Case(lambda x: tf.nn.silu(x), "Activation"),
    "sigmoid": Case(lambda x: tf.sigmoid(x), "Activation"),
    "tanh": Case(lambda x: tf.tanh(x), "Activation"),
    "softplus": Case(lambda x: tf.nn.softplus(x), "Activation"),
    "mish": Case(lambda x: keras.activations.mish(x), "Activation Activation Multiply"),
    "gelu": Case(lambda x: tf.nn.gelu(x), "Activation"),
    "gelu by tanh": Case(lambda x: tf.nn.gelu(x, approximate=True), "ApproximateGelu"),
    "softmax": Case(lambda x: tf.nn.softmax(x), "Softmax"),
    "softmax of rows": Case(lambda x: tf.nn.softmax(x, axis=1), "Softmax"),
    "Keras 2's hard sigmoid": Case(
        lambda x: keras.activations.hard_sigmoid(x), "Rescaling Rescaling ReLU"
    ),
    "hard sigmoid": Case(lambda x: tf.nn.relu6(x + 3) * (1 / 6), "HardSigmoid"),
    "hard sigmoid by 6": Case(lambda x: tf.nn.relu6(x + 3.0) / 6.0, "HardSigmoid"),
    "hard swish": Case(lambda x: x * tf.nn.relu6(x + 3) * (1 / 6), "HardSwish"),
    "hard swish gated": Case(lambda x: x * (tf.clip_by_value(x + 3, 0, 6) / 6), "HardSwish"),
    "another gate": Case(
        lambda x: x[..., :2] * (tf.nn.relu6(x[..., 2:] + 3) / 6), "Slice Slice HardSigmoid Multiply"
    ),
    "relu6 of another shift": Case(lambda x: tf.nn.relu6(x + 2) / 6, "Rescaling ReLU Rescaling"),
    "max_pool2d": Case(lambda x: tf.nn.max_pool2d(x, 2, 2, "SAME"), "MaxPooling2D"),
    "max_pool": Case(
        lambda x: tf.nn.max_pool(x, [1, 3, 3, 1], [1, 2, 2, 1], "VALID"), "MaxPooling2D"
    ),
    "avg_pool2d": Case(lambda x: tf.nn.avg_pool2d(x, (3, 2), 1, "SAME"), "AveragePooling2D"),
    "resize by 2": Case(lambda x: tf.image.resize(x, (16, 16)), "UpSampling2D"),
    "resize nearest": Case(lambda x: tf.image.resize(x, (16, 24), "nearest"), "UpSampling2D"),
    "resize to any": Case(lambda x: tf.image.resize(x, (13, 5)), "Resizing"),
    "resize bicubic": Case(lambda x: tf.image.resize(x, (16, 16), "bicubic"), "Resizing"),
    "resize_images": Case(lambda x: K.resize_images(x, 2, 2, "channels_last"), "UpSampling2D"),
    "depth_to_space": Case(lambda x: tf.nn.depth_to_space(x, 2), "DepthToSpace"),
    "space_to_depth": Case(lambda x: tf.nn.space_to_depth(x, 2), "SpaceToDepth"),
    "cast to the same": Case(lambda x: tf.cast(x, tf.float32)),
    "cast to half": Case(lambda x: tf.cast(x, tf.float16), "Rescaling"),
    "identity": Case(lambda x: tf.identity(x)),
    "stop_gradient": Case(lambda x: tf.stop_gradient(x), "StopGradient"),
    "preprocess_input": Case(
        lambda x: keras.applications.mobilenet_v2.preprocess_input(x), "Rescaling Rescaling"
    ),
}


def model_of(function, shape=(8, 8, 4), dtype="float32"):
    inputs = keras.Input(shape, dtype=dtype)
    return keras.Model(inputs, function(inputs))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_operator_becomes_layers_with_the_same_outputs(case):
    model = model_of(case.function)
    normal = normalize(model, check=False)
    found = [type(layer).__name__ for layer in normal.layers if "input" not in layer.name]
    assert sorted(found) == sorted(case.classes)
    values = np.random.default_rng(0).normal(0, 3, [2, 8, 8, 4]).astype(np.float32)
    values = np.abs(values) if case is CASES["rsqrt"] else values
    pairs = zip(tf.nest.flatten(model(values)), tf.nest.flatten(normal(values)), strict=True)
    for expected, received in pairs:
        assert received.dtype == expected.dtype
        # One operation in float32, or one multiplication in place of a division.
        np.testing.assert_allclose(received, expected, rtol=1e-6, atol=1e-6)


# Of each way in which Keras writes arguments down: as numbers, lists, slices, tensors, keywords.
WRITTEN = (
    "slices",
    "tensor times",
    "times numpy",
    "number minus",
    "concat",
    "split by sizes",
    "reshape by arithmetic",
    "pad channels",
    "mean kept",
    "hard swish",
    "cast to half",
    "max_pool",
)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning")
@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("name", WRITTEN)
def test_operators_of_a_saved_model_become_the_same_layers(name, suffix, tmp_path):
    model = model_of(CASES[name].function)
    model.save(tmp_path / f"model{suffix}")
    loaded = keras.models.load_model(tmp_path / f"model{suffix}", compile=False)
    kinds = [type(layer).__name__ for layer in normalize(loaded).layers[1:]]
    assert sorted(kinds) == sorted(CASES[name].classes)


def test_parts_of_a_sequence_of_numbers():
    model = model_of(
        lambda x: layers.Embedding(9, 2)(tf.concat([x[:, :2], x[:, 5:]], 1)), (6,), "int32"
    )
    tokens = np.int32([[1, 2, 3, 4, 5, 6]])
    np.testing.assert_array_equal(normalize(model)(tokens), model(tokens))


def test_bytes_are_resized_as_floats():
    model = model_of(lambda x: tf.image.resize(x, (5, 6)), (8, 8, 3), dtype="uint8")
    pixels = np.arange(192, dtype=np.uint8).reshape(1, 8, 8, 3)
    np.testing.assert_allclose(normalize(model)(pixels), model(pixels), rtol=1e-6)


def test_pixels_as_bytes_become_floats():
    model = model_of(lambda x: tf.cast(x, tf.float32) / 255.0, dtype="uint8")
    pixels = np.arange(2 * 8 * 8 * 4, dtype=np.uint8).reshape(2, 8, 8, 4)
    normal = normalize(model)
    assert normal.input.dtype == tf.uint8
    np.testing.assert_allclose(normal(pixels), pixels / 255.0, rtol=1e-6)


def test_colours_in_the_order_of_caffe():
    model = model_of(lambda x: keras.applications.vgg16.preprocess_input(x), (8, 8, 3))
    values = np.random.default_rng(0).uniform(0, 255, [2, 8, 8, 3]).astype(np.float32)
    expected = values[..., ::-1] - np.float32([103.939, 116.779, 123.68])
    np.testing.assert_allclose(normalize(model)(values), expected, rtol=1e-6, atol=1e-4)


def test_tensors_that_lead_to_outputs_are_kept_beside_a_recognised_pattern():
    def gates(x):
        relu6 = tf.nn.relu6(x + 3.0)
        return [relu6, relu6 / 6.0, x * (relu6 / 6.0)]

    model = model_of(gates)
    normal = normalize(model)
    found = {type(layer).__name__ for layer in normal.layers[1:]}
    assert found == {"Rescaling", "ReLU", "HardSigmoid", "HardSwish"}


REFUSED = {
    "unknown operator": (lambda x: tf.math.argmax(x, -1), r"'tf.math.argmax'.* has no layer"),
    "floor division": (lambda x: x // 2, "'tf.compat.v1.floor_div' has no layer"),
    "mean over everything": (lambda x: tf.reduce_mean(x), r"'mean' works along the batch axis"),
    "batch into rows": (lambda x: tf.reshape(x, [-1, 4]), "moves values between the batch"),
    "fixed batch": (lambda x: tf.reshape(x, [2, 256]), "fixes or changes the batch"),
    "open length": (
        lambda x: x * tf.cast(tf.shape(x)[0], tf.float32),
        "length that is not known when the model is built",
    ),
    "batch moved": (lambda x: tf.transpose(x), "moves the batch axis"),
    "batch joined": (lambda x: tf.concat([x, x], 0), "works along the batch axis"),
    "one example": (lambda x: x[0], "takes part of the batch"),
    "batch padded": (lambda x: tf.pad(x, [[1, 0]] + [[0, 0]] * 3), "pads the batch"),
    "constant of pixels": (
        lambda x: x + np.ones((8, 8, 1), "f4"),
        r"constant of shape \(8, 8, 1\)",
    ),
    "variable": (lambda x: x * tf.Variable([1.0, 2, 3, 4]), "belongs to no layer"),
    "ranks": (lambda x: x * tf.reduce_mean(x, [1, 2]), "of different ranks"),
    "to integers": (lambda x: tf.cast(x, tf.int32), "turns float32 into int32"),
    "division by 0": (lambda x: x / 0.0, "divides by 0"),
    "keyword": (
        lambda x: tf.image.resize(x, (4, 4), preserve_aspect_ratio=True),
        "preserve_aspect_ratio",
    ),
    "antialias": (lambda x: tf.image.resize(x, (4, 4), antialias=True), "antialias=True"),
    "channels first": (
        lambda x: tf.nn.avg_pool2d(x, 2, 2, "SAME", data_format="NCHW"),
        "takes channels first",
    ),
}


@pytest.mark.parametrize(("function", "message"), REFUSED.values(), ids=REFUSED)
def test_operator_without_a_layer_is_refused(function, message):
    model = model_of(function)
    with pytest.raises(NormalFormError, match=message) as caught:
        normalize(model)
    assert str(caught.value).startswith("The layer 'tf.")


def test_integers_are_refused_with_what_to_do():
    model = model_of(lambda x: x + 1, dtype="int32")
    with pytest.raises(NormalFormError, match=r"type int32\. Cast it to float32 first"):
        normalize(model)


@pytest.mark.parametrize("symbol", ["io.write_file", "py_function", "numpy_function", "os.system"])
def test_names_outside_the_table_are_refused_before_anything_runs(symbol):
    assert not tensorflow_operators.is_known(symbol)
    with pytest.raises(UnsupportedOperator, match=f"'tf.{symbol}' has no layer"):
        tensorflow_operators.call(symbol, keras.Input([4]), "anything")


def test_every_name_in_the_table_is_tensorflows():
    for symbol in tensorflow_operators._TABLE:
        if symbol.startswith(("__operators__", "keras.")):
            continue
        found = tf
        for part in symbol.split("."):
            found = getattr(found, part)
        assert callable(found), symbol
