"""PyTorch files written here by hand (no torch), read back, cut short and made hostile."""

import collections
import io
import os
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest

from tfcompress.torch_files import TorchFileError, read_tensors

MAGIC = 0x1950A86A20F9469CFC6C


class Storage:
    """Written as a persistent id, as torch does it."""

    def __init__(self, key, kind, array):
        self.pid = ("storage", kind, key, "cpu", array.size, None)


class Tensor:
    def __init__(self, rebuild, *arguments):
        self.call = (rebuild, arguments)

    def __reduce__(self):
        return self.call


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.pid if isinstance(value, Storage) else None


@pytest.fixture
def torch(monkeypatch):
    """Stand-ins that pickle by the names that torch's own have."""
    module, internals = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage", "QInt8Storage"):
        setattr(module, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2():
        raise NotImplementedError

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    internals._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", module)
    monkeypatch.setitem(sys.modules, "torch._utils", internals)
    module.rebuild = _rebuild_tensor_v2
    return module


def write(state, storages, *, magic=MAGIC):
    stream = io.BytesIO()
    for value in (magic, 1001, {"little_endian": True}, state, [key for key, _ in storages]):
        Pickler(stream, protocol=2).dump(value)
    for _, array in storages:
        stream.write(array.size.to_bytes(8, "little") + array.tobytes())
    return stream.getvalue()


def write_zip(state, storages, *, order=b"little"):
    """The layout since PyTorch 1.6, in which a storage's id has five items."""
    for tensor in state.values():
        storage = tensor.call[1][0]
        storage.pid = storage.pid[:5]
    pickled, stream = io.BytesIO(), io.BytesIO()
    Pickler(pickled, protocol=2).dump(state)
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickled.getvalue())
        archive.writestr("archive/byteorder", order)
        for key, array in storages:
            archive.writestr(f"archive/data/{key}", array.tobytes())
    return stream.getvalue()


def example(torch, *, shape=(2, 3), stride=(1, 2), kind="FloatStorage", offset=2, write=write):
    numbers = np.arange(8, dtype=np.float32)
    counter = np.array([7], np.int64)
    state = collections.OrderedDict()
    storage = Storage("11", getattr(torch, kind), numbers)
    state["weight"] = Tensor(torch.rebuild, storage, offset, shape, stride, False, {})
    storage = Storage("12", torch.LongStorage, counter)
    state["counter"] = Tensor(torch.rebuild, storage, 0, (), (), False, {})
    return write(state, [("11", numbers), ("12", counter)])


both_formats = pytest.mark.parametrize("write", [write, write_zip])


@both_formats
def test_tensors_keep_their_offset_stride_and_dtype(torch, write):
    tensors = read_tensors(example(torch, write=write))
    # Element [i, j] stands at 2 + i + 2 * j.
    np.testing.assert_array_equal(tensors["weight"], [[2, 4, 6], [3, 5, 7]])
    assert tensors["weight"].dtype == np.float32
    assert tensors["counter"].shape == ()
    assert tensors["counter"] == 7


@both_formats
@pytest.mark.parametrize("cut", [1, 20, 40, 200, 400])
def test_a_truncated_file_is_refused(torch, cut, write):
    with pytest.raises(TorchFileError):
        read_tensors(example(torch, write=write)[:-cut])


@pytest.mark.parametrize(
    "wrong",
    [{"offset": 3}, {"offset": -1}, {"stride": (-1, 2)}, {"shape": (2, 300)}],
    ids=str,
)
@both_formats
def test_a_tensor_beyond_its_storage_is_refused(torch, wrong, write):
    with pytest.raises(TorchFileError, match="beyond its storage"):
        read_tensors(example(torch, **wrong, write=write))


@both_formats
def test_an_unknown_storage_is_refused(torch, write):
    with pytest.raises(TorchFileError, match=r"asks for torch.QInt8Storage"):
        read_tensors(example(torch, kind="QInt8Storage", write=write))


def changed(data, member, content):
    """A zip archive in which one member holds something else; None takes it out."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(stream, "w") as after:
        for name in before.namelist():
            kept = before.read(name) if name != f"archive/{member}" else content
            if kept is not None:
                after.writestr(name, kept)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("member", "content", "message"),
    [
        ("data/11", b"\0" * 28, r"archive/data/11 holds 28 bytes. Expected: 32, 8 numbers"),
        ("data/11", None, r"no PyTorch file of tensors: .*archive/data/11"),
        ("byteorder", b"big", "big-endian"),
        ("data.pkl", None, r"one member data.pkl. This zip archive has 0"),
        ("data.pkl", pickle.dumps([1, 2]), "no PyTorch file of tensors"),
        ("data.pkl", pickle.dumps({"weight": 1}), "no PyTorch file of tensors"),
        ("data.pkl", pickle.dumps(io.BytesIO), r"asks for _io.BytesIO"),
    ],
    ids=str,
)
def test_an_archive_with_another_content_is_refused(torch, member, content, message):
    data = changed(example(torch, write=write_zip), member, content)
    with pytest.raises(TorchFileError, match=message):
        read_tensors(data)


def test_code_in_the_file_is_not_run(tmp_path):
    marker = tmp_path / "ran"
    data = write(Tensor(os.system, f"touch {marker}"), [])
    with pytest.raises(TorchFileError, match=r"asks for posix.system"):
        read_tensors(data)
    assert not marker.exists()


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 a zip file", pickle.dumps({"a": 1})])
def test_another_format_is_refused(data):
    with pytest.raises(TorchFileError):
        read_tensors(data)
