import errno
import os
import shutil
import time
from types import SimpleNamespace

import numpy as np
import pytest

from tfcompress.data.dataset import DataConfig
from tfcompress.data.sources import Request, SourceUnavailableError, _tfds, prepared, registry
from tfcompress.registry import UnknownNameError

from .conftest import PICTURES, mirror


@pytest.fixture(scope="module")
def prepared_dir(tiny_builder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    published = registry.obtain(Request("tiny_pictures", str(folder), mirror=mirror))
    assert published.source == "registry"
    return folder


def test_files_of_a_package_are_prepared_by_the_builder_and_nothing_else_is_left(prepared_dir):
    assert sorted(path.name for path in prepared_dir.iterdir()) == ["tiny_pictures"]
    assert [path.name for path in (prepared_dir / "tiny_pictures").iterdir()] == ["1.0.0"]


def test_prepared_directory_gives_every_published_image_in_the_same_order(prepared_dir):
    first, again = (prepared.obtain(Request("tiny_pictures", str(prepared_dir))) for _ in "ab")
    assert first.source == "prepared"
    assert first.classes == ("even", "odd")
    assert {image.tobytes() for image in first.train.examples} == {
        p.tobytes() for p in PICTURES[:20]
    }
    assert {image.tobytes() for image in first.test.examples} == {
        p.tobytes() for p in PICTURES[20:]
    }
    for image, label in zip(first.train.examples, first.train.labels, strict=True):
        index = next(i for i in range(20) if (PICTURES[i] == image).all())
        assert label == index % 2
    assert first.train.ids.tolist() == list(range(20))
    np.testing.assert_array_equal(again.train.examples, first.train.examples)


def test_images_are_resized_as_they_are_read(prepared_dir):
    request = Request("tiny_pictures", str(prepared_dir), image_size=8)
    assert prepared.obtain(request).test.examples.shape == (10, 8, 8, 1)


def test_work_of_a_process_killed_long_ago_is_removed(tiny_builder, tmp_path):
    for name, age in ((".registry-old", 100_000), (".registry-new", 0)):
        (tmp_path / name).mkdir()
        then = time.time() - age
        os.utime(tmp_path / name, (then, then))
    registry.obtain(Request("tiny_pictures", str(tmp_path), mirror=mirror))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".registry-new", "tiny_pictures"]


def test_unprepared_directory_is_named(tiny_builder, tmp_path):
    with pytest.raises(SourceUnavailableError, match=f"nothing is prepared at {tmp_path}"):
        prepared.obtain(Request("tiny_pictures", str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_damaged_prepared_file_is_refused(prepared_dir, tmp_path):
    shutil.copytree(prepared_dir, tmp_path, dirs_exist_ok=True)
    (path,) = tmp_path.glob("tiny_pictures/1.0.0/*-train.*")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"tiny_pictures/1.0.0 cannot be read.*Delete that folder"):
        prepared.obtain(Request("tiny_pictures", str(tmp_path)))


def test_full_disk_while_preparing_leaves_no_data_set(tiny_builder, tmp_path, monkeypatch):
    def fail(self, pictures):
        yield 0, {"image": PICTURES[0], "label": 0}
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tiny_builder, "_generate_examples", fail)
    with pytest.raises(SourceUnavailableError, match=r"could not prepare it at .*No space left"):
        registry.obtain(Request("tiny_pictures", str(tmp_path), mirror=mirror))
    with pytest.raises(SourceUnavailableError, match=r"nothing is prepared"):
        prepared.obtain(Request("tiny_pictures", str(tmp_path)))


def test_directory_that_cannot_be_written_is_named(tiny_builder, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SourceUnavailableError, match=r"file/tfds cannot be written.*set data_dir"):
        registry.obtain(Request("tiny_pictures", str(tmp_path / "file" / "tfds"), mirror=mirror))


def test_data_set_that_is_no_image_classification_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'imdb_reviews' is no image classification"):
        prepared.obtain(Request("imdb_reviews", str(tmp_path)))


def test_name_unknown_to_tfds_is_refused(tmp_path):
    with pytest.raises(UnknownNameError, match=r"TFDS knows no data set 'no_such_pictures'"):
        _tfds.builder(Request("no_such_pictures", str(tmp_path)))


def test_prepared_data_set_loads_by_name(prepared_dir):
    from tfcompress.data import load

    dataset = load(DataConfig(name="tiny_pictures", data_dir=str(prepared_dir)))
    assert dataset.source == "prepared"
    assert dataset.split_sizes() == {"train": 16, "validation": 2, "calibration": 2, "test": 10}


def test_a_published_validation_split_is_tested_on_only_where_there_is_no_test_split():
    import tensorflow_datasets as tfds

    from tfcompress._keras import tf

    class Made:
        info = SimpleNamespace(
            name="some/pictures",
            supervised_keys=("image", "label"),
            features={
                "image": tfds.features.Image(shape=(4, 4, 1)),
                "label": tfds.features.ClassLabel(names=["even", "odd"]),
            },
        )

        def __init__(self, **sizes):
            self.sizes = sizes
            self.info.splits = {
                name: SimpleNamespace(num_examples=size) for name, size in sizes.items()
            }

        def as_dataset(self, *, split, shuffle_files, as_supervised):
            labels = np.arange(self.sizes[split]) % 2
            return tf.data.Dataset.from_tensor_slices((PICTURES[: len(labels)], labels))

    request = Request("some/pictures")
    every = _tfds.read(Made(train=9, validation=2, test=3), request, source="prepared")
    assert (len(every.train), len(every.validation), len(every.test)) == (9, 2, 3)
    two = _tfds.read(Made(train=9, validation=2), request, source="prepared")
    assert (len(two.test), two.validation) == (2, None)
