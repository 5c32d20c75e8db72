"""Images from files and arrays as raw pixels: the one reader for training data and for predictions.

Knows file kinds, orientation and depth. Does not know sizes, classes or models. No TensorFlow here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tfcompress.preprocessing import check_raw_images

if TYPE_CHECKING:
    from PIL import Image

ImagePath: TypeAlias = str | os.PathLike[str]
Images: TypeAlias = np.ndarray | ImagePath | Sequence[np.ndarray | ImagePath]
"""What `Artifact.predict` takes; of a file for texts, a text or a list of them."""


def read_image(path: ImagePath) -> np.ndarray:
    """Reads an image file, such as PNG or JPEG, upright by its EXIF orientation.

    Returns:
      uint8 [height, width, 1] for a grey file, else RGB [height, width, 3]; transparency is
      dropped, and of several frames the first is read.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: no image, a broken one, one of 16 bits or more a channel, or one of so many pixels
        that Pillow takes it for an attack.
    """
    # Here, not above: only reading files needs it.
    from PIL import Image, ImageOps

    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"No image file at {path}.")
    try:
        with Image.open(file) as image:
            _require_8_bits(image)
            upright = ImageOps.exif_transpose(image)
            # It is dropped; a palette with some makes Pillow warn.
            upright.info.pop("transparency", None)
            grey = upright.mode in ("1", "L", "LA")
            pixels = np.asarray(upright.convert("L" if grey else "RGB"))
    # A broken file makes Pillow's decoders raise nearly anything, such as struct.error; a huge one
    # a plain subclass of Exception.
    except Exception as error:
        raise ValueError(
            f"{path} ({file.stat().st_size} bytes) cannot be read as an 8-bit image: {error}. "
            "Replace it or leave it out."
        ) from error
    return pixels if pixels.ndim == 3 else pixels[..., None]


def raw_batches(images: Images) -> list[np.ndarray]:
    """Images as batches that preprocessing takes; empty ones are left out.

    Args:
      images: uint8 [batch, height, width, channels] or one image [height, width, channels], the
        path of an image file, or a list of these.

    Raises:
      ValueError: what is none of these, or an image without a pixel.
      FileNotFoundError: there is no such file.
    """
    items = images if isinstance(images, list | tuple) else [images]
    batches = [_raw_batch(image) for image in items]
    return [batch for batch in batches if len(batch)]


def _raw_batch(image: object) -> np.ndarray:
    if isinstance(image, str | os.PathLike):
        return read_image(image)[None]
    if not isinstance(image, np.ndarray):
        raise ValueError(
            "predict takes a uint8 numpy array, the path of an image file, or a flat list of "
            f"these. Received: {type(image).__module__}.{type(image).__name__}. "
            "Convert it with numpy.asarray(image, 'uint8')."
        )
    batch = image[None] if image.ndim == 3 else image
    check_raw_images(batch)
    if 0 in batch.shape[1:]:
        raise ValueError(f"An image must have a pixel or more. Received: {list(image.shape)}.")
    return batch


def _require_8_bits(image: Image.Image) -> None:
    # Pillow opens a colour file of 16 bits as RGB; only how it unpacks the file tells.
    deep = any(";16" in str(tile) for tile in getattr(image, "tile", ()))
    if deep or image.mode[0] in "IF":
        kind = "of 16 bits" if deep else f"of kind {image.mode}"
        raise ValueError(f"its pixels are {kind}, not 8 bits a channel")
