"""What a measured call is fed with: random numbers, or images from the user's file, checked.

Knows shapes and types. Does not know what an image means: a file holds what the model itself reads,
preprocessed and, for an integer model, quantized.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfcompress.litert import TensorDetails
from tfcompress.random_inputs import random_values


def make_inputs(details: Sequence[TensorDetails], path: str | None) -> list[np.ndarray]:
    """The arrays of one call.

    Args:
      details: shape (batch first, where it has one) and dtype of each input of the model.
      path: a `.npy` file for a model with one input; None for random numbers, the same ones each
        time, see `random_inputs`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a file that holds no array, or one of another type, of another shape, with fewer
        images than the batch, or with NaN or infinity; a type that no numbers are drawn of.
    """
    if path is None:
        return [random_values(each.dtype, each.shape) for each in details]
    if len(details) != 1:
        raise ValueError(
            f"{path} holds the images of one input. The model has {len(details)}; leave inputs out."
        )
    return [_from_file(Path(path), details[0])]


def _from_file(path: Path, details: TensorDetails) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"No file of inputs at {path}.")
    try:
        # Mapped: what lies beyond the batch takes no memory, and a header that promises more than
        # the file holds is found out.
        found = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{path} holds no array that can be read, as numpy.save writes it: {error}"
        ) from error
    wanted = details.shape
    if found.dtype != details.dtype:
        steps = "" if details.scale is None else f", quantized with scale {details.scale:g}"
        raise ValueError(
            f"{path} holds {found.dtype}. The model reads {details.dtype}{steps}: convert the "
            "images first."
        )
    if found.shape[1:] != wanted[1:] or found.shape[:1] < wanted[:1]:
        least = f": expected at least {wanted[0]} images of {list(wanted[1:])}" if wanted else ""
        raise ValueError(
            f"{path} holds an array of shape {list(found.shape)}. The model reads "
            f"{list(wanted)}{least}."
        )
    images = np.array(found[tuple(map(slice, wanted[:1]))], order="C")
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        count = int((~np.isfinite(images)).sum())
        raise ValueError(
            f"{path} holds {count} values that are NaN or infinite among those that a call takes. "
            "Some kernels take another time for them: pass finite values."
        )
    return images
