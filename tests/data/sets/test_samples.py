import shutil
from pathlib import Path

import numpy as np
import pytest

from tfcompress.data import DataConfig, load
from tfcompress.data.sets import cifar10_sample, mnist_sample
from tfcompress.data.sources import Request, SourceUnavailableError, _tfds, sample

SAMPLES = {"mnist_sample": mnist_sample, "cifar10_sample": cifar10_sample}


def file_of(name):
    return Path(SAMPLES[name].__file__).with_suffix(".npz")


@pytest.mark.parametrize(
    ("name", "shape", "train", "test"),
    [
        ("mnist_sample", (28, 28, 1), 8000, 2000),
        ("cifar10_sample", (32, 32, 3), 1000, 400),
    ],
)
def test_sample_is_class_balanced(name, shape, train, test):
    published = SAMPLES[name].published(DataConfig(name=name), "")
    assert published.source == "sample"
    assert len(published.classes) == 10
    for split, count in ((published.train, train), (published.test, test)):
        assert split.examples.shape == (count, *shape)
        assert np.bincount(split.labels).tolist() == [count // 10] * 10
        assert len(np.unique(split.ids)) == count


def test_samples_together_stay_within_their_budget():
    assert sum(file_of(name).stat().st_size for name in SAMPLES) <= 6_000_000


@pytest.mark.parametrize("name", SAMPLES)
def test_no_test_image_is_a_training_image(name):
    published = SAMPLES[name].published(DataConfig(name=name), "")
    train, test = (
        {image.tobytes() for image in split.examples} for split in (published.train, published.test)
    )
    assert not train & test


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_holds_the_published_images_under_their_ids(name):
    full = name.removesuffix("_sample")
    made = _tfds.builder(Request(full))
    if not made.is_prepared():
        pytest.skip(f"{full} is not prepared on this machine")
    drawn = SAMPLES[name].published(DataConfig(name=name), "")
    assert drawn.classes == tuple(made.info.features["label"].names)
    for split, part in ((drawn.train, "train[:2000]"), (drawn.test, "test")):
        whole = _tfds._read_split(made, part, image_size=0)
        known = split.take(np.flatnonzero(split.ids < len(whole)))
        # A 7.5th of MNIST and a 50th of CIFAR-10 lie in the training sample.
        assert len(known) > 10
        np.testing.assert_array_equal(known.examples, whole.examples[known.ids])
        np.testing.assert_array_equal(known.labels, whole.labels[known.ids])


def test_default_config_loads_the_sample_split_in_four():
    dataset = load(DataConfig())
    assert dataset.split_sizes() == {
        "train": 6688,
        "validation": 800,
        "calibration": 512,
        "test": 2000,
    }


def shipped(path):
    return sample.shipped(path, sha256=mnist_sample.SHA256, classes=mnist_sample.CLASSES)


def test_truncated_sample_is_refused(tmp_path):
    path = tmp_path / "mnist_sample.npz"
    path.write_bytes(file_of("mnist_sample").read_bytes()[:-1])
    with pytest.raises(SourceUnavailableError, match="truncated or tampered with: expected sha256"):
        shipped(path)


def test_tampered_sample_is_refused(tmp_path):
    path = tmp_path / "mnist_sample.npz"
    shutil.copy(file_of("mnist_sample"), path)
    with path.open("rb+") as file:
        file.seek(5000)
        file.write(b"\0")
    with pytest.raises(SourceUnavailableError, match="Install tfcompress again"):
        shipped(path)


def test_missing_sample_is_refused(tmp_path):
    with pytest.raises(SourceUnavailableError, match="is missing"):
        shipped(tmp_path / "mnist_sample.npz")


def test_written_sample_reads_back(tmp_path):
    published = cifar10_sample.published(DataConfig(name="cifar10_sample"), "")
    path = tmp_path / "again.npz"
    sha256 = sample.write(path, published)
    again = sample.shipped(path, sha256=sha256, classes=published.classes)
    np.testing.assert_array_equal(again.test.examples, published.test.examples)
    np.testing.assert_array_equal(again.train.ids, published.train.ids)
