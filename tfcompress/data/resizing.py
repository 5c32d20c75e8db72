"""Brings raw images to one stored size, before they are split and cached.

The same bilinear resize, with no antialiasing, that `Preprocessing` applies, rounded to uint8. No
TensorFlow here.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tfcompress.data.dataset import Published, Split
from tfcompress.preprocessing import resize_bilinear

_BATCH = 500


def images_to(images: np.ndarray, size: int) -> np.ndarray:
    """Resizes a batch to [n, size, size, channels].

    Args:
      images: uint8 [n, height, width, channels].
      size: height and width of the result; 0 keeps the images as they are.

    Returns:
      uint8 images.
    """
    if size == 0 or images.shape[1:3] == (size, size):
        return images
    resized = np.empty((len(images), size, size, images.shape[3]), np.uint8)
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH].astype(np.float32)
        resized[start : start + _BATCH] = np.rint(resize_bilinear(batch, size, size))
    return resized


def published_to(published: Published, size: int) -> Published:
    """A data set whose images are resized as by `images_to`.

    Raises:
      ValueError: the examples are texts, and `size` is not 0.
    """
    if size == 0:
        return published

    def resized(split: Split) -> Split:
        return Split(images_to(split.images, size), split.labels, split.ids)

    given = published.validation
    return replace(
        published,
        train=resized(published.train),
        test=resized(published.test),
        validation=None if given is None else resized(given),
    )
