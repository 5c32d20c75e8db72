"""Corrupted images beside hand-computed ones, Pillow's, scipy's, and those of another order."""

import colorsys
import dataclasses
import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tfcompress import data
from tfcompress.data import DataConfig, Split, corruptions
from tfcompress.registry import UnknownNameError

every_corruption = pytest.mark.parametrize("name", corruptions.names())
# Of these an image's random numbers decide.
NOISE = ("gaussian_noise", "shot_noise", "impulse_noise")


@pytest.fixture(scope="module")
def photographs():
    return data.load(DataConfig(name="cifar10_sample"))


@pytest.fixture(scope="module")
def digits():
    return data.load(DataConfig(name="mnist_sample"))


def grey(value, count=1, side=4, channels=1):
    return np.full([count, side, side, channels], value, np.uint8)


def one(name, images, severity, **more):
    ids = np.arange(len(images), dtype=np.int64)
    return corruptions.corrupt(images, ids, name=name, severity=severity, **more)


@dataclasses.dataclass(frozen=True)
class Published:
    name: str
    strengths: tuple


@pytest.mark.parametrize(
    "case",
    [
        Published("gaussian_noise", (0.04, 0.06, 0.08, 0.09, 0.10)),
        Published("shot_noise", (500, 250, 100, 75, 50)),
        Published("impulse_noise", (0.01, 0.02, 0.03, 0.05, 0.07)),
        Published("gaussian_blur", (0.4, 0.6, 0.7, 0.8, 1)),
        Published("contrast", (0.75, 0.5, 0.4, 0.3, 0.15)),
        Published("brightness", (0.05, 0.1, 0.15, 0.2, 0.3)),
        Published("jpeg", (80, 65, 58, 50, 40)),
        Published("pixelate", (0.95, 0.9, 0.85, 0.75, 0.65)),
    ],
    ids=lambda case: case.name,
)
def test_strengths_are_those_published_for_cifar_10_c(case):
    assert corruptions.CORRUPTIONS[case.name].strengths == case.strengths


def test_no_corruption_is_left_out():
    assert len(corruptions.names()) == 8


@every_corruption
def test_an_image_becomes_the_same_in_any_order_and_part(name, photographs):
    split = photographs.test.take(np.arange(40))
    whole = corruptions.corrupt(split.examples, split.ids, name=name, severity=3)
    some = np.array([31, 2, 17])
    part = corruptions.corrupt(split.examples[some], split.ids[some], name=name, severity=3)
    np.testing.assert_array_equal(part, whole[some])


def test_chunks_leave_no_trace(monkeypatch, photographs):
    split = photographs.test.take(np.arange(7))
    whole = corruptions.corrupt(split.examples, split.ids, name="shot_noise", severity=5)
    monkeypatch.setattr(corruptions, "_CHUNK", 3)
    again = corruptions.corrupt(split.examples, split.ids, name="shot_noise", severity=5)
    np.testing.assert_array_equal(whole, again)


@pytest.mark.parametrize("name", NOISE)
def test_noise_differs_by_seed_severity_and_image(name):
    images = grey(128, count=2, side=16)
    first, second = one(name, images, 5)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, one(name, images, 5, seed=1)[0])
    assert not np.array_equal(first > 128, one(name, images, 4)[0] > 128)


def test_two_kinds_of_noise_do_not_share_their_numbers():
    images = grey(128, side=32)
    normal, shot = (one(name, images, 5).astype(float).ravel() for name in NOISE[:2])
    assert abs(np.corrcoef(normal, shot)[0, 1]) < 0.1


@every_corruption
@pytest.mark.parametrize("channels", [1, 3])
def test_damage_grows_with_severity(name, channels, photographs, digits):
    split = (digits if channels == 1 else photographs).test.take(np.arange(100))
    damage = []
    for severity in corruptions.SEVERITIES:
        changed = corruptions.corrupt(split.examples, split.ids, name=name, severity=severity)
        assert changed.dtype == np.uint8
        assert changed.shape == split.examples.shape
        damage.append(np.mean((changed.astype(float) - split.examples) ** 2))
    assert damage[0] > 0
    assert damage == sorted(damage)
    assert damage[0] < damage[-1]


def test_the_given_images_are_untouched(photographs):
    images = photographs.test.examples[:5]
    before = images.copy()
    for name in corruptions.names():
        one(name, images, 5)
    np.testing.assert_array_equal(images, before)


# Each by hand, or by another way to the same.


def test_gaussian_noise_has_its_deviation():
    noise = one("gaussian_noise", grey(128, side=128), 3).astype(float) - 128
    # 0.08 of 255, and half a level less on average, since levels are cut off.
    assert noise.std() == pytest.approx(0.08 * 255, rel=0.02)
    assert noise.mean() == pytest.approx(-0.5, abs=0.6)


def test_shot_noise_is_poisson_of_the_photons():
    counts = one("shot_noise", grey(128, side=128), 5) / 255 * 50
    mean = 128 / 255 * 50
    assert counts.mean() == pytest.approx(mean, rel=0.02)
    assert counts.var() == pytest.approx(mean, rel=0.05)
    assert one("shot_noise", grey(0), 5).max() == 0


def test_impulse_noise_is_salt_and_pepper_in_equal_parts():
    changed = one("impulse_noise", grey(100, side=256), 5)
    assert set(np.unique(changed)) == {0, 100, 255}
    assert np.mean(changed == 255) == pytest.approx(0.035, rel=0.1)
    assert np.mean(changed == 0) == pytest.approx(0.035, rel=0.1)


def test_impulse_noise_falls_on_values_not_on_whole_pixels():
    changed = one("impulse_noise", grey(100, side=64, channels=3), 5)
    hit = (changed != 100).sum(axis=-1)
    assert (hit == 1).sum() > 10 * (hit == 3).sum()


def test_blur_is_scipys_image_by_image_and_channel_by_channel(photographs):
    images = photographs.test.examples[:3]
    expected = [
        [
            ndimage.gaussian_filter(image[..., channel].astype(float), 0.7, mode="nearest")
            for channel in range(3)
        ]
        for image in images
    ]
    expected = np.moveaxis(np.array(expected), 1, -1)
    found = one("gaussian_blur", images, 3)
    assert np.abs(found - expected).max() <= 1 + 1e-3
    assert (found <= expected + 1e-3).all()


def test_contrast_by_hand():
    image = np.zeros([1, 2, 2, 3], np.uint8)
    # Red has the mean 100 and green 60; to 0.15 of their distance from it.
    image[0, :, :, 0] = [[0, 200], [100, 100]]
    image[0, :, :, 1] = [[60, 60], [60, 60]]
    found = one("contrast", image, 5)[0]
    assert found[..., 0].tolist() == [[85, 115], [100, 100]]
    assert found[..., 1].tolist() == [[60, 60], [60, 60]]


def test_brightness_is_added_to_the_value_of_hsv(photographs):
    images = photographs.test.examples[:1, :8, :8].copy()
    images[0, 0, 0] = 0
    images[0, 0, 1] = 255
    found = one("brightness", images, 4)
    for before, after in zip(images.reshape(-1, 3), found.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(before / 255))
        expected = np.array(colorsys.hsv_to_rgb(hue, saturation, min(value + 0.2, 1))) * 255
        assert (after <= expected + 1e-3).all()
        assert (after > expected - 1 - 1e-3).all()
    assert found[0, 0, 0].tolist() == [51, 51, 51]
    assert found[0, 0, 1].tolist() == [255, 255, 255]


def test_brightness_of_grey_by_hand():
    assert one("brightness", grey(100), 2)[0, 0, 0, 0] == 125
    assert one("brightness", grey(0), 2)[0, 0, 0, 0] == 25


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_pillows(channels, photographs, digits):
    images = (digits if channels == 1 else photographs).test.examples[:4]
    found = one("jpeg", images, 5)
    for before, after in zip(images, found, strict=True):
        stream = io.BytesIO()
        Image.fromarray(before.squeeze()).save(stream, format="JPEG", quality=40)
        np.testing.assert_array_equal(after.squeeze(), np.asarray(Image.open(stream)))


def test_pixelate_by_hand():
    # Of 4 pixels 0.65 leaves 2: means of squares of 2 by 2, each put back four times.
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1) * 8
    found = one("pixelate", image, 5)[0, ..., 0]
    means = np.array([[20, 36], [84, 100]])
    np.testing.assert_array_equal(found, np.kron(means, np.ones([2, 2])))


def test_images_need_not_be_square(digits):
    image = digits.test.examples[:2, :20, :]
    for name in corruptions.names():
        assert one(name, image, 5).shape == (2, 20, 28, 1)
    tiny = grey(9, side=1, channels=3)
    assert one("pixelate", tiny, 5).tolist() == tiny.tolist()


def test_no_image_is_none():
    assert one("gaussian_noise", grey(0)[:0], 1).shape == (0, 4, 4, 1)


def test_a_data_set_is_corrupted_in_its_test_split_alone(digits):
    found = corruptions.corrupted(digits, name="jpeg", severity=2)
    before, after = digits.checksums(), found.checksums()
    assert {part for part in before if before[part] != after[part]} == {"test"}
    np.testing.assert_array_equal(found.test.labels, digits.test.labels)
    np.testing.assert_array_equal(found.test.ids, digits.test.ids)
    assert (found.name, found.classes) == (digits.name, digits.classes)


# Bad input.


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"'fog'. Known: gaussian_noise, .*pixelate"):
        one("fog", grey(0), 1)


@pytest.mark.parametrize("severity", [0, 6, -1, 2.0, True, "3"])
def test_a_severity_that_there_is_not(severity):
    with pytest.raises(ValueError, match=r"from 1 \(weakest\) to 5\. Received: "):
        one("jpeg", grey(0), severity)


@pytest.mark.parametrize("seed", [-1, 0.5])
def test_a_seed_that_is_none(seed):
    with pytest.raises(ValueError, match="0 or more"):
        one("jpeg", grey(0), 1, seed=seed)


@pytest.mark.parametrize(
    "images",
    [np.zeros([1, 4, 4, 1], np.float32), np.zeros([4, 4, 1], np.uint8), grey(0, channels=2)],
    ids=["float", "no batch", "two channels"],
)
def test_images_of_another_kind(images):
    with pytest.raises(ValueError, match="Raw images must be uint8"):
        one("jpeg", images, 1)


@pytest.mark.parametrize(
    "ids", [np.arange(3), np.zeros([2, 1], np.int64), np.arange(2, dtype=np.int32)]
)
def test_ids_that_do_not_fit(ids):
    with pytest.raises(ValueError, match=r"Ids must be int64 \[2\]"):
        corruptions.corrupt(grey(0, count=2), ids, name="jpeg", severity=1)


def test_texts_are_not_corrupted():
    texts = Split(np.zeros([2, 4], np.int32), np.arange(2), np.arange(2))
    with pytest.raises(ValueError, match="Only images can be had so"):
        corruptions.corrupted(SimpleNamespace(test=texts), name="jpeg", severity=1)
