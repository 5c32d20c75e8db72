"""How operators make their layers: the name, the type, and the refusal of what has no layer.

Does not know which operators there are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcompress._keras import keras, tf

Naming = Callable[[str], str]
"""Gives a layer's name that is not taken, made from the one that it is given."""


class UnsupportedOperator(ValueError):
    """An operator, or a way of using one, for which there is no plain layer."""


@dataclass(frozen=True)
class Make:
    """Makes the layers of one operator.

    Attributes:
      operator: its name, for refusals.
      naming: gives layers their names; None leaves that to Keras.
    """

    operator: str
    naming: Naming | None = None

    def __call__(self, layer_class: Any, *args: Any, like: Any, **settings: Any) -> Any:
        """A new layer that computes in the type of the tensor `like`."""
        settings.setdefault("dtype", like.dtype.name)
        if self.naming is not None:
            settings["name"] = self.naming(snake_case(layer_class.__name__))
        return layer_class(*args, **settings)

    def refusal(self, reason: str) -> UnsupportedOperator:
        """The error to raise where a use of the operator has no layer."""
        return UnsupportedOperator(f"The operator {self.operator!r} {reason}")


def snake_case(name: str) -> str:
    """The form in which Keras names layers after their classes.

    Example:
      >>> snake_case("GlobalAveragePooling2D")
      'global_average_pooling2d'
    """
    words = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def is_tensor(value: Any) -> bool:
    """Whether this is a tensor of a model, not a constant."""
    return tf.is_tensor(value) and bool(keras.backend.is_keras_tensor(value))


def array(make: Make, value: Any) -> np.ndarray:
    """The values of a constant.

    Raises:
      UnsupportedOperator: it is a variable, which a layer would have to own, or no number.
    """
    if isinstance(value, tf.Variable):
        raise make.refusal(
            f"takes the variable {value.name!r}, which belongs to no layer: it would be neither "
            "trained nor saved. Put it into a layer of your own that creates it with add_weight."
        )
    try:
        values = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise make.refusal(f"takes {value!r}, which is no constant.") from error
    if values.dtype.kind not in "fiub" and values.dtype.name != "bfloat16":
        raise make.refusal(f"takes {value!r}, which is no number.")
    return values


def per_channel(make: Make, value: Any, *, like: Any) -> float | list[float]:
    """A constant as a number, or as a list with one number for each channel of `like`.

    Raises:
      UnsupportedOperator: it varies along another axis than the channels.
    """
    values = array(make, value).astype(np.float64)
    if values.size == 1 and values.ndim <= len(like.shape):
        return float(values.reshape(()))
    channels = like.shape[-1]
    if values.size != values.shape[-1] or values.ndim > len(like.shape) or len(values) == 0:
        raise make.refusal(
            f"takes a constant of shape {values.shape} with a tensor of shape {like.shape}. "
            "A constant may be one number, or one for each channel (the last axis)."
        )
    if values.size != channels:
        raise make.refusal(
            f"takes {values.size} constants with a tensor of {channels} channels, of shape "
            f"{like.shape}. Expected one number, or one for each channel."
        )
    return values.reshape(-1).tolist()


def require_float(make: Make, tensor: Any) -> None:
    """Refuses arithmetic on integers, which layers do not compute.

    Raises:
      UnsupportedOperator: the message says to cast.
    """
    if not tensor.dtype.is_floating:
        raise make.refusal(
            f"computes on a tensor of type {tensor.dtype.name}. Cast it to float32 first."
        )


def axes(make: Make, axis: Any, rank: int) -> tuple[int, ...]:
    """Axes as a sorted tuple of numbers from 0, None standing for all of them.

    Raises:
      UnsupportedOperator: an axis is no number that is known when the model is built, or out of
        range.
    """
    if axis is None:
        return tuple(range(rank))
    if is_tensor(axis):
        raise make.refusal("takes an axis that is computed in the model. Write it as a number.")
    listed = [int(item) for item in np.ravel(np.asarray(axis))]
    if any(not -rank <= item < rank for item in listed):
        raise make.refusal(f"takes axis {axis} of a tensor with {rank} axes.")
    return tuple(sorted({item % rank for item in listed}))


def beyond_batch(make: Make, axis: Any, rank: int) -> tuple[int, ...]:
    """Like `axes`, and refuses the batch axis.

    Raises:
      UnsupportedOperator: the batch axis is among them.
    """
    found = axes(make, axis, rank)
    if 0 in found:
        raise make.refusal(
            f"works along the batch axis (axis {axis}), so that the examples of a batch are not "
            "independent of each other. Take axes from 1 on."
        )
    return found
