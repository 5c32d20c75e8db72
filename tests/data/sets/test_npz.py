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
    np.testing.assert_array_equal(published.train.examples, expected["x_train"])
    np.testing.assert_array_equal(published.test.labels, expected["y_test"])
    assert published.test.ids.tolist() == list(range(9))


def test_keras_layouts_are_taken(tmp_path):
    grey = {
        "x_train": np.zeros((40, 5, 4), np.uint8),
        "x_test": np.zeros((9, 5, 4), np.uint8),
        "y_train": (np.arange(40) % 3).astype(np.uint8)[:, None],
    }
    published = read(tmp_path, **grey)
    assert published.train.examples.shape == (40, 5, 4, 1)
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


# Values instead of classes.


def angles(**changed):
    generator = np.random.default_rng(1)
    values = {"y_train": generator.normal(size=40), "y_test": generator.normal(size=9)}
    return {**values, **changed}


def test_floats_are_values(tmp_path):
    given = angles()
    published = read(tmp_path, **given)
    assert (published.classes, published.targets) == ((), ("target",))
    assert published.train.labels.dtype == np.float32
    np.testing.assert_allclose(published.test.labels[:, 0], given["y_test"], rtol=1e-6)


def test_values_have_names_and_may_be_several(tmp_path):
    pairs = angles(y_train=np.random.default_rng(1).normal(size=(40, 2)), y_test=np.ones((9, 2)))
    assert read(tmp_path, **pairs).targets == ("target_0", "target_1")
    named = read(tmp_path, **pairs, targets=np.array(["x_pixels", "y_pixels"]))
    assert named.targets == ("x_pixels", "y_pixels")
    dataset = load(DataConfig(name=f"npz:{tmp_path / 'data.npz'}"))
    assert dataset.goal.names == ("x_pixels", "y_pixels")
    np.testing.assert_allclose(dataset.goal.std, dataset.train.labels.std(axis=0), rtol=1e-5)


def by_number(tmp_path, task, **changed):
    read_arrays = arrays(**changed)
    np.savez_compressed(tmp_path / "data.npz", **read_arrays)
    config = DataConfig(name=f"npz:{tmp_path / 'data.npz'}", task=task)
    return npz.published(config, str(tmp_path / "data.npz"))


MANY = {
    "x_train": np.zeros((600, 4, 4), np.uint8),
    "y_train": np.arange(600) % 300,
    "x_test": np.zeros((9, 4, 4), np.uint8),
}


def test_whole_numbers_are_what_the_task_says(tmp_path):
    assert by_number(tmp_path, "auto").classes == ("0", "1", "2")
    assert by_number(tmp_path, "regression").targets == ("target",)
    assert len(by_number(tmp_path, "classification", **MANY).classes) == 300
    assert by_number(tmp_path, "regression", **MANY).train.labels.max() == 299


@pytest.mark.parametrize(
    "changed",
    [MANY, {"y_train": (np.arange(40) % 3).astype(float), "y_test": np.zeros(9)}],
    ids=["300 integers", "whole floats"],
)
def test_whole_numbers_that_could_be_either_are_asked_about(tmp_path, changed):
    with pytest.raises(ValueError, match="--task=regression or --task=classification"):
        by_number(tmp_path, "auto", **changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y_train": np.where(np.arange(40) == 3, np.nan, 0.5)}, "NaN or infinite for 1 of 40"),
        ({"y_test": np.full(9, np.inf)}, "y_test: targets must be finite"),
        ({"y_train": np.zeros((40, 2, 2)) + 0.5}, r"Received: float64 \[40, 2, 2\]"),
        ({"y_train": np.zeros((39, 1)) + 0.5}, "each of the 40 images"),
        ({"y_train": np.zeros((40, 2)) + 0.5}, r"each of target_0, target_1. Received: float32"),
        ({"targets": np.array(["a", "b"])}, "must name the 1 values"),
        ({"targets": np.array([1.0])}, "targets must be a list of strings"),
        ({"classes": np.array(["a", "b"])}, "one integer for each of the 40 images"),
    ],
)
def test_values_that_do_not_fit_are_refused(tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, **angles(**changed))


def test_a_constant_target_is_refused(tmp_path):
    read(tmp_path, **angles(y_train=np.full(40, 0.5)))
    with pytest.raises(ValueError, match=r"target is 0\.5 for every example of train"):
        load(DataConfig(name=f"npz:{tmp_path / 'data.npz'}"))
