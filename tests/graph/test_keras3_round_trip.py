"""Models in the normal form as Keras 3 models, and back again from the file that Keras 3 writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfcompress
from tfcompress._keras import keras, keras3, tf
from tfcompress.graph.keras3 import to_keras3
from tfcompress.graph.loading import ModelError, load_model
from tfcompress.graph.normal_form import normalize
from tfcompress.techniques import prune

SHAPE = (8, 8, 4)


def images(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.1, 1, (count, *SHAPE)).astype("float32")


def round_trip(model: Any, folder: Path) -> tuple[Any, Any]:
    """The Keras 3 model, and what its file gives when it is loaded."""
    converted = to_keras3(model)
    converted.save(str(folder / "m.keras"))
    # Keras 3 reads the file without this package's layers.
    keras3.saving.load_model(str(folder / "m.keras"))
    return converted, load_model(folder / "m.keras")


# What each layer of the normal form's own is made of, as a user writes it.
WRITTEN: dict[str, Callable[[Any], Any]] = {
    "ApproximateGelu": lambda x: tf.nn.gelu(x, approximate=True),
    "Clip": lambda x: tf.clip_by_value(x, 0.2, 0.7),
    "DepthToSpace": lambda x: tf.nn.depth_to_space(x, 2),
    "Divide": lambda x: x / (x + 1.0),
    "Elementwise": lambda x: tf.math.rsqrt(tf.math.square(x) + 1.0),
    "HardSigmoid": lambda x: tf.nn.relu6(x + 3.0) / 6.0,
    "HardSwish": lambda x: x * (tf.nn.relu6(x + 3.0) / 6.0),
    "MatMul": lambda x: tf.matmul(x, x, transpose_b=True),
    "Pad": lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 0], [0, 1]], constant_values=3.0),
    "PadReflect": lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 0], [0, 0]], mode="REFLECT"),
    "Power": lambda x: tf.pow(x, 1.7),
    "Reduce": lambda x: tf.reduce_max(x, axis=[1, 3], keepdims=True),
    "Slice": lambda x: x[:, 1:6:2, ..., None, 3],
    "SpaceToDepth": lambda x: tf.nn.space_to_depth(x, 2),
    "StopGradient": lambda x: tf.stop_gradient(x * 2.0),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_layers_of_the_normal_form_have_a_counterpart(name: str, tmp_path: Path) -> None:
    inputs = keras.Input(SHAPE)
    model = normalize(keras.Model(inputs, WRITTEN[name](inputs)))
    assert name.removesuffix("Reflect") in [type(layer).__name__ for layer in model.layers]
    converted, again = round_trip(model, tmp_path)
    expected = np.asarray(model(images()))
    np.testing.assert_allclose(np.asarray(converted(images())), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.asarray(again(images())), expected, rtol=1e-5, atol=1e-6)


def convolutional() -> Any:
    layers = keras.layers
    inputs = keras.Input(SHAPE, name="image")
    x = layers.Normalization(mean=[0, 1, 2, 3], variance=[1, 2, 3, 4])(inputs)
    x = layers.Conv2D(6, 3, use_bias=False, name="stage/conv", activation="swish")(x)
    x = layers.BatchNormalization(axis=[3], momentum=0.9, name="stage/bn")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.LeakyReLU(alpha=0.05)(x)
    x = layers.Add()([layers.SeparableConv2D(6, 3, padding="same")(x), x])
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    outputs = layers.Dense(5, activation="hard_sigmoid", name="head")(x)
    model = keras.Model(inputs, outputs, name="small")
    generator = np.random.default_rng(2)
    for weight in model.weights:
        weight.assign(generator.uniform(0.1, 0.6, weight.shape))
    return model


def test_weights_settings_and_names_are_kept(tmp_path: Path) -> None:
    model = convolutional()
    converted, again = round_trip(model, tmp_path)
    assert converted.name == "small"
    assert converted.get_layer("stage_conv").kernel.shape == (3, 3, 4, 6)
    assert converted.get_layer("stage_bn").momentum == 0.9
    given = {layer.name.replace("/", "_"): layer.get_weights() for layer in model.layers}
    for layer in again.layers:
        for before, after in zip(given.get(layer.name, []), layer.get_weights(), strict=False):
            np.testing.assert_array_equal(after, before)
    # float32 in another order of additions.
    np.testing.assert_allclose(again(images()), model(images()), rtol=1e-5, atol=1e-6)


def test_shared_layers_several_inputs_and_outputs(tmp_path: Path) -> None:
    first, second = keras.Input([4], name="first"), keras.Input([4], name="second")
    shared = keras.layers.Dense(4, name="shared")
    outputs = {"a": shared(first), "b": [shared(shared(second)), first]}
    model = keras.Model({"first": first, "second": second}, outputs)
    converted, again = round_trip(model, tmp_path)
    assert converted.count_params() == again.count_params() == 20
    arrays = {"first": np.ones([2, 4], "float32"), "second": np.zeros([2, 4], "float32")}
    for a, b in zip(tf.nest.flatten(model(arrays)), tf.nest.flatten(again(arrays)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_recurrent_layers(tmp_path: Path) -> None:
    inputs = keras.Input([5, 3])
    x = keras.layers.Bidirectional(keras.layers.LSTM(2, return_sequences=True))(inputs)
    model = keras.Model(inputs, keras.layers.TimeDistributed(keras.layers.Dense(2))(x))
    _, again = round_trip(model, tmp_path)
    values = np.random.default_rng(0).normal(size=[2, 5, 3]).astype("float32")
    np.testing.assert_allclose(again(values), model(values), rtol=1e-5, atol=1e-6)


def test_a_mixed_precision_model_keeps_its_policy(tmp_path: Path) -> None:
    inputs = keras.Input(SHAPE)
    x = keras.layers.Conv2D(4, 3, dtype="mixed_float16", name="conv")(inputs)
    model = keras.Model(inputs, keras.layers.Flatten(dtype="float32")(x))
    converted, again = round_trip(model, tmp_path)
    assert converted.get_layer("conv").dtype_policy.name == "mixed_float16"
    assert again.get_layer("conv").dtype_policy.name == "mixed_float16"


def test_a_compressed_model_goes_back_to_keras_3_with_its_zeros(tmp_path: Path) -> None:
    inputs = keras3.Input(SHAPE)
    x = keras3.layers.Conv2D(16, 3, name="conv")(inputs)
    given = keras3.Model(inputs, keras3.layers.Flatten()(x))
    config = prune.PruningConfig(target_sparsity=0.75, schedule="constant")
    pruned = prune.wrap(load_model(given), config, steps_per_epoch=2, epochs=1)
    pruned.compile("sgd", "mse")
    target = np.zeros([4, 576], "float32")
    pruned.fit(images(4), target, batch_size=2, verbose=0, callbacks=prune.callbacks(config))
    back = tfcompress.to_keras3(prune.strip(pruned))
    back.save(str(tmp_path / "pruned.keras"))
    kernel = np.asarray(keras3.models.load_model(str(tmp_path / "pruned.keras")).layers[1].kernel)
    assert np.mean(kernel == 0) == 0.75


def test_a_layer_without_a_counterpart_is_refused() -> None:
    inputs = keras.Input([6, 3])
    model = keras.Model(inputs, keras.layers.LocallyConnected1D(2, 3, name="local")(inputs))
    with pytest.raises(ModelError, match=r"'local' is a LocallyConnected1D.*Keras 3 does not have"):
        to_keras3(model)


def test_custom_objects_say_what_stands_for_a_layer_of_the_users_own() -> None:
    def scaled(package: Any) -> Any:
        class Scaled(package.layers.Layer):
            def build(self, shape: Any) -> None:
                self.scale = self.add_weight(name="scale", shape=(shape[-1],))
                self.built = True

            def call(self, inputs: Any) -> Any:
                return inputs * self.scale

        return Scaled

    inputs = keras.Input([4])
    model = keras.Model(inputs, scaled(keras)(name="own")(inputs))
    model.set_weights([np.float32([1, 2, 3, 4])])
    with pytest.raises(ModelError, match=r"'own' is a Scaled.*custom_objects=\{'Scaled'"):
        to_keras3(model)
    converted = to_keras3(model, custom_objects={"Scaled": scaled(keras3)})
    np.testing.assert_array_equal(np.asarray(converted(np.ones([1, 4]))), [[1, 2, 3, 4]])


def test_a_model_that_was_never_built_is_refused() -> None:
    with pytest.raises(ModelError, match="was never built"):
        to_keras3(keras.Sequential([keras.layers.Dense(2)]))


def test_settings_that_only_keras_2_writes_down_are_left_out(tmp_path: Path) -> None:
    layers = keras.layers
    inputs = keras.Input([6, 4])
    x = layers.MultiHeadAttention(2, 3)(inputs, inputs)
    x = layers.RandomFlip()(layers.Reshape([6, 4, 1])(x))
    _, found = round_trip(normalize(keras.Model(inputs, x)), tmp_path)
    assert [type(layer).__name__ for layer in found.layers][1] == "MultiHeadAttention"
