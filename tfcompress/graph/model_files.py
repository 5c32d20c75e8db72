"""What a model file holds, read as data: nothing of it is built and none of its code is run.

Knows the four forms in which Keras 2 and Keras 3 keep a model (`.keras`, `.h5`, a SavedModel with
Keras metadata) and the ones that hold less than a model (weights alone, a TFLite file, an exported
SavedModel). Does not know what the layers mean: `model_config` judges that.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from tfcompress._keras import keras

MAX_CONFIG_BYTES = 2**26
"""A configuration larger than this is no model's (keras.applications' largest has 1 MB)."""

MAX_INFLATION = 100
"""Data that would unpack to more than this many times its stored size is refused ..."""

ALWAYS_UNPACKED_BYTES = 2**30
"""... unless it is small enough to be harmless."""

WEIGHTS = "model.weights.h5"
"""The member of a `.keras` archive that holds the weights."""

KNOWN = "a .keras file, an .h5 file, or the folder of a SavedModel that a Keras 2 model.save wrote"


class ModelError(ValueError):
    """A model that cannot be taken: the message says which one, why, and what to do."""


def first_line(error: BaseException) -> str:
    """What went wrong first: the kind of the innermost error, and the first line that it says."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    said = (str(error).strip() or "-").splitlines()[0]
    return f"{type(error).__name__}: {said[:300]}".rstrip(".") + "."


@dataclass(frozen=True)
class ModelFile:
    """A model on disk, not built yet.

    Attributes:
      path: where it lies.
      form: `"keras"` (an archive), `"h5"` or `"saved_model"`.
      version: version of Keras that wrote it, such as `"3.15.1"`; `""` where it does not say.
      config: the model as Keras describes it: `class_name`, `config`.
      weights_bytes: stored size of the weights.
    """

    path: Path
    form: str
    version: str
    config: Mapping[str, Any]
    weights_bytes: int

    @property
    def keras3(self) -> bool:
        """Whether Keras 3 wrote it; what is older is Keras 2's."""
        major = self.version.partition(".")[0]
        return major.isdigit() and int(major) >= 3


def read(path: str | os.PathLike[str]) -> ModelFile:
    """Reads what a file says about its model.

    Args:
      path: file or SavedModel folder.

    Raises:
      ModelError: there is no such file, it is damaged, or it holds no Keras model.
    """
    path = Path(path)
    try:
        exists = path.exists()
    except OSError as error:
        raise ModelError(f"{str(path)[:80]}... cannot be a path: {error.strerror}.") from error
    if not exists:
        raise ModelError(f"There is no model at {path}. Pass {KNOWN}.")
    found = _read(path)
    if not isinstance(found.config.get("class_name"), str):
        raise ModelError(f"{path}: its configuration names no model. It is damaged.")
    return found


def _read(path: Path) -> ModelFile:
    if path.is_dir():
        return _read_saved_model(path)
    if path.stat().st_size == 0:
        raise ModelError(
            f"{path} is empty (0 bytes): it was not written to its end. Save it again."
        )
    with path.open("rb") as file:
        start = file.read(8)
    if start[:2] == b"PK":
        return _read_archive(path)
    if start == b"\x89HDF\r\n\x1a\n":
        return _read_h5(path)
    raise ModelError(f"{path} {_what_it_is(path, start)} Pass {KNOWN}.")


def _what_it_is(path: Path, start: bytes) -> str:
    if start[4:8] == b"TFL3":
        return (
            "is a TFLite file, which is what a compressed model becomes: it cannot be trained "
            "or compressed any more."
        )
    if path.suffix in (".keras", ".h5", ".hdf5"):
        return f"is not what its name says: it begins with {start!r}. It is damaged; save it again."
    return "holds no Keras model."


# .keras


def _read_archive(path: Path) -> ModelFile:
    with _damage_told(path), zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        missing = [name for name in ("config.json", WEIGHTS) if name not in members]
        if missing:
            raise ModelError(
                f"{path} is an archive without {' and '.join(missing)}, so no .keras file. "
                f"Pass {KNOWN}."
            )
        for info in members.values():
            _refuse_inflation(path, info.filename, info.file_size, info.compress_size)
        config = _json(path, _member(path, archive, "config.json"))
        metadata = "metadata.json" in members and _member(path, archive, "metadata.json")
        version = str(_json(path, metadata or b"{}").get("keras_version", ""))
        return ModelFile(path, "keras", version, config, members[WEIGHTS].compress_size)


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    claimed = archive.getinfo(name).file_size
    if claimed > MAX_CONFIG_BYTES:
        raise ModelError(
            f"{path}: {name} claims {claimed:,} bytes; a model's configuration has at most "
            f"{MAX_CONFIG_BYTES:,}."
        )
    return archive.read(name)


def extract_weights(file: ModelFile, folder: Path) -> Path:
    """Unpacks the weights of a `.keras` file and checks them.

    Args:
      file: of the form `"keras"`.
      folder: an existing folder, for the weights alone.

    Raises:
      ModelError: they are damaged, or not plain arrays.
    """
    with _damage_told(file.path), zipfile.ZipFile(file.path) as archive:
        taken = Path(archive.extract(WEIGHTS, folder))
    check_arrays(taken, shown=file.path)
    return taken


# .h5


def _read_h5(path: Path) -> ModelFile:
    with _damage_told(path), h5py.File(path, "r") as file:
        text = file.attrs.get("model_config")
        if text is None:
            raise ModelError(
                f"{path} holds weights without the model that they belong to. Build the model, "
                "call its load_weights on this file, and pass the model itself."
            )
        version = file.attrs.get("keras_version", "")
        if isinstance(version, bytes):
            version = version.decode()
    return ModelFile(path, "h5", str(version), _json(path, text), path.stat().st_size)


def check_arrays(path: Path, *, shown: Path) -> None:
    """Refuses an HDF5 file with anything but arrays stored in itself.

    Args:
      path: the HDF5 file.
      shown: the file to name in a message.

    Raises:
      ModelError: it is damaged, reaches into other files, or would unpack to a huge array.
    """
    with _damage_told(shown), h5py.File(path, "r") as file:
        for name, item in _items(file, shown):
            if isinstance(item, h5py.Dataset):
                if item.external or item.is_virtual:
                    raise ModelError(f"{shown}: the weights {name} lie in another file. Refused.")
                _refuse_inflation(shown, name, item.nbytes, item.id.get_storage_size())


def _items(group: h5py.Group, shown: Path) -> Iterator[tuple[str, Any]]:
    pending = [group]
    while pending:
        at = pending.pop()
        for key in at:
            name = f"{at.name}/{key}".lstrip("/")
            if not isinstance(at.get(key, getlink=True), h5py.HardLink):
                raise ModelError(f"{shown}: {name} is a link to data elsewhere. Refused.")
            item = at[key]
            if isinstance(item, h5py.Group):
                pending.append(item)
            yield name, item


# SavedModel


def _read_saved_model(path: Path) -> ModelFile:
    metadata = path / "keras_metadata.pb"
    if not (path / "saved_model.pb").is_file():
        raise ModelError(f"The folder {path} holds no saved_model.pb. Pass {KNOWN}.")
    if not metadata.is_file():
        raise ModelError(
            f"{path} is a SavedModel without Keras metadata, as model.export of Keras 3 and "
            "tf.saved_model.save write it: it holds computations, not layers, so there is nothing "
            "to compress. Save the model itself with model.save('model.keras') and pass that."
        )
    root = _root(path, metadata)
    if "config" not in root or "layers" not in (root["config"] or {}):
        raise ModelError(
            f"{path} holds the subclassed model {root.get('class_name')!r}: its code, which says "
            "how its layers are connected, is not in the file. Load it where its class is defined "
            "and pass the live model."
        )
    weights = sum(part.stat().st_size for part in path.glob("variables/variables.data-*"))
    if not weights or not (path / "variables" / "variables.index").is_file():
        raise ModelError(f"{path} lacks its weights (variables/). Copy the whole folder.")
    config = {"class_name": root["class_name"], "config": root["config"]}
    return ModelFile(path, "saved_model", str(root.get("keras_version", "")), config, weights)


def _root(path: Path, metadata: Path) -> dict[str, Any]:
    """The model at the root of a SavedModel, as Keras wrote it."""
    content = metadata.read_bytes()
    if len(content) > MAX_CONFIG_BYTES:
        raise ModelError(f"{metadata} has {len(content):,} bytes: no model's metadata.")
    try:
        nodes = keras.protobuf.saved_metadata_pb2.SavedMetadata.FromString(content).nodes
    except Exception as error:  # protobuf's own class depends on its implementation
        raise ModelError(f"{metadata} is damaged: {error}. Save the model again.") from error
    roots = [node for node in nodes if node.node_path == "root"]
    if not roots:
        raise ModelError(f"{metadata} names no model at its root. Save the model again.")
    return _json(path, roots[0].metadata)


# What is damaged, and what claims too much


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    # h5py: OSError for a file cut short, KeyError and RuntimeError for damage within.
    except (zipfile.BadZipFile, zlib.error, OSError, KeyError, RuntimeError, EOFError) as error:
        raise ModelError(
            f"{path} is damaged or was cut short: {error}. Copy it again, or save the model again."
        ) from error


def _json(path: Path, text: str | bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError, TypeError) as error:
        raise ModelError(f"{path}: its configuration is damaged: {error}.") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path}: its configuration is no JSON object but {str(found)[:40]!r}.")
    return found


def _refuse_inflation(path: Path, name: str, claimed: int, stored: int) -> None:
    if claimed > max(ALWAYS_UNPACKED_BYTES, MAX_INFLATION * stored):
        raise ModelError(f"{path}: {name} claims {claimed:,} bytes and has {stored:,}. Refused.")
