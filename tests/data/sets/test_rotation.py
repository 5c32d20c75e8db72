"""Turned digits: a regression on real images."""

import numpy as np
import pytest

from tfcompress.data import DataConfig, load
from tfcompress.data.sets import _rotation, mnist_sample, mnist_sample_rotation


@pytest.fixture(scope="module")
def pair():
    config = DataConfig(name="mnist_sample")
    return mnist_sample.published(config, ""), mnist_sample_rotation.published(config, "")


def test_every_digit_is_turned_by_its_own_angle(pair):
    digits, turned = pair
    assert (turned.classes, turned.targets) == ((), ("angle_degrees",))
    for part, number in (("train", 0), ("test", 1)):
        plain, split = getattr(digits, part), getattr(turned, part)
        assert split.labels.shape == (len(plain), 1)
        for index in (0, 77, len(plain) - 1):
            degrees = _rotation.angle(number, int(plain.ids[index]))
            assert split.labels[index, 0] == np.float32(degrees)
            expected = _rotation.turned_image(plain.examples[index], degrees)
            assert np.abs(split.examples[index].astype(int) - expected).max() <= 1


def test_angles_are_spread_evenly_and_are_those_of_no_digit_class(pair):
    digits, turned = pair
    degrees = turned.train.labels[:, 0]
    assert np.abs(degrees).max() <= 45
    counts, _ = np.histogram(degrees, bins=9, range=(-45, 45))
    # 889 a bin; the standard deviation of a count is 28.
    assert counts.min() > 889 - 4 * 28
    assert counts.max() < 889 + 4 * 28
    for digit in range(10):
        assert abs(degrees[digits.train.labels == digit].mean()) < 4


def test_a_turn_to_the_left_is_positive():
    image = np.zeros([9, 9, 1], np.uint8)
    image[4, 6] = 255
    assert np.argwhere(_rotation.turned_image(image, 45.0)[..., 0] > 100).tolist() == [[3, 5]]


def test_the_splits_are_disjoint_and_the_same_each_time():
    config = DataConfig(name="mnist_sample_rotation", max_train=100)
    dataset, again = load(config), load(config)
    assert dataset.checksums() == again.checksums()
    ids = [set(getattr(dataset, part).ids) for part in ("train", "validation", "calibration")]
    assert len(set.union(*ids)) == sum(map(len, ids))
    assert dataset.goal.task == "regression"
    assert dataset.goal.std[0] == pytest.approx(26, abs=3)  # 90 / sqrt(12)
