"""Weights from a file into a network, by layer name, and precisely what did not fit.

Reads the Keras file kinds (`.h5` weights or model, `.weights.h5`, `.keras`) as data: no model is
deserialized, so no code of the file runs and files of Keras 2 and Keras 3 serve alike. Its own kind
is `.npz` with keys `layer/index`. Does not know any architecture.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfcompress import durable
from tfcompress.packaged_files import WeightsError as WeightsError

if TYPE_CHECKING:
    import h5py
    from tf_keras import Model
    from tf_keras.layers import Layer

Weights = dict[str, list[np.ndarray]]
"""Layer name to its arrays in Keras' order, layer after layer; those without any are left out."""

_LISTED = 12
# Marks the name of a file that knows layers by class and number: no layer's name begins so.
_STORED = "/"


def load_into(model: Model, path: str | Path) -> None:
    """Puts the weights of a file into a network.

    Args:
      model: the network; changed in place, all of it or, on an error, nothing.
      path: `.h5`, `.keras` or `.npz`.

    Raises:
      WeightsError: the file cannot be read, or a layer of the network is missing in it or has
        another shape. Layers of the file that the network does not have (a head) are left alone.
    """
    assign(model, read(path), source=str(path))


def read(path: str | Path) -> Weights:
    """Reads every layer's arrays from a weight file.

    Raises:
      WeightsError: the file cannot be read or holds no weights.
    """
    path = Path(path).expanduser()
    readers = {".npz": _read_npz, ".keras": _read_keras, ".h5": _read_h5}
    if path.suffix not in readers:
        raise WeightsError(
            f"A weight file must end in {', '.join(readers)}. Received: {str(path)!r}."
        )
    try:
        weights = readers[path.suffix](path)
    except durable.DAMAGED_NPZ as error:
        raise WeightsError(
            f"{path} cannot be read as a {path.suffix} weight file ({error}). It may be truncated."
        ) from error
    if not weights:
        raise WeightsError(f"{path} holds no weights.")
    return weights


def write(path: str | Path, weights: Mapping[str, list[np.ndarray]]) -> str:
    """Writes float32 arrays as `.npz` in the order given, the same bytes each time.

    Returns:
      The file's SHA-256.
    """
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        f"{layer}/{index}": np.asarray(array, np.float32)
        for layer, found in weights.items()
        for index, array in enumerate(found)
    }
    np.savez(buffer, **arrays)
    durable.write_bytes(path, buffer.getvalue())
    return durable.sha256(buffer.getvalue())


def of_model(model: Model) -> Weights:
    """The arrays of a model's layers."""
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def assign(model: Model, weights: Weights, *, source: str) -> None:
    """Puts arrays into a network's layers, matched by name.

    Keras' numbered names (`conv2d_17`) count the layers of a process and say nothing; a network
    that has some, or none of whose names the source knows, takes the source's first layers in
    order, if each has the shapes of the network's.

    Args:
      model: the network; changed in place, all of it or, on an error, nothing.
      weights: what `read` or `of_model` returned.
      source: where they came from, for the message.

    Raises:
      WeightsError: lists the layers that are missing and those whose shapes differ.
    """
    layers = [layer for layer in model.layers if layer.weights]
    names = _matched_names(model, layers, weights)
    faults = _faults(layers, names, weights)
    if faults:
        more = f"; and {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
        raise WeightsError(
            f"The weights of {source} do not fit {model.name} in {len(faults)} of {len(layers)} "
            f"layers: {'; '.join(faults[:_LISTED])}{more}. Pass a file of the same network, width "
            "and channels."
        )
    for layer, name in zip(layers, names, strict=True):
        layer.set_weights(weights[name])


def _matched_names(model: Model, layers: list[Layer], weights: Weights) -> list[str]:
    """For each layer, the name that the source knows it by."""
    if any(name.startswith(_STORED) for name in weights):
        stored = _numbered([type(layer).__name__ for layer in model.layers])
        pairs = zip(model.layers, stored, strict=True)
        return [_STORED + name for layer, name in pairs if layer.weights]
    by_name = [layer.name for layer in layers]
    in_order = list(weights)[: len(layers)]
    if not any(name in weights for name in by_name):
        return in_order if len(in_order) == len(layers) else by_name
    is_numbered = any(
        re.fullmatch(_numbered([type(layer).__name__])[0] + r"(_\d+)?", layer.name)
        for layer in layers
    )
    if is_numbered and len(in_order) == len(layers) and not _faults(layers, in_order, weights):
        return in_order
    return by_name


def _faults(layers: list[Layer], names: list[str], weights: Weights) -> list[str]:
    """What does not fit, layer by layer."""
    faults = []
    for layer, name in zip(layers, names, strict=True):
        expected = [tuple(weight.shape) for weight in layer.weights]
        received = [array.shape for array in weights.get(name, [])]
        if name not in weights:
            faults.append(f"{layer.name} is missing")
        elif received != expected:
            faults.append(f"{layer.name} expects {expected}, received {received}")
    return faults


def _read_npz(path: Path) -> Weights:
    weights: dict[str, dict[int, np.ndarray]] = {}
    # numpy leaves a file of its own opening open when it is cut short.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        for key in arrays.files:
            layer, _, index = key.rpartition("/")
            weights.setdefault(layer, {})[int(index)] = arrays[key]
    return {layer: [found[i] for i in sorted(found)] for layer, found in weights.items()}


def _read_h5(path: Path) -> Weights:
    import h5py

    with h5py.File(path, "r") as file:
        group = file.get("model_weights", file)
        if "layer_names" in group.attrs:
            return _legacy_layers(group)
        # Files of `save_weights("x.weights.h5")` know layers by class and number only.
        found = {_STORED + name: _variables(file, [name]) for name in file["layers"]}
        return {name: arrays for name, arrays in found.items() if arrays}


def _legacy_layers(group: h5py.Group) -> Weights:
    """Layers of Keras' older layout; a model inside the model gives its own layers."""
    weights: Weights = {}
    for layer in map(_text, group.attrs["layer_names"]):
        names = [_text(name) for name in group[layer].attrs["weight_names"]]
        is_one_layer = all(name.startswith(f"{layer}/") for name in names)
        for name in names:
            owner = layer if is_one_layer else name.rpartition("/")[0]
            weights.setdefault(owner, []).append(np.asarray(group[layer][name]))
    return weights


def _read_keras(path: Path) -> Weights:
    import h5py

    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
        stored = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(stored, "r") as file:
        return _named_layers(file, config, [])


def _named_layers(file: h5py.File, config: Mapping[str, Any], place: list[str]) -> Weights:
    """Layers of the `.keras` layout, which the config's order of classes gives their names."""
    weights: Weights = {}
    layers = config["config"]["layers"]
    stored = _numbered([layer["class_name"] for layer in layers])
    for layer, name in zip(layers, stored, strict=True):
        if "layers" in layer["config"]:
            weights |= _named_layers(file, layer, [*place, name])
        elif arrays := _variables(file, [*place, name]):
            weights[layer["config"]["name"]] = arrays
    return weights


def _variables(file: h5py.File, place: list[str]) -> list[np.ndarray]:
    variables = file.get("/".join(f"layers/{name}" for name in place) + "/vars", {})
    return [np.asarray(variables[str(index)]) for index in range(len(variables))]


def _numbered(class_names: list[str]) -> list[str]:
    """Class names as Keras stores them: snake case, numbered from the second on."""
    counts: dict[str, int] = {}
    numbered = []
    for class_name in class_names:
        words = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", class_name)
        name = re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()
        number = counts.get(name, 0)
        counts[name] = number + 1
        numbered.append(f"{name}_{number}" if number else name)
    return numbered


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
