"""Cross-layer equalization: channels of one tensor get ranges of like size, the outputs unchanged.

An int8 tensor has one step size, so that a channel whose values are a hundredth of another's has
two steps left. Dividing a channel by a factor where it is made, and multiplying the weights that
take it, changes nothing but its share of the steps. Works on models in integer form.

Importing this module imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcompress._keras import keras, tf
from tfcompress.graph import connections

_BATCH = 32
# A channel is multiplied by no more: one that is all but dead needs none of the steps.
_MOST = 64.0
# Nor a channel before a layer in float, where a factor costs the weights nothing.
_MOST_EVEN = 1024.0
# For what a channel reaches in texts that were not seen: two of the eight bits.
_HEADROOM_EVEN = 4.0
# Headroom below a clipping at 6 for images that were not seen.
_HEADROOM = 1.25
_LIMIT = 6.0
_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2D")
# A layer that stays in float keeps its activation, which must give k f(x) for f(k x).
_HOMOGENEOUS = ("linear", "relu")
_FACTORS = "ChannelFactor"
# The activations' part where a layer in float gives them. Of MiniLM-L6 the error is less than half
# of that with 0.5.
_SHARE_OF_FACTORS = 0.8
# Of two numbers that were drawn as float32 hardly one in 2**24 pairs is equal; where four times as
# many are, the kernel was clustered, and keeps its values. In any case where half of them are.
_CHANCE_OF_EQUALS, _MOST_EQUALS = 2.0**-22, 1 / 2
_KEEP_CHANNELS = ("Dropout", "MaxPooling2D", "SpatialDropout2D", "ZeroPadding2D")


@dataclass(frozen=True)
class _Point:
    """A tensor whose channels may be scaled.

    Attributes:
      tensor: after the activation.
      makers: the layer whose weights make it, and the BatchNormalization after that or None.
      clipped: whether the activation clips at 6.
      takers: the layers that multiply it.
    """

    tensor: Any
    makers: tuple[Any, Any]
    clipped: bool
    takers: tuple[Any, ...]


def even_out(model: Any, images: np.ndarray) -> int:
    """Gives the channels of what goes into layers in float ranges of like size.

    The file divides them in the operator that makes them, and multiplies them afterwards. Weights
    stay as they are, and the outputs the same.

    Args:
      model: in integer form, in float; changed in place.
      images: what it takes, [n, ...].

    Returns:
      How many tensors were evened out.
    """
    folded = [layer for layer in model.layers if type(layer).__name__ == "FoldedFactor"]
    if folded:
        greatest = _greatest(model, [layer.input for layer in folded], images)
        for layer, values in zip(folded, greatest, strict=True):
            share = values * _HEADROOM_EVEN / max(values.max(), np.finfo(np.float32).tiny)
            share = np.clip(share, 1 / _MOST_EVEN, 1.0)
            back = model.get_layer(layer.name.removesuffix("_evened") + "_factor")
            back.set_weights([share])
            layer.set_weights([1 / share])
    return len(folded)


def equalize_factors(model: Any, images: np.ndarray) -> int:
    """Scales the channels of what layers in float give to integer ones, as `equalize` does.

    Args:
      model: in integer form, in float; changed in place.
      images: what it takes, [n, ...].

    Returns:
      How many tensors were scaled.
    """
    return _equalized(model, images, [p for p in _points(model) if _has_factors(p)])


def equalize(model: Any, images: np.ndarray) -> int:
    """Scales the channels of a model in place.

    Behind a ReLU6, channels that reach its limit stay as they are, and others stay below it on the
    given images, with some headroom; elsewhere the outputs are the same on any images.

    Args:
      model: in integer form, in float.
      images: what it takes, float32 [n, ...].

    Returns:
      How many tensors were scaled.
    """
    return _equalized(model, images, list(_points(model)))


def _has_factors(point: _Point) -> bool:
    return type(point.makers[0]).__name__ == _FACTORS


def _equalized(model: Any, images: np.ndarray, points: Sequence[_Point]) -> int:
    if points:
        greatest = _greatest(model, [point.tensor for point in points], images)
        for point, values in zip(points, greatest, strict=True):
            _scale(point, _factors(point, values))
    return len(points)


def _points(model: Any) -> Iterator[_Point]:
    consumers = connections.consumers(model)
    for node in connections.nodes(model):
        if type(node.layer).__name__ == _FACTORS:
            takers = _takers(node.outputs, consumers)
            if takers and not any(map(_is_clustered, takers)):
                yield _Point(node.outputs, (node.layer, None), False, takers)
            continue
        if type(node.layer).__name__ not in _CONVOLUTIONS or _is_shared(node.layer):
            continue
        if getattr(node.layer.activation, "__name__", "") not in _HOMOGENEOUS:
            continue
        tensor, normalization, clipped = node.outputs, None, False
        after = _only(tensor, consumers)
        if type(after).__name__ == "BatchNormalization":
            tensor, normalization = after.output, after
            after = _only(tensor, consumers)
        if type(after).__name__ == "ReLU" and _scales_along(after):
            tensor, clipped = after.output, after.max_value is not None
        takers = _takers(tensor, consumers)
        if takers and _has_shift(node.layer, normalization):
            yield _Point(tensor, (node.layer, normalization), clipped, takers)


def _is_clustered(layer: Any) -> bool:
    kernel = layer.get_weights()[0]
    values = kernel[kernel != 0]
    equals = values.size - np.unique(values).size
    by_chance = min(_CHANCE_OF_EQUALS * values.size**2, _MOST_EQUALS * values.size)
    return bool(equals > by_chance)


def _only(tensor: Any, consumers: Mapping[int, Sequence[Any]]) -> Any:
    taking = consumers.get(id(tensor), [])
    if len(taking) != 1 or taking[0] is None or _is_shared(taking[0].layer):
        return None
    return taking[0].layer


def _is_shared(layer: Any) -> bool:
    """Whether it is called on other tensors, too, whose channels would be scaled with these."""
    return len(layer._inbound_nodes) > 1


def _scales_along(relu: Any) -> bool:
    """Whether an activation multiplies its output where its input is multiplied, up to 6."""
    return relu.threshold == 0 and relu.max_value in (None, _LIMIT)


def _takers(tensor: Any, consumers: Mapping[int, Sequence[Any]]) -> tuple[Any, ...]:
    """The layers whose weights meet the channels; none where something else takes them too."""
    found: list[Any] = []
    for node in consumers.get(id(tensor), []):
        kind = None if node is None else type(node.layer).__name__
        reshaped = kind == "Reshape" and node.outputs.shape[-1] == tensor.shape[-1]
        if kind in _KEEP_CHANNELS or reshaped:
            behind = _takers(node.outputs, consumers)
            if not behind:
                return ()
            found += behind
        elif (
            kind in (*_CONVOLUTIONS, "Dense")
            and not _is_shared(node.layer)
            and _takes_each(node.layer)
        ):
            found.append(node.layer)
        else:
            return ()
    return tuple(found)


def _takes_each(layer: Any) -> bool:
    return layer.groups == 1 if type(layer).__name__ == "Conv2D" else True


def _has_shift(layer: Any, normalization: Any) -> bool:
    """Whether all that is added to a channel can be scaled with it."""
    if normalization is None:
        return True
    return bool(normalization.scale and normalization.center)


def _greatest(model: Any, tensors: Sequence[Any], images: np.ndarray) -> list[np.ndarray]:
    """The greatest magnitude of each channel of each tensor."""
    probe = keras.Model(model.inputs, list(tensors))
    found: list[np.ndarray] = []
    for start in range(0, len(images), _BATCH):
        outputs = tf.nest.flatten(probe(images[start : start + _BATCH], training=False))
        own = [
            tf.reduce_max(tf.abs(output), axis=list(range(output.shape.rank - 1))).numpy()
            for output in outputs
        ]
        found = [np.maximum(*pair) for pair in zip(found, own, strict=True)] if found else own
    return found


def _factors(point: _Point, values: np.ndarray) -> np.ndarray:
    """What each channel is divided by.

    Each channel of a depthwise convolution has a weight range of its own, so that the activations
    decide alone. A full convolution has one range for all inputs of an output, and the square root
    shares the difference between activations and weights. Of what a layer in float gives, the
    activations get more of it: their differences are the greater ones by far.
    """
    tiny = np.finfo(np.float32).tiny
    relative = np.maximum(values / max(values.max(), tiny), 1 / _MOST)
    full = [layer for layer in point.takers if type(layer).__name__ in ("Conv2D", "Dense")]
    if full:
        kernels = [np.abs(layer.get_weights()[0]) for layer in full]
        flat = [np.moveaxis(kernel, -2, 0).reshape(kernel.shape[-2], -1) for kernel in kernels]
        weights = np.max([kernel.max(axis=1) for kernel in flat], axis=0)
        relative_weights = np.maximum(weights / max(weights.max(), tiny), 1 / _MOST)
        part = _SHARE_OF_FACTORS if _has_factors(point) else 0.5
        relative = relative**part / relative_weights ** (1 - part)
        relative = np.clip(relative / relative.max(), 1 / _MOST, 1.0)
    if point.clipped:
        least = np.minimum(_HEADROOM * values / _LIMIT, 1.0)
        relative = np.where(values >= _LIMIT, 1.0, np.maximum(relative, least))
    return relative.astype(np.float32)


def _scale(point: _Point, factors: np.ndarray) -> None:
    layer, normalization = point.makers
    if type(layer).__name__ == _FACTORS:
        layer.set_weights([layer.get_weights()[0] / factors])
    elif normalization is None:
        kernel, *bias = layer.get_weights()
        if type(layer).__name__ == "DepthwiseConv2D":
            kernel = kernel / factors.reshape(kernel.shape[-2:])
        else:
            kernel = kernel / factors
        layer.set_weights([kernel, *(part / factors for part in bias)])
    else:
        gamma, beta, *statistics = normalization.get_weights()
        normalization.set_weights([gamma / factors, beta / factors, *statistics])
    for taker in {id(taker): taker for taker in point.takers}.values():
        kernel, *bias = taker.get_weights()
        taker.set_weights([kernel * factors[:, None], *bias])
