"""Batches for training and evaluation, from arrays in memory.

The stored uint8 images are the cache; each batch is augmented, resized and scaled on the fly, by
operations over the whole batch. Knows the order and augmentation of every epoch as functions of
(seed, epoch). Without augmentation a batch is what `Preprocessing.apply` gives. Of texts a training
batch holds some of like lengths, and no padding beyond the longest. Does not know models.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfcompress._keras import tf
from tfcompress.data.dataset import Split
from tfcompress.preprocessing import Preprocessing, match_channels
from tfcompress.tokenization import LENGTH_STEP, Preparation, Tokenization

if TYPE_CHECKING:
    import tensorflow

_GREY = 127.5
_SORTED_TOGETHER = 50
"""So many batches of texts are sorted by length at once: shuffled texts still meet others."""


@dataclass(frozen=True)
class AugmentationConfig:
    """Random changes to training images, drawn anew for each image and view.

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
    preprocessing: Preparation,
    *,
    batch_size: int,
    seed: int,
    first_epoch: int = 0,
    augmentation: AugmentationConfig | None = None,
    views: int = 0,
    answers: np.ndarray | None = None,
) -> tensorflow.data.Dataset:
    """Endless shuffled batches, `steps_per_epoch` to an epoch.

    The order of epoch e depends on `seed` and e alone, and so does how an image is changed: a run
    that goes on from epoch e with `first_epoch=e` sees the batches that an uninterrupted run sees.
    Images that fill no whole batch sit out that epoch; a split smaller than a batch gives one batch
    of all its images. A batch of texts holds some of like lengths and is as long as the longest,
    rounded up to 8 tokens: padding changes no output of an encoder, and takes most of the time
    where texts are short.

    Args:
      split: training images.
      preprocessing: brings them to what the model takes.
      batch_size: images in a batch, 1 or more.
      seed: 0 or more.
      first_epoch: 0-based epoch to start with.
      augmentation: None for none.
      views: after how many epochs the changes to an image repeat; 0 for never.
      answers: what goes with each view of each image, such as a teacher's outputs: an array
        [views, n, ...]; None for nothing.

    Returns:
      tf.data.Dataset of (float32 [batch, *preprocessing.image_shape], int64 [batch]), and where
      there are answers, those of the batch. Of texts the first is int32 [batch, at most length].

    Raises:
      ValueError: a batch size below 1, an empty split, a shift as large as the image, augmentation
        of texts, or answers that are not those of the views.
    """
    augmentation = augmentation or AugmentationConfig()
    _require_room(augmentation, split)
    size = min(_checked(batch_size), len(split))
    images, labels = _in_memory(split, preprocessing)
    _require_answers(answers, views, split)
    with tf.device("CPU"):
        kept = () if answers is None else (tf.constant(answers),)

    needed = _needed(split, preprocessing)

    def epoch_of_batches(epoch: Any) -> Any:
        draws = tf.stack([tf.constant(seed, tf.int64), epoch])
        order = tf.random.experimental.stateless_shuffle(tf.range(len(split)), seed=draws)
        if needed is not None:
            order = _by_length(order, needed, batch_size=size, seed=draws)
        batches = tf.data.Dataset.from_tensor_slices(order).batch(size, drop_remainder=True)
        return batches.map(lambda rows: (epoch % views if views else epoch, rows))

    def finished(view: Any, rows: Any) -> Any:
        batch = _finished(images, rows, preprocessing, augmentation, seed=seed, view=view)
        if needed is not None:
            batch = _cut(batch, preprocessing)
        own = (tf.gather(given[view], rows) for given in kept)
        return batch, tf.gather(labels, rows), *own

    epochs = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
    batches = epochs.flat_map(epoch_of_batches)
    return batches.map(finished, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


@dataclass(frozen=True)
class View:
    """One way of changing every image of a split, as a training does in one of its epochs.

    Attributes:
      number: 0-based; of a training with `views`, epoch e has the view e modulo that.
      seed: of the training.
      augmentation: likewise.
    """

    number: int
    seed: int
    augmentation: AugmentationConfig


def ordered_batches(
    split: Split,
    preprocessing: Preparation,
    *,
    batch_size: int,
    view: View | None = None,
    by_length: bool = False,
) -> tensorflow.data.Dataset:
    """One pass in order, the last batch as short as it comes.

    Args:
      split: images to evaluate on.
      preprocessing: brings them to what the model takes.
      batch_size: images in a batch, 1 or more.
      view: how the images are changed; None for not at all.
      by_length: take texts in the order of their lengths instead, and cut each batch as
        `train_batches` does; of images nothing changes.

    Returns:
      tf.data.Dataset of (float32 [batch, *preprocessing.image_shape], int64 [batch]). Of texts the
      first is int32 [batch, length], or with `by_length` [batch, at most length].

    Raises:
      ValueError: a batch size below 1, a shift as large as the image, or augmentation of texts.
    """
    images, labels = _in_memory(split, preprocessing)
    needed = _needed(split, preprocessing) if by_length else None
    order = np.arange(len(split)) if needed is None else np.argsort(needed, kind="stable")
    rows = tf.data.Dataset.from_tensor_slices(order).batch(_checked(batch_size))
    settings = view or View(0, 0, AugmentationConfig())
    _require_room(settings.augmentation, split)

    def finished(batch: Any) -> Any:
        seen = _finished(
            images,
            batch,
            preprocessing,
            settings.augmentation,
            seed=settings.seed,
            view=settings.number,
        )
        if needed is not None:
            seen = _cut(seen, preprocessing)
        return seen, tf.gather(labels, batch)

    return rows.map(finished, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _needed(split: Split, preprocessing: Preparation) -> np.ndarray | None:
    """How many tokens each text has; None of images."""
    return preprocessing.needed(split.examples) if isinstance(preprocessing, Tokenization) else None


def _by_length(order: Any, needed: np.ndarray, *, batch_size: int, seed: Any) -> Any:
    """A shuffled order changed so that each whole batch holds texts of like lengths."""
    whole = order[: len(needed) // batch_size * batch_size]
    chunk = tf.range(tf.size(whole)) // (batch_size * _SORTED_TOGETHER)
    lengths = tf.gather(tf.constant(needed, tf.int32), whole)
    ranks = chunk * (int(needed.max()) + 1) + lengths
    batches = tf.reshape(tf.gather(whole, tf.argsort(ranks, stable=True)), [-1, batch_size])
    # A third number keeps this draw apart from the one that shuffled the texts.
    again = tf.random.experimental.stateless_fold_in(seed, 2)
    return tf.reshape(tf.random.experimental.stateless_shuffle(batches, seed=again), [-1])


def _cut(token_ids: Any, preprocessing: Preparation) -> Any:
    """A batch of texts without the padding that all of them have."""
    assert isinstance(preprocessing, Tokenization)
    used = tf.reduce_any(token_ids != preprocessing.padding_id, axis=0)
    longest = tf.reduce_max(tf.where(used, tf.range(1, preprocessing.length + 1), 1))
    return token_ids[:, : -(-longest // LENGTH_STEP) * LENGTH_STEP]


def _finished(
    examples: Any,
    rows: Any,
    preprocessing: Preparation,
    augmentation: AugmentationConfig,
    *,
    seed: int,
    view: Any,
) -> Any:
    """Some examples of a split as the model takes them."""
    if isinstance(preprocessing, Tokenization):
        return tf.gather(examples, rows)
    return _prepared(_viewed(examples, rows, augmentation, seed=seed, view=view), preprocessing)


def _viewed(
    images: Any, rows: Any, augmentation: AugmentationConfig, *, seed: int, view: Any
) -> Any:
    """Some images of a split as they are in one view, float32 in [0, 255]."""
    # A third number keeps these draws apart from those that shuffle an epoch.
    draws = tf.random.experimental.stateless_fold_in(
        tf.stack([tf.constant(seed, tf.int64), tf.cast(view, tf.int64)]), 1
    )
    return augmented(
        tf.gather(images, rows), augmentation, seed=draws, rows=rows, of=images.shape[0]
    )


def augmented(
    images: Any,
    config: AugmentationConfig,
    *,
    seed: Any,
    rows: Any = None,
    of: int | None = None,
) -> Any:
    """A batch with random changes, the same for the same seed.

    Args:
      images: uint8 or float32 tensor [batch, height, width, channels] in [0, 255].
      config: which changes.
      seed: two integers.
      rows: the place of each image among all, int [batch], on which its changes depend, whatever
        else is in the batch; None for 0, 1, ...
      of: how many images there are; None for those of the batch.

    Returns:
      float32 tensor of the same shape, in [0, 255].
    """
    count = tf.shape(images)[0]
    draws = _Draws(seed, tf.range(count) if rows is None else rows, count if of is None else of)
    if config.flip or config.crop_padding:
        images = _moved(images, config, draws)
    images = tf.cast(images, tf.float32)
    if config.contrast:
        factor = draws.uniform(3, 1 - config.contrast, 1 + config.contrast)[..., None, None]
        mean = tf.reduce_mean(images, axis=(1, 2), keepdims=True)
        images = mean + (images - mean) * factor
    if config.brightness:
        reach = 255 * config.brightness
        images += draws.uniform(4, -reach, reach)[..., None, None]
    if config.contrast or config.brightness:
        images = tf.clip_by_value(images, 0, 255)
    if config.cutout:
        images = _with_hole(images, config.cutout, draws)
    return images


class _Draws:
    """Random numbers for each image of a batch, which depend on its place among all."""

    def __init__(self, seed: Any, rows: Any, of: Any) -> None:
        self._seeds = tf.unstack(tf.random.split(seed, num=6), num=6)
        self._rows, self._of = rows, of

    def uniform(
        self, number: int, low: Any = 0.0, high: Any = 1.0, *, each: int = 1, kind: Any = None
    ) -> Any:
        """Numbers from [low, high), [batch, each]; `number` tells one use from another."""
        shape, seed = [self._of, each], self._seeds[number]
        every = tf.random.stateless_uniform(shape, seed, low, high, kind or tf.float32)
        return tf.gather(every, self._rows)


def _moved(images: Any, config: AugmentationConfig, draws: _Draws) -> Any:
    """Shift and mirror, as one choice of a source row and column for each pixel."""
    count, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
    rows = tf.tile(tf.range(height)[None], [count, 1])
    columns = tf.tile(tf.range(width)[None], [count, 1])
    if config.crop_padding:
        reach = config.crop_padding
        rows += draws.uniform(0, -reach, reach + 1, kind=tf.int32)
        columns += draws.uniform(1, -reach, reach + 1, kind=tf.int32)
        rows, columns = _mirrored_inside(rows, height), _mirrored_inside(columns, width)
        images = tf.gather(images, rows, axis=1, batch_dims=1)
    if config.flip:
        mirror = draws.uniform(2) < 0.5
        columns = tf.where(mirror, columns[:, ::-1], columns)
    return tf.gather(images, columns, axis=2, batch_dims=1)


def _mirrored_inside(positions: Any, size: int) -> Any:
    """Positions beyond an edge, reflected at the outermost pixel: -1 becomes 1."""
    return (size - 1) - tf.abs((size - 1) - tf.abs(positions))


def _with_hole(images: Any, side: int, draws: _Draws) -> Any:
    height, width = images.shape[1], images.shape[2]
    centre = draws.uniform(5, each=2)
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


def _in_memory(split: Split, preprocessing: Preparation) -> tuple[Any, Any]:
    """The arrays as tensors in host memory, one copy for all epochs."""
    if isinstance(preprocessing, Tokenization):
        with tf.device("CPU"):
            return tf.constant(preprocessing.apply(split.examples)), tf.constant(split.labels)
    images = split.images
    if preprocessing.image_shape[2] == 1:
        # Done once, and by the same code that serves an exported file.
        images = match_channels(images, 1)
    with tf.device("CPU"):
        return tf.constant(images), tf.constant(split.labels)


def _require_answers(answers: np.ndarray | None, views: int, split: Split) -> None:
    if views < 0:
        raise ValueError(f"views must be 0 or more. Received: {views}.")
    if answers is not None and (views < 1 or answers.shape[:2] != (views, len(split))):
        raise ValueError(
            f"There must be an answer to each of the {views} views of {len(split)} images. "
            f"Received: an array {list(answers.shape)}."
        )


def _require_room(augmentation: AugmentationConfig, split: Split) -> None:
    if split.is_text:
        require_plain(augmentation)
        return
    if augmentation.crop_padding >= min(split.images.shape[1:3]):
        raise ValueError(
            f"AugmentationConfig.crop_padding must be less than the image's height and width, "
            f"{split.images.shape[1:3]}. Received: {augmentation.crop_padding}."
        )


def require_plain(augmentation: AugmentationConfig) -> None:
    """Refuses changes to images where the examples are texts.

    Raises:
      ValueError: there are some; the message lists them.
    """
    asked = [
        f"{field.name}={getattr(augmentation, field.name)}"
        for field in dataclasses.fields(augmentation)
        if getattr(augmentation, field.name)
    ]
    if asked:
        raise ValueError(
            f"Augmentation changes images. Received: {', '.join(asked)}, for texts. Leave it out."
        )


def _checked(batch_size: int) -> int:
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more. Received: {batch_size}.")
    return batch_size
