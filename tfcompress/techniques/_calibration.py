"""Checks calibration examples that a user gives to a technique. Does not know what for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def require_calibration(images: Any, model: Any, *, what: str) -> None:
    """Refuses examples that a model does not take.

    Args:
      images: float32 [examples, ...], or ids of tokens, int32 [examples, length], or one such
        array for each input of the model.
      model: functional model.
      what: the setting that holds them, for the message.

    Raises:
      ValueError: of other shapes or another type, no example, NaN or infinite numbers.
    """
    if isinstance(images, Mapping):
        raise ValueError(
            f"{what} must be an array, or a list with one for each input of the model, in the "
            f"order {', '.join(tensor.name for tensor in model.inputs)}. Received: a mapping."
        )
    arrays = list(images) if isinstance(images, list | tuple) else [images]
    expected = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    found: list[tuple[int, ...]] = [getattr(array, "shape", ()) for array in arrays]
    fits = len(found) == len(expected) and all(
        len(shape) == len(own) + 1
        and shape[0] > 0
        and all(side in (None, size) for side, size in zip(own, shape[1:], strict=True))
        for own, shape in zip(expected, found, strict=True)
    )
    if not fits or len({shape[0] for shape in found}) != 1:
        raise ValueError(
            f"{what} must hold at least one example for inputs of the shapes "
            f"{', '.join(map(str, expected))}, as one array for each. Received: "
            f"{', '.join(map(str, found))}."
        )
    for array, tensor in zip(arrays, model.inputs, strict=True):
        # Of half precision and of bytes, too, examples are float32.
        own = np.dtype(tensor.dtype.as_numpy_dtype)
        wanted = own if own == np.int32 else np.dtype(np.float32)
        if array.dtype not in (wanted, np.float32):
            raise ValueError(
                f"{what} must be {wanted}, preprocessed as for training. Received: {array.dtype}."
            )
        if not np.isfinite(array).all():
            raise ValueError(
                f"{what} must be finite. Received: {int((~np.isfinite(array)).sum())} numbers that "
                f"are NaN or infinite, of {array.size}."
            )
