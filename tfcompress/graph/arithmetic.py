"""Layers for arithmetic: between two tensors, or between a tensor and a constant.

Recognises MobileNetV3's hard sigmoid and hard swish where they are written out as arithmetic. A
layer that is thereby left out of the result is left out of the model too: a functional model holds
only what leads to its outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfcompress._keras import keras
from tfcompress.graph.activations import clip, elementwise, hard_sigmoid, hard_swish
from tfcompress.graph.making import (
    Make,
    array,
    beyond_batch,
    is_tensor,
    per_channel,
    require_float,
)

_POWERS = {2.0: "square", 0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}


def add(make: Make, x1: Any, x2: Any) -> Any:
    """`x1 + x2`."""
    if is_tensor(x1) and is_tensor(x2):
        return _merge(make, "Add", [x1, x2])
    tensor, constant = _sides(make, x1, x2)
    return _rescaled(make, tensor, offset=per_channel(make, constant, like=tensor))


def subtract(make: Make, x1: Any, x2: Any) -> Any:
    """`x1 - x2`."""
    if is_tensor(x1) and is_tensor(x2):
        return _merge(make, "Subtract", [x1, x2])
    tensor, constant = _sides(make, x1, x2)
    value = per_channel(make, constant, like=tensor)
    if tensor is x1:
        return _rescaled(make, tensor, offset=_each(value, lambda number: -number))
    return _rescaled(make, tensor, scale=-1.0, offset=value)


def multiply(make: Make, x1: Any, x2: Any) -> Any:
    """`x1 * x2`."""
    if is_tensor(x1) and is_tensor(x2):
        source = hard_swish_source(x1, x2)
        return _merge(make, "Multiply", [x1, x2]) if source is None else hard_swish(make, source)
    tensor, constant = _sides(make, x1, x2)
    return _scaled(make, tensor, per_channel(make, constant, like=tensor))


def divide(make: Make, x1: Any, x2: Any) -> Any:
    """`x1 / x2`, never rounded to integers."""
    if is_tensor(x1) and is_tensor(x2):
        from tfcompress.graph import _layers

        _require_alike(make, [x1, x2])
        return make(_layers.Divide, like=x1)([x1, x2])
    tensor, constant = _sides(make, x1, x2)
    value = per_channel(make, constant, like=tensor)
    if tensor is x2:
        return _scaled(make, elementwise(make, tensor, "reciprocal"), value)
    if 0 in (value if isinstance(value, list) else [value]):
        raise make.refusal("divides by 0.")
    return _scaled(make, tensor, _each(value, lambda number: 1 / number))


def maximum(make: Make, x1: Any, x2: Any) -> Any:
    """The greater of each pair of values."""
    if is_tensor(x1) and is_tensor(x2):
        return _merge(make, "Maximum", [x1, x2])
    tensor, constant = _sides(make, x1, x2)
    return clip(make, tensor, constant, None)


def minimum(make: Make, x1: Any, x2: Any) -> Any:
    """The lesser of each pair of values."""
    if is_tensor(x1) and is_tensor(x2):
        return _merge(make, "Minimum", [x1, x2])
    tensor, constant = _sides(make, x1, x2)
    return clip(make, tensor, None, constant)


def negative(make: Make, x: Any) -> Any:
    """`-x`."""
    return _rescaled(make, x, scale=-1.0)


def power(make: Make, x1: Any, x2: Any) -> Any:
    """`x1 ** x2`, where the exponent is one number."""
    if not is_tensor(x1) or is_tensor(x2) or array(make, x2).size != 1:
        raise make.refusal("takes a tensor and one number as the exponent.")
    exponent = float(array(make, x2).reshape(()))
    if exponent == 1:
        return x1
    if exponent in _POWERS:
        return elementwise(make, x1, _POWERS[exponent])
    from tfcompress.graph import _layers

    require_float(make, x1)
    return make(_layers.Power, exponent, like=x1)(x1)


def add_n(make: Make, xs: Sequence[Any]) -> Any:
    """The sum of any number of tensors."""
    return xs[0] if len(xs) == 1 else _merge(make, "Add", list(xs))


def average(make: Make, xs: Sequence[Any]) -> Any:
    """The mean of any number of tensors."""
    return xs[0] if len(xs) == 1 else _merge(make, "Average", list(xs))


def squared_difference(make: Make, x1: Any, x2: Any) -> Any:
    """`(x1 - x2) ** 2`."""
    return elementwise(make, subtract(make, x1, x2), "square")


def matmul(
    make: Make, x1: Any, x2: Any, transpose_a: bool = False, transpose_b: bool = False
) -> Any:
    """Products of the matrices in the last two axes."""
    from tfcompress.graph import _layers

    if not (is_tensor(x1) and is_tensor(x2)):
        raise make.refusal("takes a constant. Put it into a Dense layer as its kernel.")
    if min(len(x1.shape), len(x2.shape)) < 3:
        raise make.refusal(
            f"takes shapes {x1.shape} and {x2.shape}: one of them has the batch for a matrix axis."
        )
    layer = make(_layers.MatMul, like=x1, transpose_a=transpose_a, transpose_b=transpose_b)
    return layer([x1, x2])


def reduction(kind: str) -> Callable[..., Any]:
    """The operator that takes the mean, sum, maximum or minimum along axes."""

    def reduce(make: Make, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        from tfcompress.graph import _layers

        rank = len(x.shape)
        along = beyond_batch(make, axis, rank)
        require_float(make, x)
        if kind == "mean" and rank == 4 and along == (1, 2):
            layer = keras.layers.GlobalAveragePooling2D
            settings = {"data_format": "channels_last", "keepdims": bool(keepdims)}
            return make(layer, like=x, **settings)(x)
        return make(_layers.Reduce, kind, along, like=x, keepdims=bool(keepdims))(x)

    return reduce


def norm(make: Make, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The Euclidean norm along axes."""
    squares = elementwise(make, x, "square")
    total = reduction("sum")(make, squares, axis, bool(keepdims))
    return elementwise(make, total, "sqrt")


def hard_swish_source(x1: Any, x2: Any) -> Any:
    """The tensor whose hard swish the product of two tensors is, or None."""
    for gate, source in ((x1, x2), (x2, x1)):
        if _made_by(gate, "HardSigmoid") and _arguments(gate)[0] is source:
            return source
    return None


TABLE: Mapping[str, Callable[..., Any]] = {
    "add": add,
    "add_n": add_n,
    "average": average,
    "divide": divide,
    "matmul": matmul,
    "max": reduction("max"),
    "maximum": maximum,
    "mean": reduction("mean"),
    "min": reduction("min"),
    "minimum": minimum,
    "multiply": multiply,
    "negative": negative,
    "norm": norm,
    "power": power,
    "squared_difference": squared_difference,
    "subtract": subtract,
    "sum": reduction("sum"),
}


def _sides(make: Make, x1: Any, x2: Any) -> tuple[Any, Any]:
    """The tensor and the constant."""
    if not (is_tensor(x1) or is_tensor(x2)):
        raise make.refusal(f"takes no tensor of the model. Received: {x1!r} and {x2!r}.")
    return (x1, x2) if is_tensor(x1) else (x2, x1)


def _each(value: float | list[float], change: Callable[[float], float]) -> float | list[float]:
    return [change(number) for number in value] if isinstance(value, list) else change(value)


def _merge(make: Make, layer: str, tensors: list[Any]) -> Any:
    _require_alike(make, tensors)
    return make(getattr(keras.layers, layer), like=tensors[0])(tensors)


def _require_alike(make: Make, tensors: list[Any]) -> None:
    """Refuses what Keras' merging layers compute otherwise, or not at all."""
    if any(not is_tensor(tensor) for tensor in tensors):
        raise make.refusal("takes constants among the tensors.")
    for tensor in tensors:
        require_float(make, tensor)
    if len({tensor.dtype for tensor in tensors}) > 1:
        types = ", ".join(tensor.dtype.name for tensor in tensors)
        raise make.refusal(f"takes tensors of different types: {types}.")
    if len({len(tensor.shape) for tensor in tensors}) > 1:
        shapes = " and ".join(str(tensor.shape) for tensor in tensors)
        raise make.refusal(
            f"takes tensors of shapes {shapes}: of different ranks, so that the batch of one meets "
            "another axis of the other. Reshape them to equal ranks first."
        )


def _rescaled(make: Make, x: Any, *, scale: Any = 1.0, offset: Any = 0.0) -> Any:
    require_float(make, x)
    return make(keras.layers.Rescaling, scale, offset, like=x)(x)


def _scaled(make: Make, x: Any, scale: float | list[float]) -> Any:
    if isinstance(scale, float) and abs(scale - 1 / 6) < 1e-6:
        gated = _hard_gate(make, x)
        if gated is not None:
            return gated
    return x if scale == 1 else _rescaled(make, x, scale=scale)


def _hard_gate(make: Make, x: Any) -> Any:
    """The hard sigmoid or hard swish that a sixth of `x` is, or None."""
    source = _shifted_relu6_of(x)
    if source is not None:
        return hard_sigmoid(make, source)
    if _made_by(x, "Multiply") and len(_arguments(x)) == 2:
        first, second = _arguments(x)
        for gate, source in ((first, second), (second, first)):
            if _shifted_relu6_of(gate) is source:
                return hard_swish(make, source)
    return None


def _shifted_relu6_of(x: Any) -> Any:
    """The tensor `t` for which `x` is `relu6(t + 3)`, or None."""
    if not _made_by(x, "ReLU"):
        return None
    relu6 = x._keras_history.layer.get_config()
    bounds = (relu6["max_value"], relu6["negative_slope"], relu6["threshold"])
    before = _arguments(x)[0]
    if bounds != (6.0, 0.0, 0.0) or not _made_by(before, "Rescaling"):
        return None
    shift = before._keras_history.layer
    is_shift = not isinstance(shift.scale, list) and not isinstance(shift.offset, list)
    return _arguments(before)[0] if is_shift and (shift.scale, shift.offset) == (1, 3) else None


def _made_by(tensor: Any, class_name: str) -> bool:
    return type(tensor._keras_history.layer).__name__ == class_name


def _arguments(tensor: Any) -> list[Any]:
    history = tensor._keras_history
    return history.layer._inbound_nodes[history.node_index].keras_inputs
