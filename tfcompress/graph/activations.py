"""Layers for functions that are applied to each value, and for softmax and normalization."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tfcompress._keras import keras, tf
from tfcompress.graph.making import Make, array, axes, require_float

# Canonical name to Keras' name.
_ACTIVATIONS = {
    "elu": "elu",
    "exp": "exponential",
    "mish": "mish",
    "selu": "selu",
    "sigmoid": "sigmoid",
    "silu": "swish",
    "softplus": "softplus",
    "softsign": "softsign",
    "tanh": "tanh",
}
_ELEMENTWISE = (
    "abs",
    "cos",
    "floor",
    "log",
    "reciprocal",
    "round",
    "rsqrt",
    "sign",
    "sin",
    "sqrt",
    "square",
)
_L2_EPSILON = 1e-12


def activation(make: Make, x: Any, name: str) -> Any:
    """One of Keras' activations, by its name there."""
    require_float(make, x)
    return make(keras.layers.Activation, name, like=x)(x)


def elementwise(make: Make, x: Any, kind: str) -> Any:
    """A function of one variable that is not among Keras' activations."""
    from tfcompress.graph import _layers

    require_float(make, x)
    return make(_layers.Elementwise, kind, like=x)(x)


def relu(make: Make, x: Any, max_value: float | None = None) -> Any:
    """`max(x, 0)`, bounded by `max_value` where given."""
    require_float(make, x)
    return make(keras.layers.ReLU, max_value, like=x)(x)


def relu6(make: Make, x: Any) -> Any:
    """`min(max(x, 0), 6)`."""
    return relu(make, x, 6.0)


def leaky_relu(make: Make, x: Any, negative_slope: float = 0.2) -> Any:
    """`x` where it is positive, `negative_slope * x` elsewhere."""
    require_float(make, x)
    return make(keras.layers.LeakyReLU, float(negative_slope), like=x)(x)


def elu(make: Make, x: Any, alpha: float = 1.0) -> Any:
    """`x` where it is positive, `alpha * (exp(x) - 1)` elsewhere."""
    if alpha == 1:
        return activation(make, x, "elu")
    require_float(make, x)
    return make(keras.layers.ELU, float(alpha), like=x)(x)


def gelu(make: Make, x: Any, approximate: bool = False) -> Any:
    """GELU, exact or by its approximation with tanh."""
    if not approximate:
        return activation(make, x, "gelu")
    from tfcompress.graph import _layers

    require_float(make, x)
    return make(_layers.ApproximateGelu, like=x)(x)


def softmax(make: Make, x: Any, axis: int | None = -1) -> Any:
    """Softmax along one axis."""
    require_float(make, x)
    (along,) = axes(make, -1 if axis is None else axis, len(x.shape))
    if along == 0:
        raise make.refusal("works along the batch axis.")
    position = -1 if along == len(x.shape) - 1 else along
    return make(keras.layers.Softmax, position, like=x)(x)


def hard_sigmoid(make: Make, x: Any) -> Any:
    """`relu6(x + 3) / 6`."""
    from tfcompress.graph import _layers

    require_float(make, x)
    return make(_layers.HardSigmoid, like=x)(x)


def hard_swish(make: Make, x: Any) -> Any:
    """`x * relu6(x + 3) / 6`."""
    from tfcompress.graph import _layers

    require_float(make, x)
    return make(_layers.HardSwish, like=x)(x)


def clip(make: Make, x: Any, x_min: Any = None, x_max: Any = None) -> Any:
    """Values bounded from below and above; None for no bound."""
    from tfcompress.graph import _layers

    require_float(make, x)
    least, greatest = (_number(make, bound) for bound in (x_min, x_max))
    if least == 0:
        return relu(make, x, greatest)
    return make(_layers.Clip, least, greatest, like=x)(x)


def l2_normalize(make: Make, x: Any, axis: Any = None, epsilon: float = _L2_EPSILON) -> Any:
    """Vectors along `axis`, scaled to unit length."""
    require_float(make, x)
    along = axes(make, axis, len(x.shape))
    if epsilon != _L2_EPSILON or 0 in along:
        raise make.refusal(
            f"has a layer for epsilon={_L2_EPSILON} along axes after the batch. "
            f"Received: epsilon={epsilon}, axis={axis}."
        )
    position = list(along) if len(along) > 1 else along[0]
    return make(keras.layers.UnitNormalization, position, like=x)(x)


def cast(make: Make, x: Any, dtype: Any) -> Any:
    """Values in another floating-point type."""
    wanted = tf.as_dtype(dtype)
    if wanted == x.dtype:
        return x
    if not wanted.is_floating:
        raise make.refusal(
            f"turns {x.dtype.name} into {wanted.name}, for which there is no layer. Do this "
            "outside the model."
        )
    # Rescaling casts what it is given, and 1 and 0 change no value.
    return make(keras.layers.Rescaling, 1.0, like=x, dtype=wanted.name)(x)


def identity(make: Make, x: Any) -> Any:
    """The tensor itself."""
    return x


def stop_gradient(make: Make, x: Any) -> Any:
    """The tensor, through which no gradient passes."""
    from tfcompress.graph import _layers

    return make(_layers.StopGradient, like=x)(x)


def _number(make: Make, value: Any) -> float | None:
    if value is None:
        return None
    values = array(make, value)
    if values.size != 1:
        raise make.refusal(f"takes one number as a bound. Received the shape {values.shape}.")
    return float(values.reshape(()))


def _named(name: str, apply: Callable[..., Any]) -> Callable[..., Any]:
    return lambda make, x: apply(make, x, name)


TABLE: Mapping[str, Callable[..., Any]] = {
    **{name: _named(keras_name, activation) for name, keras_name in _ACTIVATIONS.items()},
    **{name: _named(name, elementwise) for name in _ELEMENTWISE},
    "cast": cast,
    "clip": clip,
    "elu": elu,
    "gelu": gelu,
    "hard_sigmoid": hard_sigmoid,
    "hard_swish": hard_swish,
    "identity": identity,
    "l2_normalize": l2_normalize,
    "leaky_relu": leaky_relu,
    "relu": relu,
    "relu6": relu6,
    "softmax": softmax,
    "stop_gradient": stop_gradient,
}
