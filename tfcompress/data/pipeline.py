"""Batches for training and evaluation, from uint8 arrays in memory.

The stored uint8 images are the cache; each batch is augmented, resized and scaled on the fly, by
operations over the whole batch. Knows the order and augmentation of every epoch as functions of
(seed, epoch). Without augmentation a batch is what `Preprocessing.apply` gives. Does not know
models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfcompress._keras import tf
from tfcompress.data.dataset import Split
from tfcompress.preprocessing import Preprocessing, match_channels

if TYPE_CHECKING:
    import tensorflow

_GREY = 127.5


@dataclass(frozen=True)
class AugmentationConfig:
    """Random changes to training images, drawn anew for each image and epoch.

    Attributes:
      flip: mirror left to right with probability 1/2.
      crop_padding: shift by up to this many pixels of the stored size, up or down and left or
        right; what comes in at the edge is the image mirrored there.
      cutout: side in stored pixels of a square, centred anywhere, that is painted mid-grey; 0 for
        none.
      brightness: greatest shift of all pixels, as a fraction of the full range, in [0, 1].
      contrast: the distance of each pixel from the image's mean is multiplied by a factor from
        [1 - contrast, 1 + contrast]; in [0, 1].

    Raises:
      ValueError: a value out of its range.
    """

    flip: bool = False
    crop_padding: int = 0
    cutout: int = 0
    brightness: float = 0.0
    contrast: float = 0.0

    def __post_init__(self) -> None:
        for name in ("crop_padding", "cutout"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise ValueError(
                    f"AugmentationConfig.{name} must be a number of pixels, 0 or more. "
                    f"Received: {value!r}."
                )
        for name in ("brightness", "contrast"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"AugmentationConfig.{name} must be in [0, 1]. Received: {getattr(self, name)}."
                )


def steps_per_epoch(split: Split, batch_size: int) -> int:
    """Whole batches in an epoch; at least 1.

    Raises:
      ValueError: a batch size below 1.
    """
    return max(1, len(split) // _checked(batch_size))


def train_batches(
    split: Split,
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    seed: int,
    first_epoch: int = 0,
    augmentation: AugmentationConfig | None = None,
) -> tensorflow.data.Dataset:
    """Endless shuffled batches, `steps_per_epoch` to an epoch.

    The order and augmentation of epoch e depend on `seed` and e alone: a run that goes on from
    epoch e with `first_epoch=e` sees the batches that an uninterrupted run sees. Images that fill
    no whole batch sit out that epoch; a split smaller than a batch gives one batch of all its
    images.

    Args:
      split: training images.
      preprocessing: brings them to what the model takes.
      batch_size: images in a batch, 1 or more.
      seed: 0 or more.
      first_epoch: 0-based epoch to start with.
      augmentation: None for none.

    Returns:
      tf.data.Dataset of (float32 [batch, *preprocessing.image_shape], int64 [batch]).

    Raises:
      ValueError: a batch size below 1, an empty split, or a shift as large as the image.
    """
    augmentation = augmentation or AugmentationConfig()
    _require_room(augmentation, split)
    size = min(_checked(batch_size), len(split))
    images, labels = _in_memory(split, preprocessing)

    def epoch_of_batches(epoch: Any) -> Any:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(split)), seed=tf.stack([tf.constant(seed, tf.int64), epoch])
        )
        batches = tf.data.Dataset.from_tensor_slices(order).batch(size, drop_remainder=True)
        return batches.enumerate().map(lambda step, rows: (epoch, step, rows))

    def finished(epoch: Any, step: Any, rows: Any) -> Any:
        batch = tf.gather(images, rows)
        # A third number keeps the draws of a batch apart from those that shuffle the epoch.
        draws = tf.random.experimental.stateless_fold_in(
            tf.stack([tf.constant(seed, tf.int64), epoch]), step + 1
        )
        batch = augmented(batch, augmentation, seed=draws)
        return _prepared(batch, preprocessing), tf.gather(labels, rows)

    epochs = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
    batches = epochs.flat_map(epoch_of_batches)
    return batches.map(finished, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def ordered_batches(
    split: Split, preprocessing: Preprocessing, *, batch_size: int
) -> tensorflow.data.Dataset:
    """One pass in order, the last batch as short as it comes.

    Args:
      split: images to evaluate on.
      preprocessing: brings them to what the model takes.
      batch_size: images in a batch, 1 or more.

    Returns:
      tf.data.Dataset of (float32 [batch, *preprocessing.image_shape], int64 [batch]).

    Raises:
      ValueError: a batch size below 1.
    """
    images, labels = _in_memory(split, preprocessing)
    rows = tf.data.Dataset.range(len(split)).batch(_checked(batch_size))
    batches = rows.map(
        lambda batch: (
            _prepared(tf.cast(tf.gather(images, batch), tf.float32), preprocessing),
            tf.gather(labels, batch),
        ),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return batches.prefetch(tf.data.AUTOTUNE)


def augmented(images: Any, config: AugmentationConfig, *, seed: Any) -> Any:
    """A batch with random changes, the same for the same seed.

    Args:
      images: uint8 or float32 tensor [batch, height, width, channels] in [0, 255].
      config: which changes.
      seed: two integers.

    Returns:
      float32 tensor of the same shape, in [0, 255].
    """
    seeds = tf.unstack(tf.random.split(seed, num=6), num=6)
    if config.flip or config.crop_padding:
        images = _moved(images, config, seeds=seeds[:3])
    images = tf.cast(images, tf.float32)
    count = tf.shape(images)[0]
    if config.contrast:
        low, high = 1 - config.contrast, 1 + config.contrast
        factor = tf.random.stateless_uniform([count, 1, 1, 1], seeds[3], low, high)
        mean = tf.reduce_mean(images, axis=(1, 2), keepdims=True)
        images = mean + (images - mean) * factor
    if config.brightness:
        reach = 255 * config.brightness
        images += tf.random.stateless_uniform([count, 1, 1, 1], seeds[4], -reach, reach)
    if config.contrast or config.brightness:
        images = tf.clip_by_value(images, 0, 255)
    if config.cutout:
        images = _with_hole(images, config.cutout, seed=seeds[5])
    return images


def _moved(images: Any, config: AugmentationConfig, *, seeds: list[Any]) -> Any:
    """Shift and mirror, as one choice of a source row and column for each pixel."""
    count, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
    rows = tf.tile(tf.range(height)[None], [count, 1])
    columns = tf.tile(tf.range(width)[None], [count, 1])
    if config.crop_padding:
        reach = config.crop_padding
        rows += tf.random.stateless_uniform([count, 1], seeds[0], -reach, reach + 1, tf.int32)
        columns += tf.random.stateless_uniform([count, 1], seeds[1], -reach, reach + 1, tf.int32)
        rows, columns = _mirrored_inside(rows, height), _mirrored_inside(columns, width)
        images = tf.gather(images, rows, axis=1, batch_dims=1)
    if config.flip:
        mirror = tf.random.stateless_uniform([count, 1], seeds[2]) < 0.5
        columns = tf.where(mirror, columns[:, ::-1], columns)
    return tf.gather(images, columns, axis=2, batch_dims=1)


def _mirrored_inside(positions: Any, size: int) -> Any:
    """Positions beyond an edge, reflected at the outermost pixel: -1 becomes 1."""
    return (size - 1) - tf.abs((size - 1) - tf.abs(positions))


def _with_hole(images: Any, side: int, *, seed: Any) -> Any:
    count, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
    centre = tf.random.stateless_uniform([count, 2], seed)
    top = tf.cast(centre[:, :1] * height, tf.int32) - side // 2
    left = tf.cast(centre[:, 1:] * width, tf.int32) - side // 2
    rows, columns = tf.range(height)[None], tf.range(width)[None]
    in_rows = (rows >= top) & (rows < top + side)
    in_columns = (columns >= left) & (columns < left + side)
    hole = in_rows[:, :, None, None] & in_columns[:, None, :, None]
    return tf.where(hole, _GREY, images)


def _prepared(images: Any, preprocessing: Preprocessing) -> Any:
    """`Preprocessing.apply` in TensorFlow, for float32 images with no more channels than asked."""
    height, width, channels = preprocessing.image_shape
    if images.shape[1:3] != (height, width):
        images = tf.image.resize(images, (height, width))
    if images.shape[-1] != channels:
        images = tf.image.grayscale_to_rgb(images)
    if preprocessing.channel_order == "bgr":
        images = images[..., ::-1]
    images = images * np.asarray(preprocessing.scale, np.float32)
    return images + np.asarray(preprocessing.offset, np.float32)


def _in_memory(split: Split, preprocessing: Preprocessing) -> tuple[Any, Any]:
    """The arrays as tensors in host memory, one copy for all epochs."""
    images = split.images
    if preprocessing.image_shape[2] == 1:
        # Done once, and by the same code that serves an exported file.
        images = match_channels(images, 1)
    with tf.device("CPU"):
        return tf.constant(images), tf.constant(split.labels)


def _require_room(augmentation: AugmentationConfig, split: Split) -> None:
    if augmentation.crop_padding >= min(split.images.shape[1:3]):
        raise ValueError(
            f"AugmentationConfig.crop_padding must be less than the image's height and width, "
            f"{split.images.shape[1:3]}. Received: {augmentation.crop_padding}."
        )


def _checked(batch_size: int) -> int:
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more. Received: {batch_size}.")
    return batch_size
