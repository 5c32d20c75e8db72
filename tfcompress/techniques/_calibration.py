"""Checks calibration examples that a user gives to a technique, images or ids of tokens.

Does not know what they are for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def require_calibration(images: Any, model: Any, *, what: str) -> None:
    """Refuses examples that a model does not take.

    Args:
      images: float32 [examples, ...], or int32 for an input of ids of tokens, or one such array for
        each input of the model.
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
        kind = np.int32 if tensor.dtype.is_integer else np.float32
        if array.dtype != kind:
            made = (
                "as Tokenizer.token_ids gives them"
                if kind is np.int32
                else "preprocessed as for training"
            )
            raise ValueError(f"{what} must be {np.dtype(kind)}, {made}. Received: {array.dtype}.")
        if not np.isfinite(array).all():
            raise ValueError(
                f"{what} must be finite. Received: {int((~np.isfinite(array)).sum())} numbers that "
                f"are NaN or infinite, of {array.size}."
            )
