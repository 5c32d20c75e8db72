"""Operators on the tensors of a model, each as the plain layer that computes it.

Knows the operators by one canonical name each, which is Keras 3's where it has one. Those who read
a model translate the names that they find. The table is the allow-list: an operator that is not in
it is refused, and no function is ever looked up by a name that a file gives.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfcompress._keras import tf
from tfcompress.graph import activations, arithmetic, shaping
from tfcompress.graph.making import Make, Naming, is_tensor
from tfcompress.graph.making import UnsupportedOperator as UnsupportedOperator

_TABLE: Mapping[str, Callable[..., Any]] = {
    **activations.TABLE,
    **arithmetic.TABLE,
    **shaping.TABLE,
}

# What models compute from lengths of tensors, such as the scale of an attention.
_ON_NUMBERS: Mapping[str, Callable[..., Any]] = {
    "add": np.add,
    "cast": lambda x, dtype: np.asarray(x, dtype=tf.as_dtype(dtype).as_numpy_dtype),
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "multiply": np.multiply,
    "negative": np.negative,
    "power": np.power,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sqrt": np.sqrt,
    "square": np.square,
    "subtract": np.subtract,
}


def call(operator: str, /, *args: Any, naming: Naming | None = None, **kwargs: Any) -> Any:
    """Applies the plain layer that computes an operator.

    Args:
      operator: canonical name, one of `names()`.
      *args: what the operator is applied to: tensors of a tf_keras model and constants, in the
        order of Keras 3's `keras.ops`.
      naming: gives each new layer a free name, made from the one that it is given (the layer's
        class in snake case); None leaves the name to Keras, which numbers them.
      **kwargs: arguments by the names that they have in `keras.ops`.

    Returns:
      A tensor, or a list of them where the operator gives several. Identities return what they were
      given and make no layer. Basic arithmetic on constants alone gives a constant.

    Raises:
      UnsupportedOperator: the operator is unknown, or is used in a way that has no layer: along the
        batch axis, with a shape computed in the model, with a constant that is neither one number
        nor one for each channel.

    Example:
      >>> from tfcompress._keras import keras
      >>> images = keras.Input([8, 8, 3])
      >>> pooled = call("mean", images, axis=[1, 2])
      >>> type(pooled._keras_history.layer).__name__
      'GlobalAveragePooling2D'
    """
    make = Make(operator, naming)
    if operator not in _TABLE:
        near = difflib.get_close_matches(operator, _TABLE, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise make.refusal(
            f"has no layer.{hint} Known: {', '.join(names())}. Express it by these, or by a Keras "
            "layer."
        )
    on_tensors = any(map(is_tensor, tf.nest.flatten((args, list(kwargs.values())))))
    try:
        if on_tensors:
            return _TABLE[operator](make, *args, **kwargs)
        return _on_numbers(make, *args, **kwargs)
    except UnsupportedOperator:
        raise
    except (TypeError, ValueError) as error:
        raise make.refusal(f"was called in a way that has no layer: {error}") from error


def _on_numbers(make: Make, *args: Any, **kwargs: Any) -> Any:
    if make.operator not in _ON_NUMBERS:
        raise make.refusal(f"takes no tensor of the model. Received: {args}, {kwargs}.")
    if any(arg is None for arg in args):
        raise make.refusal(
            "computes with a length that is not known when the model is built. Give the model "
            "inputs of a fixed shape; the size of the batch may serve in a reshape alone."
        )
    return _ON_NUMBERS[make.operator](*args, **kwargs)


def is_known(operator: str) -> bool:
    """Whether there is an operator of this canonical name.

    Example:
      >>> is_known("multiply"), is_known("io.write_file")
      (True, False)
    """
    return operator in _TABLE


def names() -> tuple[str, ...]:
    """The canonical names of all operators, sorted.

    Example:
      >>> "multiply" in names()
      True
    """
    return tuple(sorted(_TABLE))
