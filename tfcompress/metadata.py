"""Checks what an exported file's metadata says about preprocessing and labels.

Used where a file is written and where it is read. Does not know where the record stands in a file.
No TensorFlow here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfcompress.preprocessing import Preprocessing


def preprocessing_of(record: Any, *, name: str) -> Preprocessing:
    """The preprocessing that a metadata record holds, checked.

    Args:
      record: what stands under `preprocessing`.
      name: what the message calls the record.

    Raises:
      ValueError: a key is missing, or a value has another type or is not finite.
    """
    try:
        found = Preprocessing.from_dict(record)
        sizes_fit = all(type(size) is int for size in found.image_shape)
        numbers_fit = bool(np.isfinite([*found.scale, *found.offset]).all())
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        sizes_fit, numbers_fit, reason = False, False, f" ({type(error).__name__}: {error})"
    else:
        reason = ""
    if not (sizes_fit and numbers_fit):
        raise ValueError(
            f"{name} holds no usable preprocessing{reason}. Expected image_shape [height, width, "
            "channels], scale and offset as lists of finite numbers, and channel_order rgb or bgr. "
            f"Received: {record!r}."
        )
    return found


def labels_of(record: Any, *, name: str) -> tuple[str, ...]:
    """The label names that a metadata record holds, checked.

    Args:
      record: what stands under `labels`.
      name: what the message calls the record.

    Raises:
      ValueError: no list of strings, or a name that stands there twice.
    """
    if not isinstance(record, list | tuple) or not all(isinstance(x, str) for x in record):
        raise ValueError(
            f"{name} holds no usable labels. Expected a list of names in label order. "
            f"Received: {record!r}."
        )
    if len(set(record)) < len(record):
        repeated = sorted({label for label in record if record.count(label) > 1})
        raise ValueError(
            f"{name} has labels that name two classes alike: {', '.join(map(repr, repeated))}. "
            "Give each class a name of its own."
        )
    return tuple(map(str, record))
