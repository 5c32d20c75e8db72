"""A legacy PyTorch file written here by hand (no torch), read back, cut short and made hostile."""

import collections
import io
import os
import pickle
import sys
import types

import numpy as np
import pytest

from tfcompress.backbones._torch_pickle import TorchFileError, read_tensors

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


def example(torch, *, shape=(2, 3), stride=(1, 2), kind="FloatStorage", offset=2):
    numbers = np.arange(8, dtype=np.float32)
    counter = np.array([7], np.int64)
    state = collections.OrderedDict()
    storage = Storage("11", getattr(torch, kind), numbers)
    state["weight"] = Tensor(torch.rebuild, storage, offset, shape, stride, False, {})
    storage = Storage("12", torch.LongStorage, counter)
    state["counter"] = Tensor(torch.rebuild, storage, 0, (), (), False, {})
    return write(state, [("11", numbers), ("12", counter)])


def test_tensors_keep_their_offset_stride_and_dtype(torch):
    tensors = read_tensors(example(torch))
    # Element [i, j] stands at 2 + i + 2 * j.
    np.testing.assert_array_equal(tensors["weight"], [[2, 4, 6], [3, 5, 7]])
    assert tensors["weight"].dtype == np.float32
    assert tensors["counter"].shape == ()
    assert tensors["counter"] == 7


@pytest.mark.parametrize("cut", [1, 20, 40, 200, 400])
def test_a_truncated_file_is_refused(torch, cut):
    with pytest.raises(TorchFileError):
        read_tensors(example(torch)[:-cut])


@pytest.mark.parametrize(
    "wrong",
    [{"offset": 3}, {"offset": -1}, {"stride": (-1, 2)}, {"shape": (2, 300)}],
    ids=str,
)
def test_a_tensor_beyond_its_storage_is_refused(torch, wrong):
    with pytest.raises(TorchFileError, match="beyond its storage"):
        read_tensors(example(torch, **wrong))


def test_an_unknown_storage_is_refused(torch):
    with pytest.raises(TorchFileError, match=r"asks for torch.QInt8Storage"):
        read_tensors(example(torch, kind="QInt8Storage"))


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
