import itertools
import re

import numpy as np
import pytest

from tfcompress.data.dataset import Split
from tfcompress.data.pipeline import (
    AugmentationConfig,
    View,
    augmented,
    ordered_batches,
    steps_per_epoch,
    train_batches,
)
from tfcompress.preprocessing import Preprocessing
from tfcompress.tokenization import Tokenization

UNIT = {"scale": (1 / 255,)}
CHANGES = AugmentationConfig(True, 2, 3, 0.1, 0.2)


def taken(batches, count):
    return [
        (images, labels) for images, labels in itertools.islice(batches.as_numpy_iterator(), count)
    ]


@pytest.mark.parametrize(
    ("stored", "preprocessing"),
    [
        ((8, 6, 3), Preprocessing((8, 6, 3), **UNIT)),
        ((8, 6, 3), Preprocessing((17, 11, 3), **UNIT)),
        ((32, 32, 3), Preprocessing((96, 96, 3), (1 / 128,), (-127 / 128,))),
        ((28, 28, 1), Preprocessing((32, 32, 3), **UNIT)),
        ((31, 29, 3), Preprocessing((10, 12, 1), **UNIT)),
        (
            (8, 6, 3),
            Preprocessing((9, 9, 3), (1 / 99, 1 / 88, 1 / 77), (-1.0, -2.0, -3.0), "bgr"),
        ),
    ],
    ids=["as-stored", "up", "imagenet", "grey-to-rgb", "rgb-to-grey", "bgr"],
)
def test_batches_are_what_preprocessing_gives(make_split, stored, preprocessing):
    split = make_split(10, stored)
    batches = taken(ordered_batches(split, preprocessing, batch_size=4), 9)
    assert [len(images) for images, _ in batches] == [4, 4, 2]
    images = np.concatenate([images for images, _ in batches])
    assert images.dtype == np.float32
    # Two float32 implementations of the same arithmetic, on values of about 1.
    np.testing.assert_allclose(images, preprocessing.apply(split.examples), atol=1e-4)
    assert np.concatenate([labels for _, labels in batches]).tolist() == split.labels.tolist()
    trained, labels = taken(train_batches(split, preprocessing, batch_size=10, seed=0), 1)[0]
    order = [
        int(np.argmin(np.abs(preprocessing.apply(split.examples) - image).sum((1, 2, 3))))
        for image in trained
    ]
    assert sorted(order) == list(range(10))
    np.testing.assert_allclose(trained, preprocessing.apply(split.examples)[order], atol=1e-4)
    assert labels.dtype == np.int64
    assert labels.tolist() == split.labels[order].tolist()


def numbered(count):
    """A split whose image i is one pixel of value i."""
    values = np.arange(count)
    return Split(values.astype(np.uint8).reshape(-1, 1, 1, 1), values, values)


PIXEL = Preprocessing((1, 1, 1))


def orders(count, *, epochs, **settings):
    split = numbered(count)
    steps = steps_per_epoch(split, settings["batch_size"])
    batches = taken(train_batches(split, PIXEL, **settings), steps * epochs)
    return [
        [int(label) for _, labels in batches[e * steps : (e + 1) * steps] for label in labels]
        for e in range(epochs)
    ]


def test_every_epoch_is_another_order_of_all_images():
    first, second = orders(40, epochs=2, batch_size=8, seed=5)
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second
    assert first != list(range(40))


def test_order_of_an_epoch_depends_on_seed_and_epoch_alone():
    whole = orders(40, epochs=3, batch_size=8, seed=5)
    assert orders(40, epochs=1, batch_size=8, seed=5, first_epoch=2) == whole[2:]
    assert orders(40, epochs=1, batch_size=10, seed=5) == whole[:1]
    assert orders(40, epochs=1, batch_size=8, seed=6) != whole[:1]


def test_augmentation_of_an_epoch_depends_on_seed_and_epoch_alone(make_split):
    settings = {
        "batch_size": 5,
        "seed": 1,
        "augmentation": CHANGES,
    }
    split, preprocessing = make_split(20), Preprocessing((8, 6, 3))
    whole = taken(train_batches(split, preprocessing, **settings), 8)
    later = taken(train_batches(split, preprocessing, first_epoch=1, **settings), 4)
    for (expected, _), (received, _) in zip(whole[4:], later, strict=True):
        np.testing.assert_array_equal(received, expected)


def by_label(batches):
    """Images by their labels, which are all different here."""
    return {
        int(label): image
        for images, labels, *_ in batches
        for image, label in zip(images, labels, strict=True)
    }


def distinct(make_split, count):
    split = make_split(count)
    return Split(split.examples, np.arange(count), split.ids)


def test_how_an_image_changes_does_not_depend_on_its_batch(make_split):
    split, preprocessing = distinct(make_split, 20), Preprocessing((8, 6, 3))
    small, large = (
        by_label(
            taken(
                train_batches(split, preprocessing, batch_size=size, seed=1, augmentation=CHANGES),
                20 // size,
            )
        )
        for size in (4, 10)
    )
    for label, image in small.items():
        np.testing.assert_allclose(image, large[label], rtol=1e-5)
    assert np.abs(small[0] - split.examples[0]).max() > 0


def test_views_repeat_in_another_order_and_can_be_had_one_by_one(make_split):
    split, preprocessing = distinct(make_split, 20), Preprocessing((8, 6, 3))
    batches = train_batches(
        split, preprocessing, batch_size=10, seed=1, augmentation=CHANGES, views=2
    )
    found = taken(batches, 6)
    first, second, third = (by_label(found[start : start + 2]) for start in (0, 2, 4))
    assert found[0][1].tolist() != found[4][1].tolist()
    for label in range(20):
        np.testing.assert_array_equal(first[label], third[label])
    assert any((first[label] != second[label]).any() for label in range(20))
    for number, expected in enumerate((first, second)):
        view = View(number, 1, CHANGES)
        alone = by_label(ordered_batches(split, preprocessing, batch_size=7, view=view))
        for label in range(20):
            # The mean of an image may be summed in another order in another batch.
            np.testing.assert_allclose(alone[label], expected[label], atol=1e-3)


def test_each_image_has_the_answer_to_its_view():
    answers = np.array([[[100 * view + row] for row in range(8)] for view in range(2)], np.float32)
    batches = train_batches(numbered(8), PIXEL, batch_size=4, seed=0, views=2, answers=answers)
    found = list(itertools.islice(batches.as_numpy_iterator(), 6))
    for step, (_, labels, given) in enumerate(found):
        view = step // 2 % 2
        assert given[:, 0].tolist() == (100 * view + labels).tolist()


@pytest.mark.parametrize(
    ("views", "shape"), [(0, [2, 8, 1]), (2, [1, 8, 1]), (2, [2, 7, 1]), (-1, None)]
)
def test_answers_that_are_not_those_of_the_views_are_refused(views, shape):
    answers = None if shape is None else np.zeros(shape, np.float32)
    with pytest.raises(ValueError, match="views"):
        train_batches(numbered(8), PIXEL, batch_size=4, seed=0, views=views, answers=answers)


def test_images_beyond_the_last_whole_batch_sit_out():
    assert steps_per_epoch(numbered(10), 4) == 2
    (order,) = orders(10, epochs=1, batch_size=4, seed=0)
    assert len(set(order)) == 8


def test_split_smaller_than_a_batch_gives_one_batch_of_all_its_images():
    assert steps_per_epoch(numbered(3), 8) == 1
    assert [sorted(order) for order in orders(3, epochs=2, batch_size=8, seed=0)] == [[0, 1, 2]] * 2


def test_no_augmentation_changes_nothing(make_split):
    images = make_split(4).examples
    np.testing.assert_array_equal(augmented(images, AugmentationConfig(), seed=[0, 0]), images)


def test_flip_mirrors_about_half_of_the_images(make_split):
    images = make_split(200).examples
    received = augmented(images, AugmentationConfig(flip=True), seed=[0, 1]).numpy()
    mirrored = (received == images[:, :, ::-1]).all((1, 2, 3))
    untouched = (received == images).all((1, 2, 3))
    assert (mirrored ^ untouched).all()
    # 200 fair draws lie within 3.5 standard deviations (25) of 100.
    assert 75 < mirrored.sum() < 125


def test_shift_is_a_crop_of_the_mirrored_image(make_split):
    images = make_split(60, (5, 4, 1)).examples
    received = augmented(images, AugmentationConfig(crop_padding=2), seed=[0, 1]).numpy()
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    offsets = [
        [
            (top, left)
            for top in range(5)
            for left in range(5)
            if (padded[i, top : top + 5, left : left + 4] == received[i]).all()
        ]
        for i in range(60)
    ]
    assert all(len(found) == 1 for found in offsets)
    assert {top for [(top, _)] in offsets} == {left for [(_, left)] in offsets} == set(range(5))


def test_cutout_paints_one_grey_square():
    images = np.full([50, 9, 9, 1], 200, np.uint8)
    received = augmented(images, AugmentationConfig(cutout=3), seed=[0, 1]).numpy()
    assert set(np.unique(received)) == {127.5, 200.0}
    for hole in received[..., 0] == 127.5:
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        assert hole.sum() == len(rows) * len(columns)
        assert 2 <= len(rows) <= 3
        assert 2 <= len(columns) <= 3


def test_brightness_shifts_each_image_by_one_number_within_reach():
    images = np.full([100, 2, 2, 1], 100, np.uint8)
    received = augmented(images, AugmentationConfig(brightness=0.2), seed=[0, 1]).numpy()
    shifts = received - 100
    assert np.ptp(shifts, axis=(1, 2, 3)).max() == 0
    assert -51 <= shifts.min() < -40
    assert 40 < shifts.max() <= 51


def test_contrast_scales_the_distance_from_the_mean():
    images = np.tile(np.array([90, 110], np.uint8).reshape(1, 1, 2, 1), (100, 1, 1, 1))
    received = augmented(images, AugmentationConfig(contrast=0.5), seed=[0, 1]).numpy()
    np.testing.assert_allclose(received.mean((1, 2, 3)), 100, atol=1e-4)
    factors = (received[:, 0, 1, 0] - 100) / 10
    assert 0.5 <= factors.min() < 0.6
    assert 1.4 < factors.max() <= 1.5


def test_pixels_stay_in_range():
    images = np.tile(np.array([0, 255], np.uint8).reshape(1, 1, 2, 1), (50, 1, 1, 1))
    config = AugmentationConfig(brightness=1.0, contrast=1.0)
    received = augmented(images, config, seed=[0, 1]).numpy()
    assert received.min() >= 0
    assert received.max() <= 255


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crop_padding": -1}, "crop_padding must be a number of pixels"),
        ({"cutout": 2.5}, "cutout must be a number of pixels"),
        ({"brightness": 20}, "brightness must be in [0, 1]"),
        ({"contrast": -0.1}, "contrast must be in [0, 1]"),
    ],
)
def test_augmentation_refuses_values_out_of_range(values, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        AugmentationConfig(**values)


def test_shift_as_large_as_the_image_is_refused(make_split):
    with pytest.raises(ValueError, match="less than the image's height and width"):
        train_batches(
            make_split(4, (8, 6, 3)),
            Preprocessing((8, 6, 3)),
            batch_size=2,
            seed=0,
            augmentation=AugmentationConfig(crop_padding=6),
        )


def test_batch_size_below_one_is_refused(make_split):
    with pytest.raises(ValueError, match="batch_size must be 1 or more"):
        ordered_batches(make_split(4), Preprocessing((8, 6, 3)), batch_size=0)


TOKENS = Tokenization(length=30, tokenizer_sha256="0" * 64, vocabulary=999)


def texts(count, *, batch_size):
    """Texts of 1 to 30 tokens, their number as label, and the batches of two epochs of them."""
    lengths = np.random.default_rng(0).integers(1, 31, count)
    ids = np.zeros((count, 30), np.int32)
    for row, length in enumerate(lengths):
        ids[row, :length] = np.arange(1, length + 1)
    split = Split(ids, np.arange(count), np.arange(count))
    settings = {"batch_size": batch_size, "seed": 3}
    steps = steps_per_epoch(split, batch_size)
    found = taken(train_batches(split, TOKENS, **settings), 2 * steps)
    later = taken(train_batches(split, TOKENS, first_epoch=1, **settings), steps)
    return split, found, later


def test_batches_of_texts_are_cut_to_the_longest_and_hold_like_lengths():
    split, found, later = texts(400, batch_size=8)
    first, second = found[:50], found[50:]
    for batch, labels in first:
        longest = int((split.examples[labels] != 0).sum(1).max())
        # To the next multiple of 8, and never beyond the 30 that there are.
        assert batch.shape == (8, min(-(-longest // 8) * 8, 30))
        np.testing.assert_array_equal(batch, split.examples[labels][:, : batch.shape[1]])
    # Sorted, 8 of 400 texts of even lengths are within a token or two of each other.
    spans = [np.ptp((split.examples[labels] != 0).sum(1)) for _, labels in first]
    assert max(spans) <= 2
    # The batches themselves come in no order of length.
    widths = [batch.shape[1] for batch, _ in first]
    assert widths != sorted(widths)
    seen = [int(label) for _, labels in first for label in labels]
    assert sorted(seen) == list(range(400))
    assert seen != [int(label) for _, labels in second for label in labels]
    for (batch, labels), (again, same) in zip(second, later, strict=True):
        np.testing.assert_array_equal(batch, again)
        assert labels.tolist() == same.tolist()


def test_texts_that_fill_no_whole_batch_sit_out_by_chance_not_by_length():
    _, found, _ = texts(47, batch_size=10)
    epochs = found[:4], found[4:]
    seen = [{int(label) for _, labels in epoch for label in labels} for epoch in epochs]
    assert [len(labels) for labels in seen] == [40, 40]
    assert seen[0] != seen[1]


def test_a_pass_by_length_has_every_text_once_beside_its_label():
    split, _, _ = texts(47, batch_size=10)
    batches = taken(ordered_batches(split, TOKENS, batch_size=10, by_length=True), 9)
    widths = [batch.shape[1] for batch, _ in batches]
    assert widths == sorted(widths)
    assert widths[0] == 8
    for batch, labels in batches:
        np.testing.assert_array_equal(batch, split.examples[labels][:, : batch.shape[1]])
    assert sorted(np.concatenate([labels for _, labels in batches])) == list(range(47))
    (whole, _), *_ = taken(ordered_batches(split, TOKENS, batch_size=10), 9)
    np.testing.assert_array_equal(whole, split.examples[:10])
