"""The integer form of what multiplies by a kernel: convolutions and matrix products.

Does not know what becomes of a kernel (`_kernel_ranges` does).

Importing this module imports TensorFlow.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfcompress._keras import keras, tf
from tfcompress.graph import connections
from tfcompress.graph.kernels import named
from tfcompress.graph.rebuild import Use
from tfcompress.techniques._integer_layers import (
    PASSES_ON,
    ChannelFactor,
    ConstantDepthwiseConv2D,
    FoldedFactor,
)
from tfcompress.techniques._rewriting import AFFINE_RANKS, Rewriting, is_linear


def kernel(job: Rewriting, use: Use) -> Any:
    """A convolution or matrix product; its activation is a layer of its own."""
    layer = use.layer
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return None
    if max(getattr(layer, "dilation_rate", (1,))) > 1:
        # TFLite's converter leaves several operators of it, for any size of batch.
        job.passed_over[layer.name] = "dilated: no single integer operator"
        return None
    weights, scaled, x = layer.get_weights(), False, use.args[0]
    if type(layer).__name__ == "Dense":
        rank, x = x.shape.rank, _with_factors(job, use)
        units = _units_of(job, use)
        if units and not np.any(units.offset):
            # Attention's queries: a scale alone is one of the weights.
            job.done.add(units.name)
            weights, scaled = [part * np.float32(units.scale) for part in weights], True
            units = None
        evened = _only_floats_take(job, use)
        # Between layers in float the converter keeps a product along the third axis in float.
        own_ranges = job.dense_per_channel or units or evened or (job.only_kernels and rank == 3)
        if rank == 4 or (own_ranges and rank in AFFINE_RANKS):
            return _dense_as_convolution(job, use, x, weights, units, evened=evened)
    linear = is_linear(layer.activation) and layer.dtype_policy.name == "float32"
    if linear and not scaled and x is use.args[0]:
        return use.again()
    config = {k: v for k, v in layer.get_config().items() if k not in ("name", "dtype")}
    config["activation"] = None
    plain = job.part(use, "", type(layer), weights=weights, **config)
    return job.activated(use, layer.activation, plain(x))


def _with_factors(job: Rewriting, use: Use) -> Any:
    """What a layer takes, where a layer in float gives it: with a factor for each channel.

    Normalized tensors of transformers have channels that are ten times the others. Their share of
    the steps is made smaller, and the weights that take them larger, by `_equalization`.
    """
    x, source = use.args[0], use.inputs[0]
    maker = connections.producer(source)
    while type(maker).__name__ in PASSES_ON and not isinstance(maker, keras.layers.InputLayer):
        maker = connections.producer(tf.nest.flatten(maker.input)[0])
    if not job.without_weights(maker) or x.shape[-1] is None:
        return x
    if id(x) not in job.evened:
        job.evened[id(x)] = job.part(use, "in_factor", ChannelFactor)(x)
    return job.evened[id(x)]


def _units_of(job: Rewriting, use: Use) -> Any:
    """The Rescaling that alone takes what a linear layer gives, such as a regression's units.

    TFLite computes it in the layer's operator, with the same integers: a scale is free, an
    offset goes into the int32 bias. Its converter does so behind a convolution only.
    """
    takers = job.consumers[id(use.outputs)]
    if len(takers) != 1 or takers[0] is None or not is_linear(use.layer.activation):
        return None
    taker = takers[0].layer
    fits = type(taker).__name__ == "Rescaling" and np.all(np.asarray(taker.scale) != 0)
    kept = named(taker.name, job.skip) or taker.name in job.in_float
    once = len(taker._inbound_nodes) == len(use.layer._inbound_nodes) == 1
    return taker if fits and once and not kept else None


def _only_floats_take(job: Rewriting, use: Use) -> bool:
    """Whether layers in float alone take what a linear layer gives.

    In transformers a few channels of it are a hundred times the others, so that one step for all
    leaves these none: the channels are evened out before they are rounded, and brought back after.
    """

    def floats(tensor: Any) -> bool:
        return all(
            taker is not None
            and (
                all(map(floats, tf.nest.flatten(taker.outputs)))
                if type(taker.layer).__name__ in PASSES_ON
                else job.without_weights(taker.layer)
            )
            for taker in job.consumers.get(id(tensor), [])
        )

    return is_linear(use.layer.activation) and floats(use.outputs)


def _dense_as_convolution(
    job: Rewriting, use: Use, x: Any, weights: Any, units: Any, *, evened: bool
) -> Any:
    layer = use.layer
    kernel, *bias = weights
    x = job.as_image(use, x, "in")
    convolution = job.part(
        use,
        "",
        keras.layers.Conv2D,
        weights=[kernel[None, None], *bias],
        filters=layer.units,
        kernel_size=1,
        use_bias=layer.use_bias,
        trainable=layer.trainable,
    )
    x = convolution(x)
    if evened:
        x = job.part(use, "evened", FoldedFactor)(x)
    if units is not None:
        job.done.add(units.name)
        job.origin[units.name] = units.name
        x = type(units).from_config({**units.get_config(), "dtype": "float32"})(x)
    if use.args[0].shape.rank != 4:
        x = job.as_rank(use, x, "out", rank=use.args[0].shape.rank)
    if evened:
        x = job.part(use, "factor", ChannelFactor)(x)
    return job.activated(use, layer.activation, x)


def separable(job: Rewriting, use: Use) -> Any:
    """Two convolutions."""
    layer = use.layer
    if layer.data_format != "channels_last" or max(layer.dilation_rate) > 1:
        return None
    depthwise, pointwise, *bias = layer.get_weights()
    shared = {"trainable": layer.trainable}
    spatial = job.part(
        use,
        "depthwise",
        keras.layers.DepthwiseConv2D,
        weights=[depthwise],
        kernel_size=layer.kernel_size,
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
        depth_multiplier=layer.depth_multiplier,
        use_bias=False,
        **shared,
    )
    mixing = job.part(
        use,
        "",
        keras.layers.Conv2D,
        weights=[pointwise, *bias],
        filters=layer.filters,
        kernel_size=1,
        use_bias=layer.use_bias,
        **shared,
    )
    return job.activated(use, layer.activation, mixing(spatial(use.args[0])))


def average_pooling(job: Rewriting, use: Use) -> Any:
    """A convolution where a mean can lie halfway between two integers.

    TFLite keeps the steps of the input. Of an even number of integers the mean is often a half,
    which operators round in different ways.
    """
    layer, x = use.layer, use.args[0]
    if layer.data_format != "channels_last":
        return None
    window, strides = layer.pool_size, layer.strides
    size = x.shape[1:3]
    steps = zip(size, window, strides, strict=True)
    whole = layer.padding == "valid" or all(
        known and known % stride == 0 and stride >= side for known, side, stride in steps
    )
    count = window[0] * window[1]
    if count % 2 or not whole:
        return use.again()
    return job.part(
        use,
        "",
        ConstantDepthwiseConv2D,
        weights=[np.full([*window, x.shape[-1], 1], 1 / count, np.float32)],
        kernel_size=window,
        strides=strides,
        use_bias=False,
    )(x)
