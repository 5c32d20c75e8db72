import dataclasses

import numpy as np
import pytest

from tfcompress.data.encoding import cache_key, encoded
from tfcompress.preprocessing import Preprocessing

PREPROCESSING = Preprocessing((8, 6, 3), scale=(1 / 255,))


class Counting:
    """Encodes an image as its mean colour; counts the images it was given."""

    def __init__(self):
        self.images = 0

    def __call__(self, images):
        self.images += len(images)
        return images.mean((1, 2))


def run(split, encode, folder, **changed):
    settings = {"fingerprint": "net", "cache_dir": folder, "batch_size": 4} | changed
    return encoded(split, encode, PREPROCESSING, **settings)


def test_encodings_are_in_order_and_computed_once(make_split, tmp_path):
    split, encode = make_split(10), Counting()
    first, second = run(split, encode, tmp_path), run(split, encode, tmp_path)
    assert encode.images == 10
    assert first.dtype == np.float32
    np.testing.assert_allclose(first, split.examples.mean((1, 2)) / 255, atol=1e-6)
    np.testing.assert_array_equal(second, first)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


def test_another_network_order_or_preparation_is_another_entry(make_split):
    split = make_split(6)
    keys = {
        cache_key(split, PREPROCESSING, fingerprint="net"),
        cache_key(split, PREPROCESSING, fingerprint="other"),
        cache_key(split.take(np.arange(6)[::-1]), PREPROCESSING, fingerprint="net"),
        cache_key(split, dataclasses.replace(PREPROCESSING, scale=(1.0,)), fingerprint="net"),
    }
    assert len(keys) == 4
    assert cache_key(make_split(6), PREPROCESSING, fingerprint="net") in keys


def test_damaged_entry_is_computed_again(make_split, tmp_path):
    split = make_split(10)
    expected = run(split, Counting(), tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-8])
    encode = Counting()
    np.testing.assert_array_equal(run(split, encode, tmp_path), expected)
    assert encode.images == 10
    np.testing.assert_array_equal(np.load(path), expected)


def test_failing_network_leaves_no_file(make_split, tmp_path):
    def encode(images):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        run(make_split(4), encode, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_wrong_number_of_rows_is_refused(make_split, tmp_path):
    with pytest.raises(ValueError, match="one row for each image"):
        run(make_split(4), lambda images: images[:1], tmp_path)
    with pytest.raises(ValueError, match="holds no image"):
        run(make_split(4).take(np.arange(0)), Counting(), tmp_path)
