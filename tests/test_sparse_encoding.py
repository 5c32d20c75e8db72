import numpy as np
import pytest

from tfcompress import flatbuffer
from tfcompress.sparse_encoding import _parts, _sparsity, sparse_bytes, store_sparse


@pytest.mark.parametrize(
    ("shape", "used", "dtype", "expected"),
    [
        # Elements, indices of a byte, and the beginnings of the rows with the end of the last.
        ((4, 10), 6, np.int8, 6 + 6 + 5),
        ((4, 10), 6, np.float32, 24 + 6 + 5),
        # An index of 256 or more takes two bytes; so do beginnings where 256 elements are used.
        ((2, 300), 600, np.int8, 600 + 2 * 600 + 2 * 3),
        ((3, 3, 5), 0, np.float32, 0 + 0 + 10),
    ],
    ids=["int8", "float32", "wide", "empty"],
)
def test_bytes_by_hand(shape, used, dtype, expected):
    values = np.zeros(np.prod(shape), dtype)
    values[:used] = 1
    assert sparse_bytes(values.reshape(shape)) == expected


@pytest.mark.parametrize("shape", [(6,), (4, 7), (3, 2, 2, 5)])
def test_what_is_encoded_is_read_back(shape):
    generator = np.random.default_rng(0)
    values = generator.integers(-3, 4, shape) * generator.integers(0, 2, shape)
    values = values.astype(np.int8)
    elements = _parts(values)[0]
    assert 0 not in elements
    read = flatbuffer._unpack_sparse(elements, values.shape, _sparsity(values))
    np.testing.assert_array_equal(read, values)


def test_only_kernels_that_get_smaller_are_encoded(exported):
    artifact = exported("float32")
    model = flatbuffer.parse(artifact.data, source="a")
    before = {name: tensor.values for name, tensor in flatbuffer.weights(model).items()}
    for kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        assert store_sparse(model, kind) == ""
    dense = next(name for name, values in before.items() if values.ndim == 2)
    # All but one weight in 16 set to zero.
    kernel = next(t for t in model.subgraphs[0].tensors if flatbuffer.text(t.name) == dense)
    thinned = before[dense] * (np.arange(before[dense].size) % 16 == 0).reshape(kernel.shape)
    model.buffers[kernel.buffer].data = np.frombuffer(thinned.tobytes(), np.uint8)
    assert store_sparse(model, "FULLY_CONNECTED") == "1 kernels of FULLY_CONNECTED"
    found = flatbuffer.weights(model)[dense]
    np.testing.assert_array_equal(found.values, thinned)
    assert found.stored_sparse
    assert found.stored_bytes == sparse_bytes(thinned) < thinned.nbytes
    assert [operator.name for operator in flatbuffer.operators(model)].count("DENSIFY") == 1
