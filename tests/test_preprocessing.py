"""What happens to a raw image before a model sees it."""

import dataclasses
import json

import numpy as np
import pytest

from tfcompress.preprocessing import Preprocessing, match_channels, resize_bilinear


def grey(*pixels):
    return np.array(pixels, np.uint8).reshape(1, 1, len(pixels), 1)


def test_scale_and_offset():
    unit = Preprocessing(image_shape=(1, 2, 1), scale=(1 / 127.5,), offset=(-1.0,))
    assert unit.apply(grey(0, 255)).ravel().tolist() == [-1.0, 1.0]
    assert unit.apply(grey(0, 255)).dtype == np.float32


def test_channels_have_their_own_scale_in_caffe_order():
    caffe = Preprocessing(
        image_shape=(1, 1, 3), scale=(1.0, 2.0, 3.0), offset=(0.5, 0.0, 0.0), channel_order="bgr"
    )
    rgb = np.array([10, 20, 30], np.uint8).reshape(1, 1, 1, 3)
    assert caffe.apply(rgb).ravel().tolist() == [30.5, 40.0, 30.0]


def test_grey_becomes_rgb_and_rgb_becomes_luma():
    assert match_channels(grey(7), 3).ravel().tolist() == [7, 7, 7]
    rgb = np.array([100, 50, 200], np.uint8).reshape(1, 1, 1, 3)
    # 0.299 * 100 + 0.587 * 50 + 0.114 * 200 = 82.05
    assert match_channels(rgb, 1).ravel().tolist() == [82]
    assert match_channels(rgb, 1).dtype == np.uint8


def test_bilinear_by_hand():
    # Half-pixel centres: the four new centres lie at -0.25, 0.25, 0.75, 1.25 of the old grid.
    row = np.array([0.0, 4.0], np.float32).reshape(1, 1, 2, 1)
    assert resize_bilinear(row, 1, 4).ravel().tolist() == [0.0, 1.0, 3.0, 4.0]
    assert resize_bilinear(row, 1, 1).ravel().tolist() == [2.0]


@pytest.mark.parametrize("size", [(3, 5), (8, 8), (17, 9), (40, 31)])
def test_resize_is_that_of_tensorflow(size):
    from tfcompress._keras import tf

    images = np.random.default_rng(0).uniform(0, 255, (2, 13, 11, 3)).astype(np.float32)
    expected = tf.image.resize(images, size, antialias=False).numpy()
    np.testing.assert_allclose(resize_bilinear(images, *size), expected, atol=1e-3)


def test_no_image_is_no_image():
    unit = Preprocessing(image_shape=(4, 4, 3))
    assert unit.apply(np.zeros([0, 9, 9, 1], np.uint8)).shape == (0, 4, 4, 3)


def test_the_callers_images_stay_as_they_are():
    images = grey(1, 2)
    Preprocessing(image_shape=(1, 2, 1), scale=(2.0,)).apply(images)
    assert images.ravel().tolist() == [1, 2]


@pytest.mark.parametrize(
    "images",
    [
        np.zeros([1, 2, 2, 1], np.float32),
        np.zeros([2, 2, 1], np.uint8),
        np.zeros([1, 2, 2, 4], np.uint8),
        np.zeros([1, 2, 2, 1], np.int64),
    ],
    ids=["float", "rank 3", "4 channels", "int64"],
)
def test_other_arrays_are_refused_with_what_was_received(images):
    with pytest.raises(ValueError, match=r"Raw images must be uint8 .* Received: "):
        Preprocessing(image_shape=(2, 2, 1)).apply(images)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"image_shape": (2, 2)}, "image_shape"),
        ({"image_shape": (2, 2, 2)}, "1 or 3 channels"),
        ({"image_shape": (0, 2, 1)}, "image_shape"),
        ({"channel_order": "gbr"}, "channel_order"),
        ({"scale": (1.0, 2.0)}, "scale must hold 1 or 3"),
        ({"offset": ()}, "offset must hold 1 or 3"),
    ],
)
def test_settings_that_do_not_fit_are_refused(fields, says):
    with pytest.raises(ValueError, match=says):
        Preprocessing(**{"image_shape": (2, 2, 3), **fields})


def test_the_record_survives_json():
    before = Preprocessing(
        image_shape=(2, 3, 3), scale=(0.1, 0.2, 0.3), offset=(-1.0,), channel_order="bgr"
    )
    assert Preprocessing.from_dict(json.loads(json.dumps(before.to_dict()))) == before


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Preprocessing(image_shape=(1, 1, 1)).scale = (2.0,)
