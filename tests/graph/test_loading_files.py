"""What is said of files that are damaged, hold no model, or claim too much."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tfcompress._keras import keras, keras3, tf
from tfcompress.graph import model_files
from tfcompress.graph.loading import ModelError, load_model

# Keras 2 says so at every .h5 file.
pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning")

PACKAGES = {"keras": keras, "keras3": keras3}


def classifier(package: Any) -> Any:
    inputs = package.Input([4])
    x = package.layers.Dense(8, activation="relu", name="hidden")(inputs)
    return package.Model(inputs, package.layers.Dense(3, name="logits")(x))


def saved(package: str, path: Path) -> Path:
    classifier(PACKAGES[package]).save(str(path))
    return path


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
@pytest.mark.parametrize("left", [0.1, 0.5, 0.95])
def test_a_truncated_file_is_refused(package: str, name: str, left: float, tmp_path: Path) -> None:
    path = saved(package, tmp_path / name)
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content))])
    with pytest.raises(ModelError, match=rf"{name} is damaged or was cut short.*save the model"):
        load_model(path)


@pytest.mark.parametrize("package", PACKAGES)
def test_changed_weights_in_an_archive_are_refused(package: str, tmp_path: Path) -> None:
    path = saved(package, tmp_path / "model.keras")
    content = bytearray(path.read_bytes())
    # The members are stored as they are, the weights last.
    content[-5000] ^= 255
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.keras is damaged.*CRC"):
        load_model(path)


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model"])
def test_an_empty_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ModelError, match=rf"{name} is empty \(0 bytes\)"):
        load_model(tmp_path / name)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"There is no model at .*model\.keras\. Pass a \.keras"):
        load_model(tmp_path / "model.keras")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.tflite", b"\x1c\0\0\0TFL3" + bytes(100), "is a TFLite file"),
        ("model.keras", b"not a zip archive", "is not what its name says"),
        ("model.h5", b"\x89PNG\r\n\x1a\n" + bytes(100), "is not what its name says"),
        ("model.onnx", b"\x08\x07\x12\x07pytorch", "holds no Keras model"),
        ("model.pt", b"\x80\x02}q\0.", "holds no Keras model"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else "",
)
def test_a_file_of_another_kind_is_refused(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=rf"{name} {said}.*Pass a \.keras file"):
        load_model(tmp_path / name)


def test_an_archive_of_another_kind_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr("data.pkl", b"")
    with pytest.raises(ModelError, match=r"without config\.json and model\.weights\.h5"):
        load_model(tmp_path / "model.zip")


@pytest.mark.parametrize("package", PACKAGES)
def test_weights_alone_are_refused(package: str, tmp_path: Path) -> None:
    classifier(PACKAGES[package]).save_weights(str(tmp_path / "model.weights.h5"))
    with pytest.raises(ModelError, match="holds weights without the model"):
        load_model(tmp_path / "model.weights.h5")


def test_a_backend_of_keras_3_that_is_not_installed_is_named(tmp_path: Path) -> None:
    for package in PACKAGES:
        saved(package, tmp_path / f"{package}.keras")
    program = f"""
import tfcompress
tfcompress.load_model({str(tmp_path / "keras.keras")!r})
try:
    tfcompress.load_model({str(tmp_path / "keras3.keras")!r})
except tfcompress.ModelError as error:
    assert "No module named 'jax'. Install that backend, or set" in str(error), error
else:
    raise AssertionError("there is no jax here")
"""
    if importlib.util.find_spec("jax") is not None:
        pytest.skip("JAX is installed here")
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr


# SavedModels


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(ModelError, match=r"holds no saved_model\.pb"):
        load_model(tmp_path)


def test_an_exported_keras_3_model_is_refused(tmp_path: Path) -> None:
    classifier(keras3).export(str(tmp_path / "exported"), verbose=False)
    with pytest.raises(ModelError, match=r"without Keras metadata.*model\.save\('model\.keras'\)"):
        load_model(tmp_path / "exported")


def test_a_saved_module_is_refused(tmp_path: Path) -> None:
    tf.saved_model.save(tf.Module(), str(tmp_path / "module"))
    with pytest.raises(ModelError, match="it holds computations, not layers"):
        load_model(tmp_path / "module")


def test_a_saved_subclassed_model_is_refused(tmp_path: Path) -> None:
    class Classifier(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(3)

        def call(self, inputs: Any) -> Any:
            return self.dense(inputs)

    model = Classifier()
    model(np.zeros([1, 4], "float32"))
    model.save(str(tmp_path / "subclassed"))
    with pytest.raises(ModelError, match=r"subclassed model 'Classifier'.*pass the live model"):
        load_model(tmp_path / "subclassed")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_subclassed_model_in_a_keras_file_is_refused(package: str, tmp_path: Path) -> None:
    chosen = PACKAGES[package]

    class Classifier(chosen.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = chosen.layers.Dense(3)

        def call(self, inputs: Any) -> Any:
            return self.dense(inputs)

        def get_config(self) -> dict[str, Any]:
            return {}

    model = Classifier()
    model(np.zeros([1, 4], "float32"))
    model.save(str(tmp_path / "model.keras"))
    with pytest.raises(ModelError, match=r"holds the subclassed model 'Classifier'.*live"):
        load_model(tmp_path / "model.keras")


@pytest.mark.parametrize("lost", ["variables/variables.index", "variables"])
def test_a_saved_model_without_its_weights_is_refused(lost: str, tmp_path: Path) -> None:
    path = saved("keras", tmp_path / "model")
    (path / lost).rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="lacks its weights"):
        load_model(path)


@pytest.mark.parametrize(
    "name",
    ["keras_metadata.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"],
)
@pytest.mark.parametrize("left", [0.05, 0.7])
def test_a_truncated_saved_model_is_refused(name: str, left: float, tmp_path: Path) -> None:
    path = saved("keras", tmp_path / "model")
    content = (path / name).read_bytes()
    (path / name).write_bytes(content[: int(left * len(content))])
    with pytest.raises(ModelError, match=str(path)):
        load_model(path)


# Claims


def with_members(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_huge_description_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "MAX_CONFIG_BYTES", 1000)
    with pytest.raises(ModelError, match=r"config\.json claims [\d,]+ bytes; .* at most 1,000"):
        load_model(saved("keras3", tmp_path / "model.keras"))


def test_an_archive_that_unpacks_to_far_more_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_files, "ALWAYS_UNPACKED_BYTES", 2**20)

    def inflate(members: dict[str, bytes]) -> None:
        members["model.weights.h5"] = bytes(2**21)

    path = with_members(saved("keras3", tmp_path / "model.keras"), inflate)
    with pytest.raises(ModelError, match=r"model\.weights\.h5 claims 2,097,152 bytes and has"):
        load_model(path)


def test_an_array_that_is_claimed_and_not_stored_is_refused(tmp_path: Path) -> None:
    path = saved("keras3", tmp_path / "model.h5")
    with h5py.File(path, "a") as file:
        file.create_dataset("model_weights/claimed", shape=(2**20, 2**20), chunks=(1, 2**20))
    with pytest.raises(ModelError, match=r"model_weights/claimed claims [\d,]+ bytes and has 0"):
        load_model(path)


@pytest.mark.parametrize("kind", ["soft link", "external link", "external data", "virtual"])
def test_weights_that_lie_elsewhere_are_refused(kind: str, tmp_path: Path) -> None:
    path = saved("keras3", tmp_path / "model.h5")
    (tmp_path / "secret").write_bytes(bytes(64))
    with h5py.File(path, "a") as file:
        group = file["model_weights"]
        if kind == "soft link":
            group["odd"] = h5py.SoftLink("/model_weights/hidden")
        elif kind == "external link":
            group["odd"] = h5py.ExternalLink("secret.h5", "/")
        elif kind == "external data":
            outside = [(str(tmp_path / "secret"), 0, 64)]
            group.create_dataset("odd", shape=(16,), dtype="f4", external=outside)
        else:
            layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
            layout[:] = h5py.VirtualSource("secret.h5", "data", shape=(4,))
            group.create_virtual_dataset("odd", layout)
    with pytest.raises(ModelError, match=r"model_weights/odd|weights model_weights/odd"):
        load_model(path)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_layer_far_larger_than_the_weights_is_refused(package: str, tmp_path: Path) -> None:
    def claim(members: dict[str, bytes]) -> None:
        config = json.loads(members["config.json"])
        config["config"]["layers"][1]["config"]["units"] = 10**12
        members["config.json"] = json.dumps(config).encode()

    path = with_members(saved(package, tmp_path / "model.keras"), claim)
    with pytest.raises(ModelError, match=r"'hidden' claims units=1,000,000,000,000"):
        load_model(path)


@pytest.mark.parametrize("package", PACKAGES)
def test_weights_of_another_shape_are_refused(package: str, tmp_path: Path) -> None:
    def widen(members: dict[str, bytes]) -> None:
        text = members["config.json"].decode()
        members["config.json"] = text.replace('"units": 8', '"units": 9').encode()

    path = with_members(saved(package, tmp_path / "model.keras"), widen)
    with pytest.raises(ModelError, match=f"cannot be built by Keras {'3' if package[5:] else '2'}"):
        load_model(path)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_tensor_that_no_memory_holds_is_refused(package: str, tmp_path: Path) -> None:
    chosen = PACKAGES[package]
    inputs = chosen.Input([8, 8, 4])
    x = chosen.layers.UpSampling2D(10**5, name="huge")(chosen.layers.Conv2D(2, 3)(inputs))
    chosen.Model(inputs, chosen.layers.GlobalMaxPooling2D()(x)).save(str(tmp_path / "m.keras"))
    with pytest.raises(ModelError, match=r"'huge'.* more than fit into memory"):
        load_model(tmp_path / "m.keras")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("{}", "names no model"),
        ('{"class_name": 3}', "names no model"),
        ('{"class_name": "Functional", "config": ' + 900 * "[" + 900 * "]" + "}", "too deep"),
    ],
    ids=["empty", "number", "deep"],
)
def test_a_description_of_no_model_is_refused(config: str, says: str, tmp_path: Path) -> None:
    path = saved("keras3", tmp_path / "model.keras")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**members, "config.json": config}.items():
            archive.writestr(name, content)
    with pytest.raises(ModelError, match=says):
        load_model(path)


def test_a_description_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = saved("keras", tmp_path / "model.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = 7
    with pytest.raises(ModelError, match="its configuration is damaged"):
        load_model(path)


def test_a_path_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(ModelError, match=r"x\.\.\. cannot be a path: File name too long"):
        load_model(5000 * "x")


@pytest.mark.filterwarnings("ignore:.*not yet been built:UserWarning")
@pytest.mark.parametrize("package", PACKAGES)
def test_a_model_that_was_never_built_is_refused(package: str, tmp_path: Path) -> None:
    model = PACKAGES[package].Sequential([PACKAGES[package].layers.Dense(3)])
    model.save(str(tmp_path / "model.keras"))
    with pytest.raises(ModelError, match="never built: its input shape"):
        load_model(tmp_path / "model.keras")
