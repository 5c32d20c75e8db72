"""Digits turned by random angles, whose angle is to be told: a regression on real images.

Knows how an image is turned and by how much. Does not know where the digits come from.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import ndimage

from tfcompress.data.dataset import Published, Split

LARGEST_DEGREES = 45.0
TARGETS = ("angle_degrees",)
_SEED = 20  # Of the data set, whatever the run's: the same digit is turned alike in every run.


def turned(digits: Published) -> Published:
    """Each image turned by an angle of its own, which becomes its label.

    Args:
      digits: as published; the classes are let go.

    Returns:
      The same images in the same order, with float32 labels [n, 1]: degrees in [-45, 45],
      anticlockwise, drawn uniformly by the image's id and split.
    """
    train, test = (_turned(part, number) for number, part in enumerate((digits.train, digits.test)))
    return dataclasses.replace(digits, classes=(), targets=TARGETS, train=train, test=test)


def _turned(split: Split, number: int) -> Split:
    degrees = np.array([angle(number, int(example)) for example in split.ids], np.float32)
    pairs = zip(split.examples, degrees, strict=True)
    images = np.stack([turned_image(image, float(by)) for image, by in pairs])
    return Split(images, degrees[:, None], split.ids)


def angle(split: int, example: int) -> float:
    """Degrees by which one image is turned.

    Args:
      split: 0 of the published training split, 1 of the test split.
      example: its position there.

    Example:
      >>> round(angle(0, 7), 3) == round(angle(0, 7), 3), abs(angle(1, 7)) <= 45
      (True, True)
    """
    generator = np.random.default_rng([_SEED, split, example])
    return float(generator.uniform(-LARGEST_DEGREES, LARGEST_DEGREES))


def turned_image(image: np.ndarray, degrees: float) -> np.ndarray:
    """An image turned anticlockwise about its centre, bilinear, black where nothing was.

    Args:
      image: uint8 [height, width, channels].
      degrees: by how much.

    Returns:
      uint8 of the same shape.

    Example:
      >>> image = np.zeros([3, 3, 1], np.uint8)
      >>> image[1, 2] = 200
      >>> turned_image(image, 90.0)[..., 0].tolist()
      [[0, 200, 0], [0, 0, 0], [0, 0, 0]]
    """
    values = ndimage.rotate(image.astype(np.float32), degrees, reshape=False, order=1)
    rounded: np.ndarray = np.clip(np.round(values), 0, 255).astype(np.uint8)
    return rounded
