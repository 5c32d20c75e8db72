"""What is read of a file of inputs, and what is refused."""

import os
import tracemalloc

import numpy as np
import pytest

from tfcompress.benchmark.inputs import make_inputs
from tfcompress.litert import TensorDetails

PAIR = TensorDetails((2, 3), np.dtype(np.float32))


def header(shape):
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.fixture
def read(tmp_path):
    """The input that a model gets of a file, given as its bytes or as an array."""

    def read(content, details=PAIR):
        path = tmp_path / "x.npy"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            np.save(path, content, allow_pickle=True)
        (array,) = make_inputs([details], str(path))
        return array

    return read


def test_the_first_images_are_the_input(read):
    held = np.arange(15, dtype=np.float32).reshape(5, 3)
    for stored in (held, np.asfortranarray(held)):
        found = read(stored)
        np.testing.assert_array_equal(found, held[:2])
        assert type(found) is np.ndarray
        assert found.flags.c_contiguous
        assert found.flags.owndata


def test_images_beyond_the_batch_take_no_memory(tmp_path):
    path, size = tmp_path / "x.npy", 2**30
    path.write_bytes(header((size // 12, 3)))
    os.truncate(path, size + 1000)  # Sparse: it takes no room on the disk either.
    tracemalloc.start()
    make_inputs([PAIR], str(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_a_model_without_a_batch_gets_the_whole(read):
    wave = np.arange(4, dtype=np.float32)
    assert read(wave, TensorDetails((4,), np.dtype(np.float32))).tolist() == [0, 1, 2, 3]
    single = read(np.float32(5), TensorDetails((), np.dtype(np.float32)))
    assert (single.shape, single.item()) == ((), 5)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no array that can be read, as numpy.save writes it"),
        (b"PK\x03\x04 and no archive", "no array that can be read"),
        (b"PK\x05\x06" + bytes(18), "no array that can be read"),
        (header((1 << 40, 3)) + bytes(100), "no array that can be read"),
        (np.array([{}]), "no array that can be read"),
        (np.float32(1), r"shape \[\]. The model reads \[2, 3\]: expected at least 2 images of \[3"),
        (np.zeros((1, 3), np.float32), r"shape \[1, 3\]"),
        (np.zeros((2, 3), ">f4"), "holds >f4. The model reads float32"),
        (np.full((2, 3), np.inf, np.float32), "holds 6 values that are NaN or infinite among tho"),
    ],
    ids=["empty", "zip", "empty zip", "146 TiB", "objects", "scalar", "few", "order", "infinite"],
)
def test_a_file_of_something_else_is_refused(read, content, said):
    with pytest.raises(ValueError, match=said):
        read(content)
