"""TensorFlow Datasets, as the sources use it: a builder by name, and its splits as arrays.

Knows TFDS's quirks. Does not know who prepared the files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tfcompress._keras import tf
from tfcompress.data.dataset import Published, Split
from tfcompress.data.sources import Request, SourceUnavailableError, _tfds_texts
from tfcompress.data.texts import PublishedTexts
from tfcompress.registry import UnknownNameError

_READ_BATCH = 1000


def builder(request: Request) -> Any:
    """TFDS's builder for the data set; nothing is downloaded or written.

    Raises:
      ValueError: TFDS knows no such data set or configuration, or it is no classification of what
        was asked for, images or single texts.
    """
    tf.get_logger()  # Loads TensorFlow through the package's door before TFDS loads it.
    import tensorflow_datasets as tfds

    try:
        made = tfds.builder(request.name, data_dir=request.data_dir or None)
    except tfds.core.DatasetNotFoundError as error:
        raise UnknownNameError(f"TFDS knows no data set {request.name!r}.") from error
    if request.is_text:
        _tfds_texts.keys(made, request)
        return made
    keys, features = made.info.supervised_keys, made.info.features
    if (
        keys is None
        or len(keys) != 2
        or not isinstance(features[keys[0]], tfds.features.Image)
        or not isinstance(features[keys[1]], tfds.features.ClassLabel)
    ):
        raise ValueError(
            f"TFDS data set {request.name!r} is no image classification: expected supervised keys "
            f"(image, label). Received: {keys} of {list(features)}. For texts say --task=text "
            "(DataConfig.task)."
        )
    image = features[keys[0]]
    if image.np_dtype != np.uint8 or image.shape[-1] not in (1, 3):
        raise ValueError(
            f"Images of the TFDS data set {request.name!r} must be uint8 with 1 or 3 channels. "
            f"Received: {np.dtype(image.np_dtype).name} {image.shape}."
        )
    return made


def directory(request: Request) -> Path:
    """The TFDS directory that the request means."""
    from tensorflow_datasets.core import constants

    return Path(request.data_dir or constants.DATA_DIR).expanduser()


def prepare(made: Any, *, download_dir: str | None = None) -> None:
    """Downloads and prepares a data set with TFDS's own builder.

    TFDS writes into a folder beside the final one and renames it at the end: a killed process
    leaves no half-made data set. A second process that prepared the same one meanwhile is no error.

    Args:
      made: from `builder`.
      download_dir: where TFDS looks for, and keeps, original files; None for its default.

    Raises:
      SourceUnavailableError: a download or its checksum fails, a file has to be fetched by hand,
        the directory cannot be written, or the disk is full; the message holds TFDS's own.
    """
    import tensorflow_datasets as tfds

    # The bucket of prepared data sets is asked with retries of minutes where it cannot be reached.
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        made.download_and_prepare(download_dir=download_dir, download_config=config)
    # TFDS wraps what goes wrong within a builder in whatever it likes.
    except Exception as error:
        if not made.is_prepared():
            raise SourceUnavailableError(
                f"TFDS could not prepare it at {made.data_path} ({type(error).__name__}: {error})."
            ) from error


def read(made: Any, request: Request, *, source: str) -> Published | PublishedTexts:
    """Reads the published splits of a prepared data set into memory.

    A data set without a `test` split is tested on its published `validation` split; beside a test
    split that is the one to choose by.

    Args:
      made: from `builder`, prepared.
      request: what was asked for.
      source: recorded as the source.

    Raises:
      ValueError: no image classification, no second split, or images of several sizes and no
        image_size.
    """
    if request.is_text:
        return _tfds_texts.read(made, request, source=source)
    splits = made.info.splits
    others = [name for name in ("test", "validation") if name in splits]
    if "train" not in splits or not others:
        raise ValueError(
            f"TFDS data set {request.name!r} must have a train split, and a test or validation "
            f"split. Received: {list(splits)}. Export its images to folders and pass folder:DIR."
        )
    try:
        train, test, *more = (
            _read_split(made, split, image_size=request.image_size) for split in ("train", *others)
        )
    except tf.errors.OpError as error:
        raise ValueError(
            f"The prepared data set at {made.data_path} cannot be read ({error.message[:300]}). "
            "Delete that folder and run again."
        ) from error
    classes = tuple(made.info.features[made.info.supervised_keys[1]].names)
    return Published(
        source=source,
        classes=classes,
        train=train,
        test=test,
        validation=next(iter(more), None),
    )


def _read_split(made: Any, name: str, *, image_size: int) -> Split:
    image_key = made.info.supervised_keys[0]
    shape = made.info.features[image_key].shape
    count = made.info.splits[name].num_examples
    if image_size == 0 and None in shape:
        raise ValueError(
            f"Images of {made.info.name!r} differ in size: {shape}. Set image_size, such as 96."
        )
    data = made.as_dataset(split=name, shuffle_files=False, as_supervised=True)
    if image_size:
        data = data.map(lambda image, label: (_resized(image, image_size), label))
        shape = (image_size, image_size, shape[2])
    images = np.empty((count, *shape), np.uint8)
    labels = np.empty(count, np.int64)
    start = 0
    for image_batch, label_batch in data.batch(_READ_BATCH).as_numpy_iterator():
        stop = start + len(label_batch)
        images[start:stop], labels[start:stop] = image_batch, label_batch
        start = stop
    if start != count:
        raise ValueError(
            f"The prepared data set at {made.data_path} holds {start} images of {name}, "
            f"expected {count}. Delete that folder and run again."
        )
    return Split(images, labels, np.arange(count, dtype=np.int64))


def _resized(image: Any, size: int) -> Any:
    return tf.cast(tf.round(tf.image.resize(image, (size, size))), tf.uint8)
