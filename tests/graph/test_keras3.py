"""What a Keras 3 model is besides its layers: connections, sharing, masks, types, names."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfcompress._keras import keras, keras3
from tfcompress.graph import from_keras3
from tfcompress.graph.loading import ModelError, load_model

SHAPE = (6, 5, 3)


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


def assert_same(given: Any, inputs: Any, *, tolerance: float = 1e-5) -> Any:
    """Loads a model, compares the outputs, and returns what was loaded."""
    model = load_model(given)
    expected = keras3.tree.flatten(given(inputs, training=False))
    received = keras3.tree.flatten(model(inputs, training=False))
    for a, b in zip(expected, received, strict=True):
        np.testing.assert_allclose(b, np.asarray(a), rtol=0, atol=tolerance)
    return model


def names(model: Any) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


def test_a_shared_layer_stays_shared() -> None:
    inputs = keras3.Input([4])
    shared = keras3.layers.Dense(4, activation="relu", name="shared")
    model = assert_same(keras3.Model(inputs, shared(shared(inputs))), values(3, 4))
    assert names(model) == ["InputLayer", "Dense"]
    assert len(model.get_layer("shared")._inbound_nodes) == 2
    assert model.count_params() == 20


def test_a_shared_model_stays_shared() -> None:
    inner = keras3.Sequential([keras3.Input([4]), keras3.layers.Dense(4, name="inner")])
    first, second = keras3.Input([4]), keras3.Input([4])
    given = keras3.Model([first, second], inner(first) - inner(second))
    model = assert_same(given, [values(3, 4), values(3, 4, seed=1)])
    assert model.count_params() == 20


def test_several_inputs_and_outputs_keep_their_structure() -> None:
    first, second = keras3.Input([4], name="first"), keras3.Input([2], name="second")
    joined = keras3.layers.Concatenate()([first, second])
    outputs = {"sum": keras3.layers.Dense(1)(joined), "parts": [first * 2.0, second]}
    given = keras3.Model({"first": first, "second": second}, outputs)
    model = assert_same(given, {"first": values(3, 4), "second": values(3, 2)})
    received = model({"first": values(3, 4), "second": values(3, 2)})
    assert set(received) == {"sum", "parts"}
    assert model.input_names == ["first", "second"]


def test_models_within_models_become_flat() -> None:
    innermost = keras3.Sequential([keras3.Input(SHAPE), keras3.layers.Conv2D(3, 1, name="conv")])
    middle_in = keras3.Input(SHAPE)
    middle = keras3.Model(middle_in, keras3.layers.ReLU()(innermost(middle_in)), name="middle")
    inputs = keras3.Input(SHAPE)
    model = assert_same(keras3.Model(inputs, middle(inputs)), values(2, *SHAPE))
    assert names(model) == ["InputLayer", "Conv2D", "ReLU"]


def test_a_sequential_model_keeps_the_names_of_its_layers() -> None:
    given = keras3.Sequential(
        [
            keras3.Input([4]),
            keras3.layers.Dense(3, name="first"),
            keras3.layers.Softmax(name="last"),
        ]
    )
    model = assert_same(given, values(2, 4))
    assert [layer.name for layer in model.layers][1:] == ["first", "last"]


def test_names_that_tensorflow_does_not_take_are_changed() -> None:
    inputs = keras3.Input([4], name="the input")
    x = keras3.layers.Dense(3, name="my layer")(inputs)
    model = assert_same(keras3.Model(inputs, keras3.layers.Dense(2, name="größe")(x)), values(2, 4))
    assert [layer.name for layer in model.layers] == ["the_input", "my_layer", "gr__e"]


def test_a_mask_reaches_recurrent_layers(tmp_path: Path) -> None:
    inputs = keras3.Input([6], dtype="int32")
    x = keras3.layers.Embedding(5, 4, mask_zero=True)(inputs)
    given = keras3.Model(inputs, keras3.layers.GRU(2)(x))
    words = np.array([[1, 2, 3, 0, 0, 0], [4, 4, 4, 4, 4, 4], [0, 0, 0, 0, 0, 1]], "int32")
    given.save(str(tmp_path / "m.keras"))
    for source in (given, tmp_path / "m.keras"):
        model = load_model(source)
        np.testing.assert_allclose(model(words), np.asarray(given(words)), atol=1e-6)
        assert names(model) == ["InputLayer", "Embedding", "GRU"]


def test_dropout_works_in_training_again() -> None:
    inputs = keras3.Input([100])
    model = load_model(keras3.Model(inputs, keras3.layers.Dropout(0.5)(inputs)))
    assert 20 < np.sum(np.asarray(model(np.ones([1, 100]), training=True)) == 0) < 80
    np.testing.assert_array_equal(model(np.ones([1, 100])), np.ones([1, 100]))


def test_frozen_layers_stay_frozen() -> None:
    inputs = keras3.Input([4])
    frozen = keras3.Sequential([keras3.Input([4]), keras3.layers.Dense(3, name="frozen")])
    frozen.trainable = False
    given = keras3.Model(inputs, keras3.layers.Dense(2, name="head")(frozen(inputs)))
    model = assert_same(given, values(2, 4))
    assert not model.get_layer("frozen").trainable
    assert model.get_layer("head").trainable


def test_regularizers_and_constraints_are_kept() -> None:
    inputs = keras3.Input([4])
    layer = keras3.layers.Dense(
        3,
        kernel_regularizer=keras3.regularizers.L1L2(0.1, 0.2),
        bias_constraint=keras3.constraints.NonNeg(),
        kernel_initializer=keras3.initializers.HeNormal(),
        name="dense",
    )
    made = load_model(keras3.Model(inputs, layer(inputs))).get_layer("dense")
    assert made.kernel_regularizer.get_config() == pytest.approx({"l1": 0.1, "l2": 0.2})
    assert isinstance(made.bias_constraint, keras.constraints.NonNeg)
    assert isinstance(made.kernel_initializer, keras.initializers.HeNormal)


@pytest.mark.parametrize(
    ("policy", "tolerance"), [("mixed_float16", 2e-3), ("mixed_bfloat16", 2e-2)]
)
def test_a_mixed_precision_model_keeps_its_policy(policy: str, tolerance: float) -> None:
    inputs = keras3.Input(SHAPE)
    x = keras3.layers.Conv2D(4, 3, dtype=policy, activation="hard_silu", name="conv")(inputs)
    x = keras3.layers.BatchNormalization(dtype=policy)(x) * 2.0
    x = keras3.layers.GlobalAveragePooling2D(dtype=policy)(x)
    given = keras3.Model(inputs, keras3.layers.Dense(3, dtype="float32", name="logits")(x))
    model = load_model(given)
    assert model.get_layer("conv").dtype_policy.name == policy
    assert model.get_layer("conv").kernel.dtype == "float32"
    assert model.get_layer("logits").dtype_policy.name == "float32"
    images = values(2, *SHAPE)
    np.testing.assert_allclose(model(images), np.asarray(given(images)), atol=tolerance)
    assert model(images).dtype == "float32"


@pytest.mark.filterwarnings("ignore:Layer InputLayer does not have a `quantize`:UserWarning")
def test_weights_that_keras_3_quantized_are_refused() -> None:
    inputs = keras3.Input([4])
    given = keras3.Model(inputs, keras3.layers.Dense(3, name="dense")(inputs))
    given.quantize("int8")
    with pytest.raises(ModelError, match=r"'dense'.*'mode': 'int8'.*before model\.quantize"):
        load_model(given)


def test_a_setting_that_keras_2_lacks_is_refused() -> None:
    inputs = keras3.Input(SHAPE)
    layer = keras3.layers.Resizing(4, 4, pad_to_aspect_ratio=True, name="resizing")
    with pytest.raises(ModelError, match=r"'resizing'.*sets pad_to_aspect_ratio=True, which"):
        load_model(keras3.Model(inputs, layer(inputs)))


def test_a_layer_that_keras_2_lacks_is_refused() -> None:
    inputs = keras3.Input([8, 4])
    given = keras3.Model(inputs, keras3.layers.RMSNormalization(name="norm")(inputs))
    with pytest.raises(ModelError, match=r"'norm' is a RMSNormalization.*custom_objects"):
        load_model(given)


def test_a_layer_that_keras_2_lacks_is_opened_where_it_consists_of_known_operators() -> None:
    class Twice(keras3.layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras3.layers.Dense(4)
            self.norm = keras3.layers.BatchNormalization()

        def call(self, inputs: Any, training: bool | None = None) -> Any:
            return self.norm(self.dense(inputs), training=training) + inputs

    inputs = keras3.Input([4])
    twice = Twice()
    given = keras3.Model(inputs, twice(twice(inputs)))
    model = assert_same(given, values(3, 4))
    assert model.count_params() == given.count_params()


def test_a_function_of_the_users_own_as_an_activation_is_written_out() -> None:
    inputs = keras3.Input([4])
    layer = keras3.layers.Dense(3, activation=lambda x: keras3.ops.relu(x) * 0.5)
    model = assert_same(keras3.Model(inputs, layer(inputs)), values(2, 4))
    assert names(model) == ["InputLayer", "Dense", "ReLU", "Rescaling"]


def test_code_that_no_operator_can_stand_for_is_refused_with_what_failed() -> None:
    class Odd(keras3.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs if float(inputs[0, 0]) > 0 else -inputs

        def compute_output_spec(self, inputs: Any) -> Any:
            return keras3.KerasTensor(inputs.shape)

    inputs = keras3.Input([4])
    with pytest.raises(ModelError, match=r"The layer 'odd'.*could not be traced"):
        load_model(keras3.Model(inputs, Odd(name="odd")(inputs)))


def test_a_model_without_weights_is_taken() -> None:
    inputs = keras3.Input(SHAPE)
    given = keras3.Model(inputs, keras3.layers.GlobalMaxPooling2D()(inputs))
    assert assert_same(given, values(2, *SHAPE)).count_params() == 0


def test_a_fixed_batch_and_open_lengths_are_kept() -> None:
    inputs = keras3.Input(batch_shape=(2, None, None, 3))
    given = keras3.Model(inputs, keras3.layers.Conv2D(4, 3)(inputs))
    assert load_model(given).input_shape == (2, None, None, 3)


def test_other_outputs_are_refused_with_the_first_layer_that_gives_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = keras3.Input([4])
    x = keras3.layers.Dense(4, name="good")(inputs)
    x = keras3.layers.ELU(alpha=0.3, name="bad")(x)
    given = keras3.Model(inputs, keras3.layers.Dense(2, name="after")(x))
    honest = from_keras3.translated

    def dishonest(name: str, config: Any, **settings: Any) -> Any:
        return {**honest(name, config, **settings), **({"alpha": 1.0} if name == "ELU" else {})}

    monkeypatch.setattr(from_keras3, "translated", dishonest)
    with pytest.raises(ModelError, match=r"computes other outputs.*The first layer is 'bad'"):
        load_model(given)


def test_a_model_within_takes_and_gives_dictionaries() -> None:
    a, b = keras3.Input([4], name="a"), keras3.Input([4], name="b")
    inner = keras3.Model({"a": a, "b": b}, {"sum": a + b, "rest": [a - b]})
    first, second = keras3.Input([4]), keras3.Input([4])
    made = inner({"a": first, "b": second})
    given = keras3.Model([first, second], [made["sum"], made["rest"][0]])
    model = assert_same(given, [values(3, 4), values(3, 4, seed=1)])
    assert names(model) == ["InputLayer", "InputLayer", "Add", "Subtract"]


def test_a_subclassed_model_within_a_model_is_opened() -> None:
    class Inner(keras3.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras3.layers.Dense(4)

        def call(self, inputs: Any) -> Any:
            return keras3.ops.relu(self.dense(inputs))

    inputs = keras3.Input([4])
    model = assert_same(keras3.Model(inputs, Inner()(inputs) + 1.0), values(3, 4))
    assert names(model) == ["InputLayer", "Dense", "ReLU", "Rescaling"]


def test_augmentation_that_keras_2_lacks_is_left_out_and_said() -> None:
    inputs = keras3.Input([16, 16, 3])
    x = keras3.layers.RandAugment(name="augment")(inputs)
    given = keras3.Model(inputs, keras3.layers.Conv2D(2, 3)(x))
    with pytest.warns(UserWarning, match=r"'augment' \(RandAugment\) augments.*is left out"):
        model = load_model(given)
    assert names(model) == ["InputLayer", "Conv2D"]


def test_a_layer_that_computes_otherwise_in_keras_2_is_refused() -> None:
    inputs = keras3.Input([16, 16, 3])
    given = keras3.Model(inputs, keras3.layers.RandomCrop(8, 8, name="crop")(inputs))
    with pytest.raises(ModelError, match=r"computes other outputs.*The first layer is 'crop'"):
        load_model(given)


def odd_inputs(kind: str) -> Any:
    if kind == "sparse":
        inputs = keras3.Input([4], sparse=True)
        return keras3.Model(inputs, keras3.layers.Dense(2)(inputs))
    if kind == "text":
        inputs = keras3.Input([1], dtype="string")
        return keras3.Model(inputs, keras3.layers.StringLookup(vocabulary=["a"])(inputs))
    inner = keras3.Sequential([keras3.Input([4]), keras3.layers.Dense(3)])
    inputs = keras3.Input([5, 4])
    return keras3.Model(inputs, keras3.layers.TimeDistributed(inner)(inputs))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("sparse", "is sparse or ragged"),
        ("text", "is a StringLookup, which works on text"),
        ("wrapped model", "wraps a whole model"),
    ],
)
def test_what_is_no_layer_on_dense_numbers_is_refused(kind: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        load_model(odd_inputs(kind))


def run_apart(program: str) -> None:
    """Runs a program as a user does, who has set no variable for TensorFlow or Keras."""
    ours = ("TF_USE_LEGACY_KERAS", "KERAS_BACKEND")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr


def test_keras_3_may_be_imported_first() -> None:
    run_apart(
        """
import keras
inputs = keras.Input([8, 8, 3])
given = keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs))
import tensorflow as tf
assert tf.keras.__version__.startswith("3")
import tfcompress
model = tfcompress.load_model(given)
from tfcompress._keras import tfmot
assert tfmot.quantization.keras.quantize_model(model).count_params() > model.count_params()
"""
    )


@pytest.mark.parametrize(
    ("backend", "package"), [("jax", "jax"), ("numpy", "jax"), ("torch", "torch")]
)
def test_a_model_of_another_backend_is_taken(backend: str, package: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"Keras' {backend} backend needs {package}, which is not installed")
    run_apart(
        f"""
import os
os.environ["KERAS_BACKEND"] = {backend!r}
import keras, numpy as np
import tfcompress
inputs = keras.Input([8, 8, 3])
x = keras.layers.Conv2D(4, 3, activation="silu")(inputs)
x = keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization()(x) * 2.0)
given = keras.Model(inputs, keras.layers.Dense(2)(x))
images = np.random.default_rng(0).uniform(0, 1, (2, 8, 8, 3)).astype("float32")
model = tfcompress.load_model(given)
assert keras.backend.backend() == {backend!r}
expected = keras.ops.convert_to_numpy(given(images))
assert np.abs(np.asarray(model(images)) - expected).max() < 1e-5
given.save({str(tmp_path / "m.keras")!r})
again = tfcompress.load_model({str(tmp_path / "m.keras")!r})
assert np.array_equal(again(images), model(images))
"""
    )
