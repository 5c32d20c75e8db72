"""Reads tensors from PyTorch's files with numpy, running no code of the file.

A legacy file is four pickles (magic number, protocol, system, the tensors' names and shapes), a
fifth with the storages' keys, then each storage as an int64 count and raw little-endian numbers.
Since PyTorch 1.6 a file is a zip archive: one pickle of the names and shapes, `data.pkl`, and one
member `data/KEY` of raw numbers for each storage. The unpickler knows the few names that such files
need and refuses every other. Does not know any network.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_ZIP = b"PK\x03\x04"
_STORAGES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}


class TorchFileError(ValueError):
    """Bytes that are no PyTorch file of plain tensors."""


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype
    count: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(stride))


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise TorchFileError(
            f"The file asks for {module}.{name}, which a file of plain tensors does not need. "
            "Nothing of it was run, and it is not read any further."
        )

    def persistent_load(self, pid: Any) -> _Storage:
        # Legacy files have a sixth item, None but for a view of another storage.
        kind, dtype, key, _, count, *view = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or any(view):
            raise TorchFileError(f"The file holds a storage of an unknown kind: {pid!r}.")
        return _Storage(key, dtype, count)


def read_tensors(data: bytes) -> dict[str, np.ndarray]:
    """Reads a state dict saved by `torch.save`, in the legacy format or as a zip archive.

    Args:
      data: the file's bytes.

    Returns:
      Tensor name to array, in the file's order, with the dtype and shape that the file gives.

    Raises:
      TorchFileError: the bytes are of another format, cut short, or ask for anything but tensors.
    """
    try:
        return _read_zip(data) if data.startswith(_ZIP) else _read_legacy(data)
    except (pickle.UnpicklingError, EOFError, AttributeError, KeyError, TypeError) as error:
        raise TorchFileError(f"The bytes are no PyTorch file of tensors: {error}.") from error
    except zipfile.BadZipFile as error:
        raise TorchFileError(
            f"The zip archive of a PyTorch file cannot be read ({error}). It may be truncated."
        ) from error


def _read_legacy(data: bytes) -> dict[str, np.ndarray]:
    stream = io.BytesIO(data)
    if _Unpickler(stream).load() != _MAGIC or _Unpickler(stream).load() != _PROTOCOL:
        raise TorchFileError("The bytes are no legacy PyTorch file: the magic number differs.")
    if not _Unpickler(stream).load()["little_endian"]:
        raise TorchFileError("The file is big-endian, which is not supported.")
    tensors = _Unpickler(stream).load()
    keys = _Unpickler(stream).load()
    dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in tensors.values()}
    storages = {key: _read_storage(stream, dtypes[key]) for key in keys}
    return {name: _view(tensor, storages) for name, tensor in tensors.items()}


def _read_zip(data: bytes) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        listed = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(listed) != 1:
            raise TorchFileError(
                f"A PyTorch file has one member data.pkl. This zip archive has {len(listed)}."
            )
        root = listed[0].removesuffix("data.pkl")
        order = f"{root}byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise TorchFileError("The file is big-endian, which is not supported.")
        tensors = _Unpickler(io.BytesIO(archive.read(listed[0]))).load()
        found = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
        storages = {key: _read_member(archive, root, found[key]) for key in found}
    return {name: _view(tensor, storages) for name, tensor in tensors.items()}


def _read_member(archive: zipfile.ZipFile, root: str, storage: _Storage) -> np.ndarray:
    name, expected = f"{root}data/{storage.key}", storage.count * storage.dtype.itemsize
    received = archive.getinfo(name).file_size
    if received != expected:
        raise TorchFileError(
            f"The storage {name} holds {received} bytes. Expected: {expected}, {storage.count} "
            f"numbers of type {storage.dtype}. The file may be damaged."
        )
    return np.frombuffer(archive.read(name), storage.dtype)


def _read_storage(stream: io.BytesIO, dtype: np.dtype) -> np.ndarray:
    header = stream.read(8)
    count = int.from_bytes(header, "little")
    raw = stream.read(count * dtype.itemsize)
    if len(header) < 8 or len(raw) < count * dtype.itemsize:
        raise TorchFileError("The file ends within its numbers. It may be truncated.")
    return np.frombuffer(raw, dtype)


def _view(tensor: _Tensor, storages: dict[str, np.ndarray]) -> np.ndarray:
    flat = storages[tensor.storage.key][tensor.offset :]
    last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride, strict=True))
    if tensor.offset < 0 or min((0, *tensor.stride)) < 0 or last >= len(flat):
        raise TorchFileError(f"A tensor of shape {tensor.shape} reaches beyond its storage.")
    strides = tuple(step * flat.itemsize for step in tensor.stride)
    return np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)
