"""Layers for operators that move values and compute none: shapes, parts, joins, borders, sizes.

All of them leave the batch axis where it is: an operator that does not is refused.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfcompress._keras import keras
from tfcompress.graph.activations import cast
from tfcompress.graph.making import Make, axes, beyond_batch, is_tensor, require_float

_CHANNELS_LAST = {"data_format": "channels_last"}


def reshape(make: Make, x: Any, newshape: Sequence[Any]) -> Any:
    """The values in another shape.

    Args:
      make: makes the layer.
      x: the tensor.
      newshape: lengths of all axes, the batch's first; -1 or None for one that follows from the
        others.
    """
    if is_tensor(newshape) or any(is_tensor(length) for length in newshape):
        raise make.refusal(
            "takes a shape that is computed in the model and not known when it is built. Write the "
            "lengths as numbers, -1 for the batch."
        )
    batch, *rest = (None if length in (None, -1) else int(length) for length in newshape)
    if batch is not None and batch != x.shape[0]:
        raise make.refusal(
            f"turns the shape {x.shape} into {tuple(newshape)}, which fixes or changes the batch. "
            "Write -1 as its first length."
        )
    values = math.prod(x.shape[1:]) if None not in x.shape[1:] else None
    lengths = [length for length in rest if length is not None]
    if len(lengths) == len(rest) and math.prod(lengths) != values:
        raise make.refusal(
            f"turns the shape {x.shape} into {tuple(newshape)}, which moves values between the "
            "batch and other axes."
        )
    if len(rest) - len(lengths) > 1:
        raise make.refusal(f"leaves more than one length of {tuple(newshape)} open.")
    return _reshaped(make, x, [-1 if length is None else length for length in rest])


def flatten(make: Make, x: Any) -> Any:
    """All values of an example along one axis."""
    return make(keras.layers.Flatten, like=x, **_CHANNELS_LAST)(x)


def transpose(make: Make, x: Any, axes: Sequence[int] | None = None) -> Any:
    """The axes in another order; None reverses them."""
    rank = len(x.shape)
    order = [axis % rank for axis in axes] if axes is not None else list(range(rank))[::-1]
    if order[0] != 0:
        raise make.refusal(f"moves the batch axis (axes={axes}). Keep 0 the first.")
    if order == list(range(rank)):
        return x
    return make(keras.layers.Permute, order[1:], like=x)(x)


def expand_dims(make: Make, x: Any, axis: Any) -> Any:
    """The tensor with a new axis of length 1."""
    rank = len(x.shape) + 1
    (position,) = beyond_batch(make, axis, rank)
    key: list[Any] = [slice(None)] * (rank - 1)
    key.insert(position, None)
    return getitem(make, x, tuple(key))


def squeeze(make: Make, x: Any, axis: Any = None) -> Any:
    """The tensor without axes of length 1; None takes all of them but the batch."""
    rank = len(x.shape)
    if axis is None:
        dropped: tuple[int, ...] = tuple(i for i in range(1, rank) if x.shape[i] == 1)
        if x.shape[0] == 1:
            raise make.refusal("drops the batch, whose length is 1. Name the axes to drop.")
    else:
        dropped = beyond_batch(make, axis, rank)
    return getitem(make, x, tuple(0 if i in dropped else slice(None) for i in range(rank)))


def getitem(make: Make, x: Any, key: Any) -> Any:
    """`x[key]`, as Python's indexing with numbers, slices, None and `...`.

    A slice may be written as a dictionary with `start`, `stop` and `step`.
    """
    from tfcompress.graph import _layers

    batch, *parts = _parts(make, key, rank=len(x.shape))
    if batch != [None, None, None]:
        raise make.refusal(f"takes part of the batch: {key!r}. Begin it with `:`.")
    target, takes_all = _target(x, parts)
    if not takes_all or target.count(-1) > 1:
        return make(_layers.Slice, parts, like=x)(x)
    return _reshaped(make, x, target)


def take_slice(make: Make, x: Any, begin: Sequence[int], size: Sequence[int]) -> Any:
    """The part that begins at `begin` and has the lengths `size`; -1 for all that is left."""
    if any(is_tensor(part) for part in (begin, size)):
        raise make.refusal("takes bounds that are computed in the model. Write them as numbers.")
    pairs = zip(begin, size, strict=True)
    ends = (
        slice(int(start) or None, None if length == -1 else int(start) + int(length))
        for start, length in pairs
    )
    return getitem(make, x, tuple(ends))


def split(make: Make, x: Any, indices_or_sections: Any, axis: int = -1) -> list[Any]:
    """Parts along one axis: so many equal ones, or cut at the given positions."""
    rank = len(x.shape)
    (along,) = beyond_batch(make, axis, rank)
    length = x.shape[along]
    if is_tensor(indices_or_sections) or length is None:
        raise make.refusal(
            f"splits the axis {axis} of a tensor of shape {x.shape} at unknown places."
        )
    if isinstance(indices_or_sections, int):
        each, left = divmod(length, indices_or_sections)
        if left:
            raise make.refusal(f"splits {length} values into {indices_or_sections} equal parts.")
        bounds = list(range(0, length + 1, each))
    else:
        bounds = [0, *map(int, indices_or_sections), length]
    before = (slice(None),) * along
    pairs = itertools.pairwise(bounds)
    return [getitem(make, x, (*before, slice(start, stop))) for start, stop in pairs]


def unstack(make: Make, x: Any, axis: int = 0) -> list[Any]:
    """The slices of length 1 along an axis, which they lack."""
    (along,) = beyond_batch(make, axis, len(x.shape))
    if x.shape[along] is None:
        raise make.refusal(f"takes apart an axis of unknown length in the shape {x.shape}.")
    before = (slice(None),) * along
    return [getitem(make, x, (*before, index)) for index in range(x.shape[along])]


def concatenate(make: Make, xs: Sequence[Any], axis: int = -1) -> Any:
    """Tensors joined along an axis that they have."""
    if any(not is_tensor(x) for x in xs):
        raise make.refusal("joins a tensor with a constant, for which there is no layer.")
    (along,) = beyond_batch(make, axis, len(xs[0].shape))
    if len(xs) == 1:
        return xs[0]
    position = -1 if along == len(xs[0].shape) - 1 else along
    return make(keras.layers.Concatenate, position, like=xs[0])(list(xs))


def stack(make: Make, xs: Sequence[Any], axis: int = 0) -> Any:
    """Tensors joined along a new axis."""
    if any(not is_tensor(x) for x in xs):
        raise make.refusal("joins a tensor with a constant, for which there is no layer.")
    (along,) = beyond_batch(make, axis, len(xs[0].shape) + 1)
    return concatenate(make, [expand_dims(make, x, along) for x in xs], along)


def pad(
    make: Make,
    x: Any,
    pad_width: Sequence[Sequence[int]],
    mode: str = "constant",
    constant_values: Any = 0,
) -> Any:
    """Values put around: `pad_width` says for each axis how many before and how many after."""
    from tfcompress.graph import _layers

    if is_tensor(pad_width):
        raise make.refusal("takes a width that is computed in the model. Write it as numbers.")
    batch, *widths = ([int(before), int(after)] for before, after in pad_width)
    if batch != [0, 0]:
        raise make.refusal("pads the batch.")
    value = float(constant_values or 0)
    mode = mode.lower()
    if len(widths) == 3 and widths[2] == [0, 0] and mode == "constant" and value == 0:
        return make(keras.layers.ZeroPadding2D, widths[:2], like=x, **_CHANNELS_LAST)(x)
    return make(_layers.Pad, widths, like=x, mode=mode, value=value)(x)


def resize(
    make: Make,
    x: Any,
    size: Sequence[int],
    interpolation: str = "bilinear",
    antialias: bool = False,
) -> Any:
    """Images in another size.

    Args:
      make: makes the layer.
      x: [batch, height, width, channels].
      size: height and width.
      interpolation: as `keras.layers.Resizing` takes it.
      antialias: not offered.
    """
    if is_tensor(size) or len(x.shape) != 4 or antialias:
        raise make.refusal(
            "has a layer for images [batch, height, width, channels], a size in numbers and no "
            f"antialiasing. Received: shape {x.shape}, size {size}, antialias={antialias}."
        )
    if interpolation != "nearest" and not x.dtype.is_floating:
        # TensorFlow computes in float32 here, and gives it.
        x = cast(make, x, "float32")
    require_float(make, x)
    height, width = (int(length) for length in size)
    if (height, width) == tuple(x.shape[1:3]):
        return x
    known = None not in x.shape[1:3] and interpolation in ("nearest", "bilinear")
    if known and not (height % x.shape[1] or width % x.shape[2]):
        factors = (height // x.shape[1], width // x.shape[2])
        settings = {"interpolation": interpolation, **_CHANNELS_LAST}
        return make(keras.layers.UpSampling2D, factors, like=x, **settings)(x)
    settings = {"interpolation": interpolation}
    return make(keras.layers.Resizing, height, width, like=x, **settings)(x)


def pooling(layer: str) -> Callable[..., Any]:
    """The operator that pools images with a layer of Keras."""

    def pool(
        make: Make, x: Any, pool_size: Any, strides: Any = None, padding: str = "valid"
    ) -> Any:
        require_float(make, x)
        if len(x.shape) != 4:
            raise make.refusal(f"pools images. Received: shape {x.shape}.")
        window, step = (_height_and_width(make, value) for value in (pool_size, strides))
        layer_class = getattr(keras.layers, layer)
        settings = {"padding": padding.lower(), **_CHANNELS_LAST}
        return make(layer_class, window, step, like=x, **settings)(x)

    return pool


def depth_to_space(make: Make, x: Any, block_size: int) -> Any:
    """Channels spread over blocks of pixels."""
    from tfcompress.graph import _layers

    return make(_layers.DepthToSpace, int(block_size), like=x)(x)


def space_to_depth(make: Make, x: Any, block_size: int) -> Any:
    """Blocks of pixels gathered into channels."""
    from tfcompress.graph import _layers

    return make(_layers.SpaceToDepth, int(block_size), like=x)(x)


def reverse(make: Make, x: Any, axis: Any) -> Any:
    """The values in the opposite order along axes."""
    turned = axes(make, axis, len(x.shape))
    parts = (slice(None, None, -1 if i in turned else None) for i in range(len(x.shape)))
    return getitem(make, x, tuple(parts))


TABLE: Mapping[str, Callable[..., Any]] = {
    "average_pool": pooling("AveragePooling2D"),
    "concatenate": concatenate,
    "depth_to_space": depth_to_space,
    "expand_dims": expand_dims,
    "flatten": flatten,
    "getitem": getitem,
    "max_pool": pooling("MaxPooling2D"),
    "pad": pad,
    "reshape": reshape,
    "resize": resize,
    "reverse": reverse,
    "slice": take_slice,
    "space_to_depth": space_to_depth,
    "split": split,
    "squeeze": squeeze,
    "stack": stack,
    "transpose": transpose,
    "unstack": unstack,
}


def _reshaped(make: Make, x: Any, target: list[int]) -> Any:
    if target == [-1 if length is None else length for length in x.shape[1:]]:
        return x
    return make(keras.layers.Reshape, target, like=x)(x)


def _parts(make: Make, key: Any, *, rank: int) -> list[Any]:
    """An index key as a list over all axes of `[start, stop, step]`, number or None."""
    listed = list(key) if isinstance(key, tuple | list) else [key]
    if any(is_tensor(item) for item in listed):
        raise make.refusal("takes an index that is computed in the model. Write it as a number.")
    given = sum(item is not None and item is not Ellipsis for item in listed)
    whole = [slice(None)] * (rank - given)
    if Ellipsis in listed:
        place = listed.index(Ellipsis)
        listed[place : place + 1] = whole
    else:
        listed += whole
    return [_part(make, item) for item in listed]


def _part(make: Make, item: Any) -> Any:
    if item is None:
        return None
    if isinstance(item, dict):
        bounds = [item["start"], item["stop"], item["step"]]
    elif isinstance(item, slice):
        bounds = [item.start, item.stop, item.step]
    else:
        return _whole_number(make, item)
    return [None if bound is None else _whole_number(make, bound) for bound in bounds]


def _whole_number(make: Make, value: Any) -> int:
    if is_tensor(value) or not hasattr(value, "__index__"):
        raise make.refusal(f"takes {value!r} as an index. Write it as a whole number.")
    return int(value)


def _target(x: Any, parts: list[Any]) -> tuple[list[int], bool]:
    """The shape after indexing if it takes every value, and whether it does."""
    target = []
    lengths = iter(x.shape[1:])
    takes_all = True
    for part in parts:
        length = 1 if part is None else next(lengths)
        if isinstance(part, int):
            takes_all &= length == 1
        else:
            target.append(-1 if length is None else length)
            takes_all &= part is None or _is_whole(part, length)
    return target, takes_all


def _is_whole(bounds: list[int | None], length: int | None) -> bool:
    start, stop, step = bounds
    return start in (None, 0) and step in (None, 1) and (stop is None or stop == length)


def _height_and_width(make: Make, value: Any) -> Any:
    """A window or stride as Keras takes it, from a number, two numbers or one for each axis."""
    if value is None or isinstance(value, int):
        return value
    listed = [int(length) for length in value]
    if len(listed) == 4 and listed[0] == listed[3] == 1:
        return listed[1:3]
    if len(listed) == 1:
        return listed[0]
    if len(listed) == 2:
        return listed
    raise make.refusal(
        f"takes a window or stride {value!r}, which is not of height and width only."
    )
