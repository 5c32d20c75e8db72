import dataclasses
import re

import numpy as np
import pytest

from tfcompress.data.dataset import DataConfig, Dataset, Split


def images(count, shape=(4, 4, 1)):
    return np.zeros((count, *shape), np.uint8)


def whole(count, shape=(4, 4, 1), label=0):
    return Split(images(count, shape), np.full(count, label), np.arange(count))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((images(2).astype(np.float32), np.zeros(2, int), np.arange(2)), "must be images, uint8"),
        ((images(2)[..., 0], np.zeros(2, int), np.arange(2)), "must be images, uint8"),
        ((images(2, (4, 4, 4)), np.zeros(2, int), np.arange(2)), "1 or 3 channels"),
        ((images(2), np.zeros(3, int), np.arange(2)), r"labels must be int64 \[2\]"),
        ((images(2), np.zeros(2, np.int32), np.arange(2)), "labels must be int64"),
        ((images(2), np.zeros(2, int), np.arange(2.0)), "ids must be int64"),
    ],
)
def test_split_refuses_arrays_that_do_not_fit(arrays, message):
    with pytest.raises(ValueError, match=message):
        Split(*arrays)


def test_take_keeps_images_labels_and_ids_together():
    split = Split(
        np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1), np.array([5, 6, 7]), np.arange(3)
    )
    taken = split.take(np.array([2, 0]))
    assert taken.examples.ravel().tolist() == [2, 0]
    assert taken.labels.tolist() == [7, 5]
    assert taken.ids.tolist() == [2, 0]


def parts(**changed):
    return {
        "train": whole(4),
        "validation": whole(3),
        "calibration": whole(2),
        "test": whole(1),
    } | changed


def test_dataset_reports_shape_and_sizes():
    dataset = Dataset("d", "npz", ("a", "b"), **parts())
    assert dataset.image_shape == (4, 4, 1)
    assert dataset.split_sizes() == {"train": 4, "validation": 3, "calibration": 2, "test": 1}


@pytest.mark.parametrize(
    ("classes", "changed", "message"),
    [
        (("a",), {}, "has 1 class"),
        (("a", "b", "a"), {}, "classes that are named alike: 'a'"),
        (("a", "b"), {"validation": whole(0)}, "leaves its validation split empty"),
        (("a", "b"), {"test": whole(1, (5, 4, 1))}, "images of test have the shape (5, 4, 1)"),
        (("a", "b"), {"test": whole(1, label=2)}, "labels [2] lie outside the 2 classes"),
        (("a", "b"), {"train": whole(1, label=-1)}, "labels [-1] lie outside"),
    ],
)
def test_dataset_refuses_splits_that_cannot_be_used(classes, changed, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Dataset("d", "npz", classes, **parts(**changed))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "", "must not be empty"),
        ("source", "web", "auto, prepared, download, registry"),
        ("validation_fraction", 10, "For 10% pass 0.1"),
        ("validation_fraction", 0.0, r"in \(0, 0.5\]"),
        ("calibration_size", 0, "1 or more"),
        ("max_train", -1, "0 or more"),
        ("image_size", 1.5, "must be an integer"),
        ("image_size", 4097, "at most 4096 pixels. Received: 4097"),
        ("seed", -1, "0 or more"),
    ],
)
def test_config_refuses_values_out_of_range(field, value, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**{field: value})


def test_targets_that_float32_cannot_tell_apart_are_refused():
    from tfcompress.data.dataset import _require_varying

    days = (2_460_000 + np.arange(16)).astype(np.float32)[:, None]
    with pytest.raises(ValueError, match=r"steps of 0\.25\. Subtract a round number"):
        _require_varying(days, ("julian_day",), where="'x'")
    _require_varying(days - 2_460_000, ("julian_day",), where="'x'")


def tokens(count, length=5):
    return Split(np.zeros([count, length], np.int32), np.arange(count) % 2, np.arange(count))


def test_examples_can_be_ids_of_tokens():
    splits = {"train": 4, "validation": 3, "calibration": 2, "test": 2}
    dataset = Dataset("d", "text", ("a", "b"), **{k: tokens(n) for k, n in splits.items()})
    assert (dataset.is_text, dataset.example_shape) == (True, (5,))
    with pytest.raises(ValueError, match=r"Only images .* Received: texts, .* int32 \[4, 5\]"):
        _ = dataset.image_shape
    with pytest.raises(ValueError, match=r"texts of test have the shape \(6,\), those of train"):
        dataclasses.replace(dataset, test=tokens(2, 6))


def test_images_are_had_under_their_own_name_too():
    split = whole(2)
    assert split.images is split.examples
    assert not split.is_text
