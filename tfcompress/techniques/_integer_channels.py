"""The integer form of what multiplies and shifts channels, and of normalization.

Importing this module imports TensorFlow.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfcompress._keras import keras
from tfcompress.graph import connections
from tfcompress.graph.rebuild import Use
from tfcompress.techniques._integer_layers import ChannelMean, Rsqrt, Shift, UnitClip
from tfcompress.techniques._rewriting import AFFINE_RANKS, Rewriting, is_linear


def batch_normalization(job: Rewriting, use: Use) -> Any:
    """Part of the convolution before it, else a depthwise convolution."""
    layer, x = use.layer, use.args[0]
    if x.shape.rank not in AFFINE_RANKS or _channel_axis(layer) not in (-1, x.shape.rank - 1):
        return None
    before = connections.producer(x)
    convolution = type(before).__name__ in ("Conv2D", "DepthwiseConv2D")
    if convolution and job.only_use(use) and is_linear(before.activation):
        return use.again()
    config = {k: v for k, v in layer.get_config().items() if k not in ("name", "dtype")}
    config["axis"] = -1
    normal = job.part(use, "", type(layer), weights=layer.get_weights(), **config)
    # TFLite's converter keeps equal kernels as one tensor, and scales it by each of the
    # BatchNormalizations that follow: no two of these kernels of ones may be the same.
    job.ones += 1
    one = np.float32(1 + job.ones * 2.0**-23)
    return job.affine(use, x, "channels", scale=one, then=lambda x: normal(x, **dict(use.kwargs)))


def rescaling(job: Rewriting, use: Use) -> Any:
    """A scale and an offset of pixels or features."""
    layer, x = use.layer, use.args[0]
    if x.shape.rank not in AFFINE_RANKS or None in x.shape[1:] or not x.dtype.is_floating:
        return None
    scale, offset = np.asarray(layer.scale), np.asarray(layer.offset)
    return job.affine(use, x, "", scale=scale, offset=offset)


def normalization(job: Rewriting, use: Use) -> Any:
    """Statistics of the training data, as a scale and an offset."""
    layer, x = use.layer, use.args[0]
    if x.shape.rank not in AFFINE_RANKS or layer.invert or not x.dtype.is_floating:
        return None
    mean, variance = np.ravel(layer.mean), np.ravel(layer.variance)
    if mean.size not in (1, x.shape[-1]):
        return None
    scale = 1 / np.maximum(np.sqrt(variance), keras.backend.epsilon())
    return job.affine(use, x, "", scale=scale, offset=-mean * scale)


def channel_scale(job: Rewriting, use: Use) -> Any:
    """A trained scale of each channel."""
    x = use.args[0]
    if x.shape.rank not in AFFINE_RANKS:
        return None
    (gamma,) = use.layer.get_weights()
    return job.affine(use, x, "", scale=gamma, trainable=use.layer.trainable)


def layer_normalization(job: Rewriting, use: Use) -> Any:
    """Eight operators, the last of them a scale and an offset of each channel."""
    layer, x = use.layer, use.args[0]
    axis = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    if list(axis) not in ([-1], [x.shape.rank - 1]) or x.shape.rank not in AFFINE_RANKS:
        return None
    layers = keras.layers
    mean = job.part(use, "mean", ChannelMean)(x)
    centred = job.part(use, "centred", layers.Subtract)([x, mean])
    squares = job.part(use, "squares", layers.Multiply)([centred, centred])
    variance = job.part(use, "variance", ChannelMean)(squares)
    shifted = job.part(use, "epsilon", Shift, amount=layer.epsilon)(variance)
    inverse = job.part(use, "rsqrt", Rsqrt)(shifted)
    normal = job.part(use, "normal", layers.Multiply)([centred, inverse])
    if not (layer.scale or layer.center):
        return normal
    weights = list(layer.get_weights())
    scale = weights.pop(0) if layer.scale else 1.0
    offset = weights.pop(0) if layer.center else None
    return job.affine(use, normal, "", scale=scale, offset=offset, trainable=layer.trainable)


def hard_sigmoid(job: Rewriting, use: Use) -> Any:
    """The clipping to [0, 1] is the saturation of the integers."""
    return _gate(job, use, use.args[0], "")


def hard_swish(job: Rewriting, use: Use) -> Any:
    """A product with the hard sigmoid."""
    x = use.args[0]
    gate = _gate(job, use, x, "gate")
    return None if gate is None else job.part(use, "", keras.layers.Multiply)([x, gate])


def _gate(job: Rewriting, use: Use, x: Any, suffix: str) -> Any:
    if x.shape.rank not in AFFINE_RANKS or None in x.shape[1:]:
        return None
    line = job.affine(use, x, f"{suffix}line", scale=1 / 6, offset=0.5)
    return job.part(use, suffix, UnitClip)(line)


def _channel_axis(layer: Any) -> int:
    axis = layer.axis
    return int(axis[0] if isinstance(axis, list | tuple) and len(axis) == 1 else axis)
