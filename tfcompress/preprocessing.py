"""What happens to a raw image before a model sees it, as data and in numpy.

The same record drives the training pipeline (in TensorFlow, `data/`), the evaluation of an artifact
and the two-line use of an exported file, where it travels in the file's metadata. No TensorFlow
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

CHANNEL_ORDERS = ("rgb", "bgr")


@dataclass(frozen=True)
class Preprocessing:
    """Resize, match channels, then `pixel * scale + offset`.

    Attributes:
      image_shape: (height, width, channels) that the model takes; channels is 1 or 3.
      scale: multiplies each pixel in [0, 255]; one number for each channel, or one for all.
      offset: added after the scale; one number for each channel, or one for all.
      channel_order: `"rgb"`, or `"bgr"` for networks trained by Caffe; scale and offset are in this
        order.

    Raises:
      ValueError: a shape, channel order or length that does not fit.

    Example:
      >>> import numpy as np
      >>> unit = Preprocessing(image_shape=(2, 2, 1), scale=(1 / 255,))
      >>> float(unit.apply(np.full([1, 2, 2, 1], 255, np.uint8)).max())
      1.0
    """

    image_shape: tuple[int, int, int]
    scale: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = (0.0,)
    channel_order: str = "rgb"

    def __post_init__(self) -> None:
        shape = tuple(self.image_shape)
        if len(shape) != 3 or min(shape) < 1 or shape[2] not in (1, 3):
            raise ValueError(
                "Preprocessing.image_shape must be (height, width, channels) with 1 or 3 channels. "
                f"Received: {self.image_shape}."
            )
        if self.channel_order not in CHANNEL_ORDERS:
            raise ValueError(
                f"Preprocessing.channel_order must be one of {CHANNEL_ORDERS}. "
                f"Received: {self.channel_order!r}."
            )
        for name in ("scale", "offset"):
            if len(getattr(self, name)) not in (1, shape[2]):
                raise ValueError(
                    f"Preprocessing.{name} must hold 1 or {shape[2]} numbers. "
                    f"Received: {getattr(self, name)}."
                )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """What the model takes for each image."""
        return self.image_shape

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Brings raw images to what the model takes.

        Args:
          images: uint8 [batch, height, width, channels] in [0, 255], of any size, 1 or 3 channels
            (RGB).

        Returns:
          float32 [batch, *image_shape].

        Raises:
          ValueError: another rank or dtype, or a channel count other than 1 or 3.
        """
        check_raw_images(images)
        height, width, channels = self.image_shape
        pixels = match_channels(images, channels).astype(np.float32)
        if pixels.shape[1:3] != (height, width):
            pixels = resize_bilinear(pixels, height, width)
        if self.channel_order == "bgr":
            pixels = pixels[..., ::-1]
        return pixels * np.asarray(self.scale, np.float32) + np.asarray(self.offset, np.float32)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready record."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Preprocessing:
        """The inverse of `to_dict`."""
        return cls(
            image_shape=tuple(record["image_shape"]),
            scale=tuple(record["scale"]),
            offset=tuple(record["offset"]),
            channel_order=record["channel_order"],
        )


def check_raw_images(images: np.ndarray) -> None:
    """Raises ValueError unless `images` is uint8 [batch, height, width, 1 or 3]."""
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or images.dtype != np.uint8:
        raise ValueError(
            "Raw images must be uint8 [batch, height, width, channels] with 1 or 3 channels. "
            f"Received: {images.dtype} {list(images.shape)}."
        )


def match_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """Repeats grey to RGB, or brings RGB to grey by ITU-R BT.601 luma; keeps uint8."""
    if images.shape[-1] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=-1)
    luma = images.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.rint(luma).astype(np.uint8)[..., None]


def resize_bilinear(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear resize with half-pixel centres and no antialiasing, as `tf.image.resize` does it.

    Args:
      images: float32 [batch, height, width, channels].
      height: rows of the result.
      width: columns of the result.

    Returns:
      float32 [batch, height, width, channels].
    """
    rows_low, rows_high, rows_weight = _source_pixels(images.shape[1], height)
    columns_low, columns_high, columns_weight = _source_pixels(images.shape[2], width)
    weight = columns_weight[None, None, :, None]
    columns = images[:, :, columns_low] * (1 - weight) + images[:, :, columns_high] * weight
    weight = rows_weight[None, :, None, None]
    resized: np.ndarray = columns[:, rows_low] * (1 - weight) + columns[:, rows_high] * weight
    return resized


def _source_pixels(size: int, new_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    centres = (np.arange(new_size, dtype=np.float32) + 0.5) * (size / new_size) - 0.5
    low = np.floor(centres)
    weight = (centres - low).astype(np.float32)
    return (
        np.clip(low, 0, size - 1).astype(int),
        np.clip(low + 1, 0, size - 1).astype(int),
        weight,
    )
