"""The test images of a data set, corrupted: noise, blur, contrast, brightness, JPEG, pixels.

Eight of the corruptions of CIFAR-10-C with its published strengths, computed here. Knows what is
done to an image and how strongly; random numbers come from the image's id, so that what becomes of
an image depends on no other. Does not know what a model makes of it. No TensorFlow here.

Reference: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions
and Perturbations, ICLR 2019; the strengths are those of the authors' program for CIFAR-10-C.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from tfcompress import durable
from tfcompress.data.dataset import Dataset, Split
from tfcompress.preprocessing import check_raw_images
from tfcompress.registry import require

SEVERITIES = (1, 2, 3, 4, 5)
"""From the weakest to the strongest."""

# Images changed at once: enough to spread the cost of a call, little enough for memory.
_CHUNK = 500
# Keeps a value that is whole but for rounding from being cut to the level below it.
_ROUNDING = 1e-6

Generators = Iterator[np.random.Generator]


@dataclass(frozen=True)
class Corruption:
    """One way of corrupting images.

    Attributes:
      strengths: of the severities 1 to 5; what the number means differs.
      apply: makes of uint8 images, a strength and a random generator for each image the corrupted
        uint8 images.
    """

    strengths: tuple[float, float, float, float, float]
    apply: Callable[[np.ndarray, float, Generators], np.ndarray]


def names() -> tuple[str, ...]:
    """The corruptions there are.

    Example:
      >>> names()[:3]
      ('gaussian_noise', 'shot_noise', 'impulse_noise')
    """
    return tuple(CORRUPTIONS)


def check(name: str, severity: int) -> None:
    """Refuses a corruption or a severity that there is not.

    Raises:
      UnknownNameError: no such corruption; the message lists the known ones.
      ValueError: a severity that is none of 1 to 5.
    """
    require(name, names(), what="corruption")
    if type(severity) is not int or severity not in SEVERITIES:
        raise ValueError(
            f"A severity is a whole number from 1 (weakest) to 5. Received: {severity!r}."
        )


def corrupt(
    images: np.ndarray, ids: np.ndarray, *, name: str, severity: int, seed: int = 0
) -> np.ndarray:
    """Corrupts images as CIFAR-10-C does.

    Random numbers are drawn from (seed, name, severity, id): an image becomes the same in any
    order, batch or part of a data set. Strengths are those published for images of 32 by 32 pixels,
    whatever the size: a blur of a pixel does less to a larger image.

    Args:
      images: uint8 [n, height, width, channels] in [0, 255], 1 channel or 3 (RGB), of any size.
      ids: int64 [n], what tells one image from another, such as `Split.ids`.
      name: one of `names()`.
      severity: 1 (weakest) to 5.
      seed: 0 or more.

    Returns:
      uint8 of the same shape; the images that were given are untouched.

    Raises:
      ValueError: an unknown name or severity, a negative seed, or images or ids of another dtype or
        shape.

    Example:
      >>> images = np.full([2, 4, 4, 1], 100, np.uint8)
      >>> corrupt(images, np.arange(2), name="brightness", severity=5)[0, 0, 0].tolist()
      [176]
    """
    check(name, severity)
    _check_arrays(images, ids)
    if type(seed) is not int or seed < 0:
        raise ValueError(f"A seed is a whole number, 0 or more. Received: {seed!r}.")
    corruption = CORRUPTIONS[name]
    strength = corruption.strengths[severity - 1]
    changed = np.empty_like(images)
    for start in range(0, len(images), _CHUNK):
        part = slice(start, start + _CHUNK)
        generators = _generators(ids[part], stream=f"{seed} {name} {severity}")
        changed[part] = corruption.apply(images[part], strength, generators)
    return changed


def corrupted(dataset: Dataset, *, name: str, severity: int, seed: int = 0) -> Dataset:
    """A data set whose test images are corrupted; all else is as it was.

    Args:
      dataset: whose test split is corrupted.
      name: one of `names()`.
      severity: 1 (weakest) to 5.
      seed: of the random numbers, 0 or more.

    Raises:
      ValueError: an unknown name or severity, a negative seed, or a data set of texts.
    """
    split = dataset.test
    images = corrupt(split.images, split.ids, name=name, severity=severity, seed=seed)
    return dataclasses.replace(dataset, test=Split(images, split.labels, split.ids))


def _check_arrays(images: np.ndarray, ids: np.ndarray) -> None:
    check_raw_images(images)
    if ids.dtype != np.int64 or ids.shape != images.shape[:1]:
        raise ValueError(
            f"Ids must be int64 [{len(images)}], one for each image. "
            f"Received: {ids.dtype} {list(ids.shape)}."
        )


def _generators(ids: np.ndarray, *, stream: str) -> Generators:
    """One for each id. Philox gives a sequence of its own to each key of two 64-bit words."""
    first = int(durable.sha256(stream.encode())[:16], 16)
    for second in ids.astype(np.uint64):
        yield np.random.Generator(np.random.Philox(key=np.array([first, second], np.uint64)))


def _levels(values: np.ndarray) -> np.ndarray:
    """uint8 levels of values in [0, 1], cut off as in the authors' program, not rounded."""
    return (np.clip(values, 0, 1) * 255 + _ROUNDING).astype(np.uint8)


# Noise.


def _gaussian_noise(images: np.ndarray, scale: float, generators: Generators) -> np.ndarray:
    """Adds normal noise of a standard deviation, as a fraction of the full range."""
    noise = np.stack([generator.standard_normal(images.shape[1:]) for generator in generators])
    return _levels(images / 255 + scale * noise)


def _shot_noise(images: np.ndarray, photons: float, generators: Generators) -> np.ndarray:
    """Counts photons, of which a white pixel gives so many on average."""
    pairs = zip(images / 255, generators, strict=True)
    counts = np.stack([generator.poisson(image * photons) for image, generator in pairs])
    return _levels(counts / photons)


def _impulse_noise(images: np.ndarray, amount: float, generators: Generators) -> np.ndarray:
    """Puts black or white, equally often, in the place of a fraction of the values."""
    drawn = np.stack([generator.random(images.shape[1:]) for generator in generators])
    salted = np.where(drawn < amount, np.uint8(255), images)
    return np.where(drawn < amount / 2, np.uint8(0), salted)


# What needs no random numbers.


def _gaussian_blur(images: np.ndarray, sigma: float, generators: Generators) -> np.ndarray:
    """Blurs with a standard deviation in pixels; beyond the border its pixels go on."""
    del generators
    return _levels(ndimage.gaussian_filter(images / 255, (0, sigma, sigma, 0), mode="nearest"))


def _contrast(images: np.ndarray, factor: float, generators: Generators) -> np.ndarray:
    """Brings all values closer to the mean of their channel in the image."""
    del generators
    values = images / 255
    means = values.mean(axis=(1, 2), keepdims=True)
    return _levels((values - means) * factor + means)


def _brightness(images: np.ndarray, added: float, generators: Generators) -> np.ndarray:
    """Adds to the value V of HSV, with hue and saturation kept.

    V is the greatest of the channels, and all three are proportional to it; black becomes grey.
    """
    del generators
    colours = images / 255
    value = colours.max(axis=-1, keepdims=True)
    brighter = np.minimum(value + added, 1)
    factor = np.divide(brighter, value, out=np.zeros_like(value), where=value > 0)
    return _levels(np.where(value > 0, colours * factor, brighter))


def _jpeg(images: np.ndarray, quality: float, generators: Generators) -> np.ndarray:
    """Compresses with a JPEG quality and unpacks again."""
    del generators

    def packed_and_back(image: Image.Image) -> Image.Image:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=int(quality))
        return Image.open(stream)

    return _one_by_one(images, packed_and_back)


def _pixelate(images: np.ndarray, factor: float, generators: Generators) -> np.ndarray:
    """Makes an image smaller by a factor and as large as before again, both with a box filter."""
    del generators

    def coarser(image: Image.Image) -> Image.Image:
        small = [max(1, int(side * factor)) for side in image.size]
        return image.resize((small[0], small[1]), Image.Resampling.BOX).resize(
            image.size, Image.Resampling.BOX
        )

    return _one_by_one(images, coarser)


def _one_by_one(images: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    changed = np.empty_like(images)
    for index, pixels in enumerate(images):
        # Pillow knows grey images as matrices.
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        changed[index] = np.asarray(change(image)).reshape(pixels.shape)
    return changed


CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian_noise": Corruption((0.04, 0.06, 0.08, 0.09, 0.10), _gaussian_noise),
    "shot_noise": Corruption((500, 250, 100, 75, 50), _shot_noise),
    "impulse_noise": Corruption((0.01, 0.02, 0.03, 0.05, 0.07), _impulse_noise),
    "gaussian_blur": Corruption((0.4, 0.6, 0.7, 0.8, 1.0), _gaussian_blur),
    "contrast": Corruption((0.75, 0.5, 0.4, 0.3, 0.15), _contrast),
    "brightness": Corruption((0.05, 0.1, 0.15, 0.2, 0.3), _brightness),
    "jpeg": Corruption((80, 65, 58, 50, 40), _jpeg),
    "pixelate": Corruption((0.95, 0.9, 0.85, 0.75, 0.65), _pixelate),
}
"""By name, in the order in which they are shown."""
