"""The layers of the normal form that Keras lacks.

Each is registered with Keras under the package `tfcompress`, so that a saved model loads wherever
this module has been imported. Importing it imports TensorFlow. Does not know operators or models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfcompress._keras import keras, tf

_REDUCTIONS = {
    "mean": tf.reduce_mean,
    "sum": tf.reduce_sum,
    "max": tf.reduce_max,
    "min": tf.reduce_min,
}
_ELEMENTWISE = {
    "abs": tf.abs,
    "cos": tf.cos,
    "floor": tf.floor,
    "log": tf.math.log,
    "reciprocal": tf.math.reciprocal,
    "round": tf.round,
    "rsqrt": tf.math.rsqrt,
    "sign": tf.sign,
    "sin": tf.sin,
    "sqrt": tf.sqrt,
    # TFLite has integers for products, none for squares.
    "square": lambda x: x * x,
}
_registered = keras.saving.register_keras_serializable(package="tfcompress")


def _require(value: str, known: Mapping[str, Any], *, what: str) -> str:
    if value not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}. Received: {value!r}.")
    return value


@_registered
class HardSigmoid(keras.layers.Layer):
    """`relu6(x + 3) / 6`, the sigmoid of MobileNetV3.

    Keras 2 calls another function so: `clip(0.2 x + 0.5, 0, 1)`.
    """

    def call(self, inputs: Any) -> Any:
        """Computes the function."""
        return tf.nn.relu6(inputs + 3.0) * (1.0 / 6.0)


@_registered
class HardSwish(keras.layers.Layer):
    """`x * relu6(x + 3) / 6`, the activation of MobileNetV3."""

    def call(self, inputs: Any) -> Any:
        """Computes the function."""
        return inputs * (tf.nn.relu6(inputs + 3.0) * (1.0 / 6.0))


@_registered
class ApproximateGelu(keras.layers.Layer):
    """GELU by its approximation with tanh; the exact one is `Activation("gelu")`."""

    def call(self, inputs: Any) -> Any:
        """Computes the function."""
        return tf.nn.gelu(inputs, approximate=True)


@_registered
class ChannelScale(keras.layers.Layer):
    """Multiplies each channel (the last axis) by a trained factor, `gamma`.

    Args:
      initial: value of the factors before training.
    """

    def __init__(self, initial: float = 1.0, **settings: Any) -> None:
        super().__init__(**settings)
        self.initial = initial

    def build(self, input_shape: Any) -> None:
        """Creates the factors."""
        self.gamma = self.add_weight(
            name="gamma",
            shape=(input_shape[-1],),
            initializer=keras.initializers.Constant(self.initial),
        )
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Multiplies."""
        return inputs * self.gamma

    def get_config(self) -> dict[str, Any]:
        """What `from_config` takes."""
        return {**super().get_config(), "initial": self.initial}


@_registered
class Reduce(keras.layers.Layer):
    """Takes the mean, sum, maximum or minimum along axes.

    Args:
      kind: `"mean"`, `"sum"`, `"max"` or `"min"`.
      axis: axes from 1 on; 0, the batch, is left alone.
      keepdims: keep the axes, of length 1.
    """

    def __init__(
        self, kind: str, axis: Sequence[int], *, keepdims: bool = False, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.kind = _require(kind, _REDUCTIONS, what="Reduce.kind")
        self.axis = tuple(axis)
        self.keepdims = keepdims

    def call(self, inputs: Any) -> Any:
        """Reduces."""
        return _REDUCTIONS[self.kind](inputs, axis=self.axis, keepdims=self.keepdims)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` takes."""
        own = {"kind": self.kind, "axis": list(self.axis), "keepdims": self.keepdims}
        return {**super().get_config(), **own}


@_registered
class Elementwise(keras.layers.Layer):
    """Applies a function of one variable that is not among Keras' activations.

    Args:
      kind: its name, such as `"square"` or `"rsqrt"`.
    """

    def __init__(self, kind: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.kind = _require(kind, _ELEMENTWISE, what="Elementwise.kind")

    def call(self, inputs: Any) -> Any:
        """Applies the function."""
        return _ELEMENTWISE[self.kind](inputs)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` takes."""
        return {**super().get_config(), "kind": self.kind}


@_registered
class Power(keras.layers.Layer):
    """Raises to a constant power.

    Args:
      exponent: the power.
    """

    def __init__(self, exponent: float, **settings: Any) -> None:
        super().__init__(**settings)
        self.exponent = exponent

    def call(self, inputs: Any) -> Any:
        """Computes the power."""
        return tf.pow(inputs, tf.cast(self.exponent, inputs.dtype))

    def get_config(self) -> dict[str, Any]:
        """What `from_config` takes."""
        return {**super().get_config(), "exponent": self.exponent}


@_registered
class Clip(keras.layers.Layer):
    """Bounds values from below, from above, or both.

    Args:
      minimum: least value, None for none.
      maximum: greatest value, None for none.
    """

    def __init__(
        self, minimum: float | None = None, maximum: float | None = None, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.minimum = minimum
        self.maximum = maximum

    def call(self, inputs: Any) -> Any:
        """Bounds the values."""
        if self.maximum is not None:
            inputs = tf.minimum(inputs, tf.cast(self.maximum, inputs.dtype))
        if self.minimum is not None:
            inputs = tf.maximum(inputs, tf.cast(self.minimum, inputs.dtype))
        return inputs

    def get_config(self) -> dict[str, Any]:
        """What `from_config` takes."""
        return {**super().get_config(), "minimum": self.minimum, "maximum": self.maximum}


@_registered
class Divide(keras.layers.Layer):
    """Divides the first of two tensors by the second."""

    def call(self, inputs: Any) -> Any:
        """Divides."""
        dividend, divisor = inputs
        return dividend / divisor


@_registered
class MatMul(keras.layers.Layer):
    """Multiplies the matrices in the last two axes of two tensors.

    Args:
      transpose_a: transpose the first one's.
      transpose_b: transpose the second one's.
    """

    def __init__(
        self, *, transpose_a: bool = False, transpose_b: bool = False, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.transpose_a = transpose_a
        self.transpose_b = transpose_b

    def call(self, inputs: Any) -> Any:
        """Multiplies."""
        first, second = inputs
        return tf.matmul(first, second, transpose_a=self.transpose_a, transpose_b=self.transpose_b)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` takes."""
        own = {"transpose_a": self.transpose_a, "transpose_b": self.transpose_b}
        return {**super().get_config(), **own}


@_registered
class Slice(keras.layers.Layer):
    """Takes a part of a tensor, as Python's indexing does.

    Args:
      key: for each axis after the batch `[start, stop, step]`, or a number, which drops the axis;
        None, between them, puts in an axis of length 1. `[[None, None, -1]]` reverses the first.
    """

    def __init__(self, key: Sequence[Any], **settings: Any) -> None:
        super().__init__(**settings)
        self.key = [list(item) if isinstance(item, list | tuple) else item for item in key]

    def call(self, inputs: Any) -> Any:
        """Takes the part."""
        parts = (slice(*item) if isinstance(item, list) else item for item in self.key)
        return inputs[(slice(None), *parts)]

    def get_config(self) -> dict[str, Any]:
        """What `from_config` takes."""
        return {**super().get_config(), "key": self.key}


@_registered
class Pad(keras.layers.Layer):
    """Puts values around a tensor, along any axis but the batch.

    Args:
      paddings: for each axis after the batch how many before and how many after.
      mode: `"constant"`, `"reflect"` or `"symmetric"`.
      value: what to put in the mode `"constant"`.
    """

    def __init__(
        self,
        paddings: Sequence[Sequence[int]],
        *,
        mode: str = "constant",
        value: float = 0.0,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        known = {"constant": None, "reflect": None, "symmetric": None}
        self.paddings = [list(pair) for pair in paddings]
        self.mode = _require(mode, known, what="Pad.mode")
        self.value = value

    def call(self, inputs: Any) -> Any:
        """Puts the values around."""
        paddings = [[0, 0], *self.paddings]
        return tf.pad(inputs, paddings, mode=self.mode.upper(), constant_values=self.value)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` takes."""
        own = {"paddings": self.paddings, "mode": self.mode, "value": self.value}
        return {**super().get_config(), **own}


@_registered
class DepthToSpace(keras.layers.Layer):
    """Spreads channels over blocks of pixels, the last step of sub-pixel convolution.

    Args:
      block: height and width of a block.
    """

    def __init__(self, block: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.block = block

    def call(self, inputs: Any) -> Any:
        """Moves the values."""
        return tf.nn.depth_to_space(inputs, self.block)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` takes."""
        return {**super().get_config(), "block": self.block}


@_registered
class SpaceToDepth(keras.layers.Layer):
    """Gathers blocks of pixels into channels.

    Args:
      block: height and width of a block.
    """

    def __init__(self, block: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.block = block

    def call(self, inputs: Any) -> Any:
        """Moves the values."""
        return tf.nn.space_to_depth(inputs, self.block)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` takes."""
        return {**super().get_config(), "block": self.block}


@_registered
class StopGradient(keras.layers.Layer):
    """Passes values on; in training nothing before it learns from what comes after."""

    def call(self, inputs: Any) -> Any:
        """Passes the values on."""
        return tf.stop_gradient(inputs)


@_registered
class PositionIds(keras.layers.Layer):
    """Numbers the tokens of a sequence, int32 like the tokens: rows of a table of positions.

    Args:
      padding_id: None numbers every token, 0, 1, 2 and so on. A number is the token that fills a
        sequence up: it gets this number itself, wherever it stands, and the other tokens the
        numbers after it, `padding_id + 1` and so on, as RoBERTa has it.
    """

    def __init__(self, padding_id: int | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.padding_id = padding_id

    def call(self, inputs: Any) -> Any:
        """Numbers int32 [batch, length]."""
        if self.padding_id is None:
            return tf.range(tf.shape(inputs)[1], dtype=inputs.dtype) + tf.zeros_like(inputs)
        present = tf.cast(tf.not_equal(inputs, self.padding_id), inputs.dtype)
        return tf.cumsum(present, axis=1) * present + self.padding_id

    def get_config(self) -> dict[str, Any]:
        """What `from_config` takes."""
        return {**super().get_config(), "padding_id": self.padding_id}


@_registered
class TokenMask(keras.layers.Layer):
    """1 for the tokens of a sequence, 0 for its padding, int32 like the tokens.

    Args:
      padding_id: the token that fills a sequence up.
    """

    def __init__(self, padding_id: int = 0, **settings: Any) -> None:
        super().__init__(**settings)
        self.padding_id = padding_id

    def call(self, inputs: Any) -> Any:
        """The mask, int32 [batch, length]."""
        return tf.cast(tf.not_equal(inputs, self.padding_id), inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` takes."""
        return {**super().get_config(), "padding_id": self.padding_id}
