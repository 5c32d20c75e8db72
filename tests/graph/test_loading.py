"""Models of both Kerases, from every form of file and live, into the normal form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfcompress
from tfcompress._keras import keras, keras3, tf
from tfcompress.graph.loading import ModelError, load_model
from tfcompress.graph.normal_form import is_normal

# Keras 2 says so at every .h5 file.
pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning")

SHAPE = (8, 6, 3)


def images(count: int = 3) -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.uniform(0, 1, (count, *SHAPE)).astype("float32")


def transferred(package: Any) -> Any:
    """A nested backbone in inference mode, preprocessing, an operator, a head: in either Keras."""
    layers = package.layers
    inner = package.Sequential(
        [
            package.Input((8, 6, 3)),
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            layers.BatchNormalization(name="bn"),
        ],
        name="backbone",
    )
    inputs = package.Input(SHAPE, name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    x = inner(x, training=False) * 2.0
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(5, name="logits")(layers.Dropout(0.5)(x))
    model = package.Model(inputs, outputs, name="transferred")
    generator = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(generator.uniform(0.2, 1.0, weight.shape))
    model.compile("adam", "mse")
    return model


def saved(package: Any, path: Path) -> Path:
    transferred(package).save(str(path))
    return path


FORMS = {
    "keras2-keras": lambda folder: saved(keras, folder / "model.keras"),
    "keras2-h5": lambda folder: saved(keras, folder / "model.h5"),
    "keras2-saved_model": lambda folder: saved(keras, folder / "model"),
    "keras3-keras": lambda folder: saved(keras3, folder / "model.keras"),
    "keras3-h5": lambda folder: saved(keras3, folder / "model.h5"),
    "keras2-live": lambda folder: transferred(keras),
    "keras3-live": lambda folder: transferred(keras3),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_of_a_model_computes_what_was_saved(
    form: Callable[[Path], Any], tmp_path: Path
) -> None:
    expected = np.asarray(transferred(keras)(images()))
    model = load_model(form(tmp_path))
    assert is_normal(model)
    assert [layer.name for layer in model.layers if layer.weights] == ["conv", "bn", "logits"]
    # The same operations in tf_keras; Rescaling by 2 and by 1 / 127.5 in float32.
    np.testing.assert_allclose(model(images()), expected, rtol=1e-5, atol=1e-6)
    assert getattr(model, "optimizer", None) is None


@pytest.mark.parametrize("package", ["keras", "keras3"])
def test_the_backbone_stays_in_inference_mode_in_training(package: str) -> None:
    given = transferred({"keras": keras, "keras3": keras3}[package])
    model = load_model(given)
    before = np.array(model.get_layer("bn").moving_mean)
    model(images(), training=True)
    np.testing.assert_array_equal(model.get_layer("bn").moving_mean, before)


@pytest.mark.parametrize("package", ["keras", "keras3"])
def test_a_live_model_stays_as_it_is(package: str) -> None:
    given = transferred({"keras": keras, "keras3": keras3}[package])
    before = [np.array(weight) for weight in given.get_weights()]
    model = load_model(given)
    for weight in model.weights:
        weight.assign(tf.zeros_like(weight))
    for old, new in zip(before, given.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_loaded_model_is_trained_and_exported(tmp_path: Path) -> None:
    model = load_model(saved(keras3, tmp_path / "model.keras"))
    model.compile("sgd", "mse")
    loss = model.train_on_batch(images(), np.zeros((3, 5), "float32"))
    assert np.isfinite(loss)
    artifact = tfcompress.convert(model, "float32")
    assert artifact.size_bytes > 0


def scaled(package: Any) -> Any:
    """With the custom layers that networks of keras.applications bring along."""
    inputs = package.Input(SHAPE)
    x = package.src.applications.convnext.LayerScale(0.5, 3, name="scale")(inputs)
    outputs = package.src.applications.inception_resnet_v2.CustomScaleLayer(0.17)([inputs, x])
    return package.Model(inputs, outputs)


@pytest.mark.parametrize(
    ("package", "name"),
    [("keras", "m.keras"), ("keras", "m.h5"), ("keras3", "m.keras"), ("keras3", "m.h5")],
)
def test_custom_layers_of_keras_own_networks_need_no_help(
    package: str, name: str, tmp_path: Path
) -> None:
    scaled({"keras": keras, "keras3": keras3}[package]).save(str(tmp_path / name))
    model = load_model(tmp_path / name)
    names = [type(layer).__name__ for layer in model.layers]
    assert names == ["InputLayer", "ChannelScale", "Rescaling", "Add"]
    np.testing.assert_allclose(model(images()), images() * 1.085, rtol=1e-6)


def test_a_model_in_normal_form_is_loaded_again_from_its_file(tmp_path: Path) -> None:
    inputs = keras3.Input(SHAPE)
    x = keras3.layers.Conv2D(4, 3, activation="hard_silu")(inputs)
    once = load_model(keras3.Model(inputs, keras3.ops.mean(x, axis=(1, 2), keepdims=True)))
    once.save(str(tmp_path / "normal.keras"))
    again = load_model(tmp_path / "normal.keras")
    names = [type(layer).__name__ for layer in again.layers]
    assert names == ["InputLayer", "Conv2D", "HardSwish", "GlobalAveragePooling2D"]
    np.testing.assert_array_equal(once(images()), again(images()))


def test_the_file_may_have_any_name(tmp_path: Path) -> None:
    path = saved(keras, tmp_path / "model.h5").rename(tmp_path / "checkpoint.weights.h5.bak")
    assert load_model(str(path)).count_params() == transferred(keras).count_params()


def test_modules_of_older_keras_2_are_found(tmp_path: Path) -> None:
    path = rewritten(
        saved(keras, tmp_path / "model.keras"),
        lambda text: text.replace("tf_keras.src.engine.", "keras.engine.").replace(
            "tf_keras.src.layers.", "keras.src.layers."
        ),
    )
    assert "logits" in [layer.name for layer in load_model(path).layers]


def rewritten(path: Path, change: Callable[[str], str]) -> Path:
    """A `.keras` file with another description."""
    import zipfile

    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    text = members["config.json"].decode()
    assert change(text) != text
    members["config.json"] = change(text).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


# Subclassed models


def subclassed(package: Any, *, traceable: bool = True) -> Any:
    class Classifier(package.Model):
        def __init__(self) -> None:
            super().__init__()
            self.conv = package.layers.Conv2D(4, 3)
            self.dropout = package.layers.Dropout(0.5)
            self.head = package.layers.Dense(5)

        def call(self, inputs: Any, training: bool | None = None) -> Any:
            x = self.dropout(self.conv(inputs), training=training)
            if not traceable and float(x[0, 0, 0, 0]) > 0:
                x = -x
            pool = package.layers.GlobalAveragePooling2D()
            return self.head(pool(x * 2.0))

    return Classifier()


@pytest.mark.parametrize("package", ["keras", "keras3"])
def test_a_subclassed_model_is_rebuilt_from_what_its_call_does(package: str) -> None:
    given = subclassed({"keras": keras, "keras3": keras3}[package])
    expected = np.asarray(given(images()))
    model = load_model(given)
    names = [type(layer).__name__ for layer in model.layers[1:]]
    assert names == ["Conv2D", "Dropout", "Rescaling", "GlobalAveragePooling2D", "Dense"]
    np.testing.assert_allclose(model(images()), expected, rtol=1e-5, atol=1e-6)


def test_a_subclassed_model_may_be_built_instead_of_called() -> None:
    given = subclassed(keras)
    given.build((None, *SHAPE))
    model = load_model(given)
    np.testing.assert_allclose(model(images()), np.asarray(given(images())), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("package", ["keras", "keras3"])
def test_a_subclassed_model_that_was_never_called_is_refused(package: str) -> None:
    with pytest.raises(ModelError, match=r"Classifier is a subclassed.*Call it on one batch"):
        load_model(subclassed({"keras": keras, "keras3": keras3}[package]))


@pytest.mark.parametrize("package", ["keras", "keras3"])
def test_a_subclassed_model_that_depends_on_values_is_refused(package: str) -> None:
    given = subclassed({"keras": keras, "keras3": keras3}[package], traceable=False)
    given(images())
    with pytest.raises(ModelError, match=r"Classifier is a subclassed model, and its call could"):
        load_model(given)


def test_a_subclassed_model_that_does_otherwise_in_a_call_is_refused() -> None:
    class Fickle(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(3)
            self.calls = 0

        def call(self, inputs: Any) -> Any:
            self.calls += 1
            return self.dense(inputs) * (2.0 if self.calls % 2 else 1.0)

    given = Fickle()
    given(images())
    with pytest.raises(ModelError, match=r"computes other outputs.*expected at most 0\.0001"):
        load_model(given)


# Wrong arguments


class Module:
    """Like a model of another library."""

    def forward(self, x: Any) -> Any:
        return x


@pytest.mark.parametrize(
    ("given", "kind"), [(3, "int"), (None, "NoneType"), (Module(), "Module"), ([], "list")]
)
def test_what_is_no_model_is_refused(given: Any, kind: str) -> None:
    with pytest.raises(ModelError, match=rf"Received: {kind}\. Pass a \.keras file"):
        load_model(given)


@pytest.mark.parametrize("package", ["keras", "keras3"])
def test_a_sequential_model_of_unknown_shape_is_refused(package: str) -> None:
    chosen = {"keras": keras, "keras3": keras3}[package]
    with pytest.raises(ModelError, match=r"was never built.*model\.build"):
        load_model(chosen.Sequential([chosen.layers.Dense(2)]))


def test_the_public_names_are_these() -> None:
    assert tfcompress.load_model is load_model
    assert issubclass(tfcompress.ModelError, ValueError)


class OtherName(keras.layers.Layer):
    """What stands for the Keras 3 layer of the test below."""

    def build(self, shape: Any) -> None:
        self.factor = self.add_weight(name="factor", shape=(shape[-1],), initializer="zeros")

    def call(self, inputs: Any) -> Any:
        return inputs * self.factor


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_a_custom_layer_may_have_another_name_in_keras_2(name: str, tmp_path: Path) -> None:
    class Scaled(keras3.layers.Layer):
        def build(self, shape: Any) -> None:
            self.factor = self.add_weight(name="factor", shape=(shape[-1],), initializer="ones")

        def call(self, inputs: Any) -> Any:
            return inputs * self.factor

    inputs = keras3.Input([4])
    model = keras3.Model(inputs, Scaled()(keras3.layers.Dense(3)(inputs)))
    model.layers[-1].set_weights([np.array([1, 2, 3])])
    model.save(str(tmp_path / name))
    found = load_model(tmp_path / name, custom_objects={"Scaled": OtherName})
    given = np.ones([2, 4], np.float32)
    np.testing.assert_allclose(found(given), model(given), rtol=1e-5)


def test_rows_of_a_table_may_be_asked_for_in_floats() -> None:
    """The default type of a Keras 3 input; random numbers up to 255 are no rows of this table."""
    inputs = keras3.Input([6])
    x = keras3.layers.Flatten()(keras3.layers.Embedding(10, 4)(inputs))
    model = keras3.Model(inputs, keras3.layers.Dense(2)(x))
    given = np.arange(6, dtype=np.float32)[None]
    np.testing.assert_allclose(load_model(model)(given), model(given), rtol=1e-5)


@pytest.mark.parametrize("model", [None, 5, "m", keras3.Sequential([keras3.layers.Dense(2)])])
def test_techniques_say_what_makes_a_model_that_they_take(model: Any) -> None:
    from tfcompress import registry

    for name in ("prune", "cluster", "qat", "ptq", "prune_channels", "trim_vocabulary"):
        module = registry.load("techniques", name)
        with pytest.raises(ValueError, match=r"A tf_keras model is needed.*load_model makes one"):
            module.wrap(model, module.CONFIG(), steps_per_epoch=1, epochs=1)
        with pytest.raises(ValueError, match="A tf_keras model is needed"):
            module.skipped(model, module.CONFIG())
