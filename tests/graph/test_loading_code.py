"""Loading runs nothing that a file brings along: what would is refused, and named."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tfcompress._keras import keras, keras3, tf
from tfcompress.graph.loading import ModelError, load_model

# Keras 2 says so at every .h5 file.
pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning")


def attack(package: Any, marker: Path) -> Any:
    """A model with a Lambda that writes a file wherever it is called."""
    # Keras marshals the code, but neither its defaults nor what it closes over.
    run = eval(f"lambda x: (open({str(marker)!r}, 'a').close(), x * 2.0)[1]")
    inputs = package.Input([4])
    x = package.layers.Dense(3)(inputs)
    outputs = package.layers.Lambda(run, name="payload", output_shape=(3,))(x)
    return package.Model(inputs, outputs)


def run_as_keras_does(package: Any, path: Path) -> None:
    """Loads a file without any care, and calls the model."""
    settings = {"compile": False, "safe_mode": False}
    package.models.load_model(str(path), **settings)(np.ones([1, 4], "float32"))


def save(model: Any, path: Path) -> Path:
    model.save(str(path))
    return path


ATTACKS: dict[str, tuple[str, Callable[[Any, Path], Path]]] = {
    "keras2-h5": ("keras", lambda model, folder: save(model, folder / "m.h5")),
    "keras2-keras": ("keras", lambda model, folder: save(model, folder / "m.keras")),
    "keras2-saved_model": ("keras", lambda model, folder: save(model, folder / "m")),
    "keras3-h5": ("keras3", lambda model, folder: save(model, folder / "m.h5")),
    "keras3-keras": ("keras3", lambda model, folder: save(model, folder / "m.keras")),
}
PACKAGES = {"keras": keras, "keras3": keras3}


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`:UserWarning")
@pytest.mark.parametrize(("package", "write"), ATTACKS.values(), ids=ATTACKS)
def test_a_lambda_in_a_file_is_not_run(
    package: str, write: Callable[[Any, Path], Path], tmp_path: Path
) -> None:
    marker = tmp_path / "was_here"
    path = write(attack(PACKAGES[package], marker), tmp_path)
    marker.unlink(missing_ok=True)
    run_as_keras_does(PACKAGES[package], path)
    assert marker.exists(), "the attack does not work: it would show nothing"
    marker.unlink()
    with pytest.raises(ModelError, match=r"the layer 'payload' is a Lambda.*allow_code=True"):
        load_model(path)
    assert not marker.exists()


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`:UserWarning")
@pytest.mark.parametrize(("package", "write"), ATTACKS.values(), ids=ATTACKS)
def test_allow_code_replaces_a_lambda_of_known_operators(
    package: str, write: Callable[[Any, Path], Path], tmp_path: Path
) -> None:
    given = attack(PACKAGES[package], tmp_path / "marker")
    model = load_model(write(given, tmp_path), allow_code=True)
    assert [type(layer).__name__ for layer in model.layers] == ["InputLayer", "Dense", "Rescaling"]
    images = np.ones([2, 4], "float32")
    np.testing.assert_allclose(model(images), np.asarray(given(images)), rtol=1e-6)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_lambda_that_is_no_operator_is_refused_even_so(package: str) -> None:
    chosen = PACKAGES[package]
    inputs = chosen.Input([4])
    outside = chosen.layers.Lambda(
        lambda x: tf.linalg.expm(x[:, :, None] * x[:, None, :]), name="odd", output_shape=(4, 4)
    )
    with pytest.raises(ModelError, match=r"odd|linalg\.expm|linalg\.matrix_exponential"):
        load_model(chosen.Model(inputs, outside(inputs)))


def described(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A `.keras` file with a description that was tampered with."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def dense(package: Any, path: Path) -> Path:
    inputs = package.Input([4])
    outputs = package.layers.Dense(3, activation="relu", name="dense")(inputs)
    return save(package.Model(inputs, outputs), path)


def layer_of(config: dict[str, Any], index: int = 1) -> dict[str, Any]:
    return config["config"]["layers"][index]


def as_module(config: dict[str, Any]) -> None:
    layer_of(config).update(module="payload_module", registered_name="payload_module>Dense")


def as_unknown_class(config: dict[str, Any]) -> None:
    layer_of(config).update(class_name="Payload", registered_name="somewhere>Payload")


def as_file_reader(config: dict[str, Any]) -> None:
    layer_of(config).update(class_name="TextVectorization")


def as_lookup(config: dict[str, Any]) -> None:
    value = {"module": "keras.utils", "class_name": "function", "config": "get_file"}
    layer_of(config)["config"]["activation"] = {**value, "registered_name": "get_file"}


def as_marshalled(config: dict[str, Any]) -> None:
    value = {"class_name": "__lambda__", "config": {"value": ["4wAA", None, None]}}
    layer_of(config)["config"]["kernel_initializer"] = value


def as_switch(config: dict[str, Any]) -> None:
    value = {"module": "keras.config", "class_name": "enable_unsafe_deserialization", "config": {}}
    layer_of(config)["config"]["kernel_regularizer"] = value


def as_typespec(config: dict[str, Any]) -> None:
    value = {"class_name": "__typespec__", "spec_name": "Popen", "module": "subprocess"}
    layer_of(config)["config"]["bias_initializer"] = {**value, "config": [], "registered_name": ""}


def within_a_wrapper(config: dict[str, Any]) -> None:
    inner = {"module": "payload_module", "class_name": "Dense", "config": {"units": 3}}
    layer_of(config).update(class_name="TimeDistributed")
    layer_of(config)["config"] = {"name": "dense", "layer": inner}


TAMPERED = {
    "module": (as_module, "the class 'Dense' of the module 'payload_module'"),
    "unknown class": (as_unknown_class, "needs the class 'Payload'"),
    "reads files": (as_file_reader, "is a TextVectorization"),
    "function": (as_lookup, "the function 'get_file'"),
    "marshalled": (as_marshalled, "is a __lambda__"),
    "switch": (as_switch, "'enable_unsafe_deserialization'"),
    "typespec": (as_typespec, "'__typespec__'"),
    "wrapper": (within_a_wrapper, "'payload_module'"),
}


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize(("change", "named"), TAMPERED.values(), ids=TAMPERED)
def test_what_is_not_known_to_compute_only_is_refused(
    package: str,
    change: Callable[[dict[str, Any]], None],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "payload_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = described(dense(PACKAGES[package], tmp_path / "m.keras"), change)
    with pytest.raises(ModelError, match=f"the layer 'dense'.*{named}"):
        load_model(path)
    assert not (tmp_path / "ran").exists()


def test_a_tensorflow_operator_that_is_not_in_the_table_is_refused(tmp_path: Path) -> None:
    inputs = keras.Input([4])
    path = save(keras.Model(inputs, tf.nn.relu(inputs) + 1.0), tmp_path / "m.keras")

    def write_file(config: dict[str, Any]) -> None:
        layer_of(config)["config"]["function"] = "io.write_file"

    with pytest.raises(ModelError, match=r"'tf.nn.relu.*'io.write_file', which has no plain"):
        load_model(described(path, write_file))


def test_a_keras_3_operator_that_is_not_in_the_table_is_refused(tmp_path: Path) -> None:
    inputs = keras3.Input([4])
    path = save(keras3.Model(inputs, keras3.ops.arctan(inputs)), tmp_path / "m.keras")
    with pytest.raises(ModelError, match=r"'arctan' calls the operator 'Arctan'"):
        load_model(path)


def test_an_old_tensorflow_node_is_refused(tmp_path: Path) -> None:
    inputs = keras.Input([4])
    path = save(keras.Model(inputs, keras.layers.Dense(3)(inputs)), tmp_path / "m.h5")
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        layer_of(config)["class_name"] = "TensorFlowOpLayer"
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(ModelError, match="needs the class 'TensorFlowOpLayer'"):
        load_model(path)


@pytest.mark.parametrize(
    "text", ["import os", '{"class_name": "Functional"}', "[]"], ids=["code", "empty", "list"]
)
def test_a_description_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    path = dense(keras3, tmp_path / "m.keras")
    with zipfile.ZipFile(path) as archive:
        weights = archive.read("model.weights.h5")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", text)
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        archive.writestr("model.weights.h5", weights)
    with pytest.raises(ModelError, match=r"m\.keras"):
        load_model(path)


# Custom objects


class Shift:
    """A layer with a weight, in either Keras."""

    def __new__(cls, package: Any) -> Any:
        class Shift(package.layers.Layer):
            def __init__(self, factor: float = 1.0, **settings: Any) -> None:
                super().__init__(**settings)
                self.factor = factor

            def build(self, shape: Any) -> None:
                self.offset = self.add_weight(name="offset", shape=(shape[-1],))
                self.built = True

            def call(self, inputs: Any) -> Any:
                return inputs * self.factor + self.offset

            def get_config(self) -> dict[str, Any]:
                return {**super().get_config(), "factor": self.factor}

        return Shift


def shifted(package: Any) -> Any:
    inputs = package.Input([4])
    x = Shift(package)(3.0, name="own")(package.layers.Dense(3)(inputs))
    model = package.Model(inputs, package.layers.ReLU()(x))
    for index, weight in enumerate(model.weights):
        weight.assign(np.full(weight.shape, 0.1 + index))
    return model


FORMS = {
    "keras2-keras": lambda folder: save(shifted(keras), folder / "m.keras"),
    "keras2-h5": lambda folder: save(shifted(keras), folder / "m.h5"),
    "keras2-saved_model": lambda folder: save(shifted(keras), folder / "m"),
    "keras3-keras": lambda folder: save(shifted(keras3), folder / "m.keras"),
    "keras3-h5": lambda folder: save(shifted(keras3), folder / "m.h5"),
    "keras3-live": lambda folder: shifted(keras3),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_layer_of_the_users_own_is_refused_by_name(
    form: Callable[[Path], Any], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"'own'.*Shift.*custom_objects=\{'Shift'"):
        load_model(form(tmp_path))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_custom_objects_say_what_stands_for_it(form: Callable[[Path], Any], tmp_path: Path) -> None:
    model = load_model(form(tmp_path), custom_objects={"Shift": Shift(keras)})
    assert model.get_layer("own").factor == 3.0
    values = np.ones([2, 4], "float32")
    # Dense: 4 * 0.1 + 1.1; then times 3, plus 2.1.
    np.testing.assert_allclose(model(values), np.full([2, 3], 6.6), rtol=1e-6)


def test_a_registered_layer_of_keras_3_is_opened(tmp_path: Path) -> None:
    @keras3.saving.register_keras_serializable("tests")
    class Block(keras3.layers.Layer):
        def __init__(self, units: int, **settings: Any) -> None:
            super().__init__(**settings)
            self.units = units
            self.dense = keras3.layers.Dense(units, name="inner")

        def build(self, shape: Any) -> None:
            self.dense.build(shape)

        def call(self, inputs: Any) -> Any:
            return keras3.ops.relu(self.dense(inputs)) + inputs

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "units": self.units}

    inputs = keras3.Input([4])
    shared = Block(4, name="block")
    given = keras3.Model(inputs, shared(shared(inputs)))
    path = save(given, tmp_path / "m.keras")
    model = load_model(path)
    names = [type(layer).__name__ for layer in model.layers]
    assert names == ["InputLayer", "Dense", "ReLU", "Add", "ReLU", "Add"]
    values = np.random.default_rng(0).normal(size=[3, 4]).astype("float32")
    np.testing.assert_allclose(model(values), np.asarray(given(values)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_a_function_of_the_users_own_is_needed_and_written_out(
    package: str, name: str, tmp_path: Path
) -> None:
    operators = {"keras": tf.nn, "keras3": keras3.ops}[package]

    def doubled(x: Any) -> Any:
        return operators.relu(x) * 2.0

    chosen = PACKAGES[package]
    inputs = chosen.Input([4])
    given = chosen.Model(inputs, chosen.layers.Dense(3, activation=doubled, name="own")(inputs))
    path = save(given, tmp_path / name)
    with pytest.raises(ModelError, match=r"'own' needs the function 'doubled'.*custom_objects="):
        load_model(path)
    model = load_model(path, custom_objects={"doubled": doubled})
    names = [type(layer).__name__ for layer in model.layers]
    assert names == ["InputLayer", "Dense", "ReLU", "Rescaling"]
    values = np.ones([2, 4], "float32")
    np.testing.assert_allclose(model(values), np.asarray(given(values)), rtol=1e-6)


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_indexing_stands_for_no_other_operator(name: str, tmp_path: Path) -> None:
    """Keras 2 calls whatever TensorFlow operator is named in the place of `x[...]`."""
    inputs = keras.Input([4], name="image")
    path = save(keras.Model(inputs, keras.layers.Dense(3)(inputs)), tmp_path / name)
    marker = tmp_path / "was_here"
    settings = {"name": "w", "trainable": True, "dtype": "float32", "function": "io.write_file"}
    call = [["_CONSTANT_VALUE", -1, str(marker), {"contents": "owned"}]]
    entry = {
        "class_name": "SlicingOpLambda",
        "name": "w",
        "config": settings,
        "inbound_nodes": call,
    }
    if name.endswith(".h5"):
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            config["config"]["layers"].append(entry)
            file.attrs["model_config"] = json.dumps(config)
    else:
        with zipfile.ZipFile(path) as archive:
            members = {member: archive.read(member) for member in archive.namelist()}
        config = json.loads(members["config.json"])
        config["config"]["layers"].append(entry)
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in {**members, "config.json": json.dumps(config)}.items():
                archive.writestr(member, content)
    with pytest.raises(ModelError, match=r"'w' calls the TensorFlow operator 'io\.write_file'"):
        load_model(path)
    assert not marker.exists()
