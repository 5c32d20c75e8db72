import numpy as np
import pytest

from tfcompress.data import DataConfig, load
from tfcompress.data.sets import npz


def arrays(**changed):
    generator = np.random.default_rng(0)
    values = {
        "x_train": generator.integers(0, 256, (40, 5, 4, 3), np.uint8),
        "y_train": np.arange(40) % 3,
        "x_test": generator.integers(0, 256, (9, 5, 4, 3), np.uint8),
        "y_test": np.arange(9) % 3,
    } | changed
    return {name: value for name, value in values.items() if value is not None}


def read(folder, **changed):
    path = folder / "data.npz"
    np.savez_compressed(path, **arrays(**changed))
    return npz.published(DataConfig(name=f"npz:{path}"), str(path))


def test_arrays_arrive_as_saved(tmp_path):
    published = read(tmp_path, classes=np.array(["ant", "bee", "cow"]))
    expected = arrays()
    assert published.classes == ("ant", "bee", "cow")
    np.testing.assert_array_equal(published.train.images, expected["x_train"])
    np.testing.assert_array_equal(published.test.labels, expected["y_test"])
    assert published.test.ids.tolist() == list(range(9))


def test_keras_layouts_are_taken(tmp_path):
    grey = {
        "x_train": np.zeros((40, 5, 4), np.uint8),
        "x_test": np.zeros((9, 5, 4), np.uint8),
        "y_train": (np.arange(40) % 3).astype(np.uint8)[:, None],
    }
    published = read(tmp_path, **grey)
    assert published.train.images.shape == (40, 5, 4, 1)
    assert published.train.labels.shape == (40,)
    assert published.classes == ("0", "1", "2")


def test_it_loads_by_name(tmp_path):
    read(tmp_path)
    dataset = load(DataConfig(name=f"npz:{tmp_path / 'data.npz'}"))
    assert dataset.source == "npz"
    assert dataset.split_sizes() == {"train": 32, "validation": 4, "calibration": 4, "test": 9}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x_test": None, "y_test": None}, "lacks x_test, y_test"),
        ({"x_train": np.zeros((40, 5, 4, 3), np.float32)}, r"store \(images \* 255\)"),
        ({"x_train": np.zeros((40, 20), np.uint8)}, r"Received: uint8 \[40, 20\]"),
        ({"x_train": np.zeros((40, 5, 4, 4), np.uint8)}, "1 or 3 channels"),
        ({"x_test": np.zeros((9, 6, 4, 3), np.uint8)}, "They must have the same shape"),
        ({"y_train": np.arange(39) % 3}, "one integer for each of the 40 images"),
        ({"y_train": np.zeros(40)}, "Received: float64"),
        ({"y_train": np.eye(3)[np.arange(40) % 3]}, r"Received: float64 \[40, 3\]"),
        ({"y_train": np.arange(40) % 3 + 1, "y_test": np.full(9, 1)}, "none left out"),
        ({"y_test": np.arange(9) - 5}, "none left out"),
        ({"x_test": np.zeros((0, 5, 4, 3), np.uint8), "y_test": np.arange(0)}, "holds no image"),
        ({"x_train": np.zeros((40, 0, 4, 3), np.uint8)}, r"no pixels. Received: \[40, 0, 4, 3\]"),
        ({"classes": np.array([1, 2, 3])}, "must be a list of strings"),
        ({"classes": np.array(["a", 2], object)}, "without pickled objects"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, **changed)


def test_label_outside_the_classes_is_refused(tmp_path):
    read(tmp_path, classes=np.array(["ant", "bee"]))
    with pytest.raises(ValueError, match=r"labels \[2\] lie outside the 2 classes"):
        load(DataConfig(name=f"npz:{tmp_path / 'data.npz'}"))


@pytest.mark.parametrize("content", [b"", b"no zip file", None], ids=["empty", "text", "truncated"])
def test_file_that_is_no_npz_is_named(tmp_path, content):
    read(tmp_path)
    path = tmp_path / "data.npz"
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    with pytest.raises(ValueError, match=r"data.npz cannot be read as an npz file"):
        npz.published(DataConfig(name=f"npz:{path}"), str(path))


def test_single_array_is_no_npz(tmp_path):
    path = tmp_path / "data.npy"
    np.save(path, np.zeros(3))
    with pytest.raises(ValueError, match="cannot be read as an npz file"):
        npz.published(DataConfig(name=f"npz:{path}"), str(path))


def test_entry_of_an_unknown_compression_is_refused(tmp_path):
    read(tmp_path)
    path = tmp_path / "data.npz"
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 10] ^= 0xFF  # the compression of the first entry
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"data\.npz cannot be read as an npz file"):
        npz.published(DataConfig(name=f"npz:{path}"), str(path))
