"""TensorFlow's operators, by the names and arguments that Keras 2 records, in canonical ones.

A functional Keras 2 model in which a user writes `x + y` or `tf.nn.silu(x)` records the TensorFlow
function as a name. Here stands which names are taken, with TensorFlow's own signatures; a name or
an argument that is not here is refused, and no function is looked up by a name that a file gives.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from tfcompress.graph import operators
from tfcompress.graph.making import Make, Naming

_BINARY = {
    "__operators__.add": "add",
    "math.add": "add",
    "math.divide": "divide",
    "math.maximum": "maximum",
    "math.minimum": "minimum",
    "math.multiply": "multiply",
    "math.pow": "power",
    "math.squared_difference": "squared_difference",
    "math.subtract": "subtract",
    "math.truediv": "divide",
}
# What their first argument is called differs; they are always called with it in its place.
_UNARY = {
    "identity": "identity",
    "keras.backend.batch_flatten": "flatten",
    "math.abs": "abs",
    "math.add_n": "add_n",
    "math.cos": "cos",
    "math.exp": "exp",
    "math.floor": "floor",
    "math.log": "log",
    "math.negative": "negative",
    "math.reciprocal": "reciprocal",
    "math.round": "round",
    "math.rsqrt": "rsqrt",
    "math.sigmoid": "sigmoid",
    "math.sign": "sign",
    "math.sin": "sin",
    "math.softplus": "softplus",
    "math.sqrt": "sqrt",
    "math.square": "square",
    "math.tanh": "tanh",
    "nn.elu": "elu",
    "nn.relu": "relu",
    "nn.relu6": "relu6",
    "nn.selu": "selu",
    "nn.sigmoid": "sigmoid",
    "nn.softplus": "softplus",
    "nn.softsign": "softsign",
    "nn.tanh": "tanh",
    "stop_gradient": "stop_gradient",
}
_REDUCTIONS = {
    "math.reduce_max": "max",
    "math.reduce_mean": "mean",
    "math.reduce_min": "min",
    "math.reduce_sum": "sum",
}
_NAMED_PADDINGS = ("SAME", "VALID")
_CHANNELS_LAST = (None, "NHWC", "channels_last")


def call(symbol: str, /, *args: Any, naming: Naming | None = None, **kwargs: Any) -> Any:
    """Applies the plain layer that computes a TensorFlow operator.

    Args:
      symbol: TensorFlow's public name without `tf.`, as in `"math.reduce_mean"`.
      *args: arguments in TensorFlow's order.
      naming: as `operators.call` takes it.
      **kwargs: arguments by TensorFlow's names.

    Raises:
      UnsupportedOperator: it has no layer, or not in this use.
    """
    make = Make(f"tf.{symbol}", naming)
    if symbol not in _TABLE:
        raise make.refusal(
            "has no layer. Express it by operators that have one, or by Keras layers. Operators "
            f"that have one: {', '.join(operators.names())}."
        )
    kwargs.pop("name", None)
    if kwargs.pop("data_format", None) not in _CHANNELS_LAST:
        raise make.refusal("takes channels first. Only channels last is taken.")
    apply = functools.partial(operators.call, naming=naming)
    try:
        return _TABLE[symbol](apply, *args, **kwargs)
    except TypeError as error:
        raise make.refusal(f"was called in a way that has no layer: {error}.") from error


def is_known(symbol: str) -> bool:
    """Whether a TensorFlow operator has a plain layer, in its usual uses.

    Example:
      >>> is_known("math.multiply"), is_known("io.write_file")
      (True, False)
    """
    return symbol in _TABLE


Apply = Callable[..., Any]


def _binary(name: str) -> Callable[..., Any]:
    return lambda apply, x, y: apply(name, x, y)


def _unary(name: str) -> Callable[..., Any]:
    return lambda apply, x: apply(name, x)


def _reduction(name: str) -> Callable[..., Any]:
    def reduce(apply: Apply, input_tensor: Any, axis: Any = None, keepdims: Any = False) -> Any:
        return apply(name, input_tensor, axis, bool(keepdims))

    return reduce


def _transpose(apply: Apply, a: Any, perm: Any = None, conjugate: bool = False) -> Any:
    return apply("transpose", a, perm)


def _split(
    apply: Apply, value: Any, num_or_size_splits: Any, axis: int = 0, num: Any = None
) -> Any:
    if isinstance(num_or_size_splits, int):
        return apply("split", value, num_or_size_splits, axis)
    sizes = [int(size) for size in num_or_size_splits]
    if -1 in sizes:
        sizes[sizes.index(-1)] = value.shape[axis] - sum(sizes) - 1
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes) - 1)]
    return apply("split", value, ends, axis)


def _unstack(apply: Apply, value: Any, num: Any = None, axis: int = 0) -> Any:
    return apply("unstack", value, axis)


def _pad(
    apply: Apply,
    tensor: Any,
    paddings: Any,
    mode: str = "CONSTANT",
    name: Any = None,
    constant_values: Any = 0,
) -> Any:
    return apply("pad", tensor, paddings, mode, constant_values)


def _squeeze(apply: Apply, input: Any, axis: Any = None, name: Any = None) -> Any:
    return apply("squeeze", input, axis)


def _softmax(apply: Apply, logits: Any, axis: Any = None) -> Any:
    return apply("softmax", logits, -1 if axis is None else axis)


def _resize(
    apply: Apply,
    images: Any,
    size: Any,
    method: str = "bilinear",
    preserve_aspect_ratio: bool = False,
    antialias: bool = False,
) -> Any:
    if preserve_aspect_ratio:
        raise TypeError("preserve_aspect_ratio=True")
    # A constant tensor stands for the size where Keras itself calls this.
    return apply("resize", images, [int(length) for length in size], method, antialias)


def _pooling(name: str) -> Callable[..., Any]:
    def pool(apply: Apply, input: Any, ksize: Any, strides: Any, padding: str) -> Any:
        if padding not in _NAMED_PADDINGS:
            raise TypeError(f"padding={padding!r}")
        return apply(name, input, ksize, strides, padding)

    return pool


def _matmul(
    apply: Apply, a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False
) -> Any:
    return apply("matmul", a, b, transpose_a, transpose_b)


def _norm(
    apply: Apply, tensor: Any, ord: Any = "euclidean", axis: Any = None, keepdims: Any = None
) -> Any:
    if ord not in ("euclidean", 2):
        raise TypeError(f"ord={ord!r}")
    return apply("norm", tensor, axis, bool(keepdims))


def _gelu(apply: Apply, features: Any, approximate: bool = False) -> Any:
    return apply("gelu", features, bool(approximate))


_TABLE: Mapping[str, Callable[..., Any]] = {
    **{symbol: _binary(name) for symbol, name in _BINARY.items()},
    **{symbol: _unary(name) for symbol, name in _UNARY.items()},
    **{symbol: _reduction(name) for symbol, name in _REDUCTIONS.items()},
    "__operators__.getitem": lambda apply, tensor, slice_spec: apply("getitem", tensor, slice_spec),
    "cast": lambda apply, x, dtype: apply("cast", x, dtype),
    "clip_by_value": lambda apply, t, clip_value_min, clip_value_max: apply(
        "clip", t, clip_value_min, clip_value_max
    ),
    "compat.v1.norm": _norm,
    "compat.v1.pad": _pad,
    "compat.v1.squeeze": _squeeze,
    "compat.v1.transpose": _transpose,
    "concat": lambda apply, values, axis: apply("concatenate", values, axis),
    "expand_dims": lambda apply, input, axis: apply("expand_dims", input, axis),
    "image.resize": _resize,
    "keras.backend.bias_add": lambda apply, x, bias: apply("add", x, bias),
    "linalg.matmul": _matmul,
    "math.l2_normalize": lambda apply, x, axis=None, epsilon=1e-12: apply(
        "l2_normalize", x, axis, epsilon
    ),
    "nn.avg_pool2d": _pooling("average_pool"),
    "nn.bias_add": lambda apply, value, bias: apply("add", value, bias),
    "nn.depth_to_space": lambda apply, input, block_size: apply(
        "depth_to_space", input, block_size
    ),
    "nn.gelu": _gelu,
    "nn.leaky_relu": lambda apply, features, alpha=0.2: apply("leaky_relu", features, alpha),
    "nn.max_pool2d": _pooling("max_pool"),
    "nn.silu": lambda apply, features: apply("silu", features),
    "nn.softmax": _softmax,
    "nn.space_to_depth": lambda apply, input, block_size: apply(
        "space_to_depth", input, block_size
    ),
    "norm": _norm,
    "pad": _pad,
    "reshape": lambda apply, tensor, shape: apply("reshape", tensor, shape),
    "reverse": lambda apply, tensor, axis: apply("reverse", tensor, axis),
    "slice": lambda apply, input_, begin, size: apply("slice", input_, begin, size),
    "split": _split,
    "squeeze": _squeeze,
    "stack": lambda apply, values, axis=0: apply("stack", values, axis),
    "transpose": _transpose,
    "unstack": _unstack,
}
