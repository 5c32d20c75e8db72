"""Ranges of kernels: one for each output channel, wide enough for what becomes of its bias.

Knows how TFLite stores weights and biases, and what it folds into them. Does not know where in a
model a kernel is.

Importing this module imports TensorFlow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcompress._keras import keras, tf, tfmot
from tfcompress.techniques._integer_layers import FoldedFactor
from tfcompress.techniques._quantizers import passing_gradient, shared

# A bias is an int32. Half of its range is left to the sum that it is added to.
_LARGEST_BIAS = 2.0**30
# No channel below this share of the layer's widest: XNNPACK takes no output step that is more than
# 2**32 times that of a product.
_NARROWEST_CHANNEL = 2.0**-16


class KernelRange(tfmot.quantization.keras.quantizers.Quantizer):
    """Symmetric int8 weights, with one range for each output channel or one for all.

    A channel's int32 bias is stored in steps of input step times weight step. Where the weights
    are all but zero that step is so small that the bias saturates, and the int8 file computes
    something else than the model that was trained. A range is therefore at least as wide as its
    bias needs.

    Args:
      per_channel: one range for each output channel.
      depthwise: the kernel is [height, width, channels, multiplier], else output channels are last.
    """

    def __init__(self, *, per_channel: bool, depthwise: bool) -> None:
        self._per_channel = per_channel
        self._depthwise = depthwise
        self.folding: Folding | None = None

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Makes the ranges."""
        channels = tensor_shape[-1] * (tensor_shape[-2] if self._depthwise else 1)
        extent = layer.add_weight(
            f"{name}_extent",
            shape=(channels,) if self._per_channel else (),
            initializer="zeros",
            trainable=False,
            dtype="float32",
            # Every replica has the same kernel.
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        return {"extent": extent}

    def __call__(self, inputs: Any, training: Any, weights: dict[str, Any], **kwargs: Any) -> Any:
        """Fake-quantizes a kernel, after reading its ranges in training.

        No weight lies beyond them then, and the gradient passes through all.
        """
        if training:
            return passing_gradient(inputs, self._rounded(inputs, self.measure(inputs, weights)))
        return self._rounded(inputs, tf.convert_to_tensor(weights["extent"]))

    def _rounded(self, inputs: Any, extent: Any) -> Any:
        if not self._per_channel:
            return tf.quantization.fake_quant_with_min_max_vars(
                inputs, -extent, extent, num_bits=8, narrow_range=True
            )
        flat = inputs
        if self._depthwise:
            # In this shape TFLite's converter finds the channels.
            flat = tf.reshape(inputs, self._channels_last(inputs))
        quantized = tf.quantization.fake_quant_with_min_max_vars_per_channel(
            flat, -extent, extent, num_bits=8, narrow_range=True
        )
        return tf.reshape(quantized, inputs.shape) if self._depthwise else quantized

    def measure(self, kernel: Any, weights: dict[str, Any]) -> Any:
        """Sets the ranges to what the kernel and its bias need, and gives them."""
        extent = self._extent(tf.stop_gradient(kernel))
        weights["extent"].assign(extent)
        return extent

    def _extent(self, kernel: Any) -> Any:
        if not self._per_channel:
            return _not_narrow(tf.reduce_max(tf.abs(kernel)))
        least = tf.zeros([1]) if self.folding is None else self.folding.least_extent()
        flat = tf.reshape(kernel, [-1, self._channels_last(kernel)[-1]])
        return _extents_by_channel(flat, least)

    def along(self, extent: Any, kernel: Any) -> Any:
        """The ranges in a shape that is broadcast against the kernel."""
        if not self._per_channel:
            return extent
        shape = kernel.shape[-2:] if self._depthwise else kernel.shape[-1:]
        return tf.reshape(extent, shape)

    def _channels_last(self, kernel: Any) -> list[int]:
        shape = list(kernel.shape)
        return [1, *shape[:-2], shape[-2] * shape[-1]] if self._depthwise else shape

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {"per_channel": self._per_channel, "depthwise": self._depthwise}


@dataclass(frozen=True)
class Folding:
    """What TFLite makes the int32 bias of a convolution or matrix product from.

    With the BatchNormalization `gamma * (y - mean) / sigma + beta` folded into it, a channel has
    the bias `gamma / sigma * (bias - mean + beta * sigma / gamma)`, in steps of the input's times
    `gamma / sigma` times the kernel's. `gamma / sigma` cancels.

    Attributes:
      layer: convolution or Dense.
      normalization: BatchNormalization after it, or None.
      source: quantizer of its input.
    """

    layer: Any
    normalization: Any
    source: Any

    def least_extent(self) -> Any:
        """How wide the range of each channel's weights must be for its bias to fit an int32.

        Returns:
          float32 [channels] or [1], 0 where nothing is needed.
        """
        bias = self.layer.bias if self.layer.use_bias else tf.zeros([1])
        return _least_extents(self.source.step(), bias, *self._normalization())

    def round_bias(self, extent: Any) -> None:
        """Moves each channel's bias to what the int32 can store, by half of its step at most.

        Args:
          extent: of the kernel's range, float32 [channels] or [].
        """
        step = self.source.step() * extent / 127.0
        bias = tf.cast(self._bias(), tf.float64)
        step = tf.cast(tf.where(step > 0, step, 1.0), tf.float64)
        change = tf.cast(tf.round(bias / step) * step - bias, tf.float32)
        # A channel that is switched off has no use for it.
        within = tf.abs(change) <= tf.cast(step, tf.float32)
        self.shift_bias(tf.where(within, change, 0.0))

    def shift_bias(self, change: Any) -> None:
        """Adds to each channel of what the layer gives; does nothing where it has no bias.

        Args:
          change: float32 [channels].
        """
        if isinstance(self.normalization, keras.layers.BatchNormalization):
            self.normalization.moving_mean.assign_sub(change)
        elif self.layer.use_bias:
            self.layer.bias.assign_add(change)

    def output_scale(self) -> Any:
        """By how much the BatchNormalization multiplies each channel: float32 [channels] or 1."""
        return 1.0 if self.normalization is None else _scale(self.normalization)

    def _bias(self) -> Any:
        bias = tf.convert_to_tensor(self.layer.bias) if self.layer.use_bias else tf.constant(0.0)
        return bias if self.normalization is None else bias + _folded(*self._normalization())

    def _normalization(self) -> tuple[Any, Any, Any, Any, Any]:
        """Mean, variance, gamma, beta, epsilon; those that change nothing where there is none."""
        ones, zeros, found = tf.ones([1]), tf.zeros([1]), self.normalization
        if found is None:
            return zeros, ones, ones, zeros, tf.constant(0.0)
        if isinstance(found, keras.layers.Rescaling):
            return zeros, ones, *_constants(found), tf.constant(0.0)
        if isinstance(found, FoldedFactor):
            return zeros, ones, tf.convert_to_tensor(found.factor), zeros, tf.constant(0.0)
        return (
            found.moving_mean,
            found.moving_variance,
            found.gamma if found.scale else ones,
            found.beta if found.center else zeros,
            tf.constant(found.epsilon, tf.float32),
        )


def _constants(rescaling: Any) -> tuple[Any, Any]:
    """Scale and offset of a Rescaling, float32 [channels] or [1]."""
    pair = (np.ravel(part).astype(np.float32) for part in (rescaling.scale, rescaling.offset))
    scale, offset = np.broadcast_arrays(*pair)
    return tf.constant(scale), tf.constant(offset)


def _scale(normalization: Any) -> Any:
    if isinstance(normalization, keras.layers.Rescaling):
        return _constants(normalization)[0]
    if isinstance(normalization, FoldedFactor):
        return tf.convert_to_tensor(normalization.factor)
    sigma = tf.sqrt(normalization.moving_variance + normalization.epsilon)
    return (normalization.gamma if normalization.scale else 1.0) / sigma


def _folded(mean: Any, variance: Any, gamma: Any, beta: Any, epsilon: Any) -> Any:
    sigma = tf.sqrt(variance + epsilon)
    # A channel that is switched off altogether: its weights vanish beside its bias.
    tiny = 1e-30
    gamma = tf.where(tf.abs(gamma) < tiny, tiny, gamma)
    return tf.clip_by_value(beta * sigma / gamma, -1e30, 1e30) - mean


@shared(2, 1)
def _extents_by_channel(kernel: Any, least: Any) -> Any:
    """How far the weights of each channel reach, widened to `least` and to `_NARROWEST_CHANNEL`."""
    extent = tf.reduce_max(tf.abs(kernel), axis=0)
    return tf.maximum(_not_narrow(extent), least)


def _not_narrow(extent: Any) -> Any:
    widest = tf.reduce_max(extent)
    # Of a kernel of zeros any range is exact.
    return tf.where(widest > 0, tf.maximum(extent, _NARROWEST_CHANNEL * widest), 1.0)


@shared(0, 1, 1, 1, 1, 1, 0)
def _least_extents(
    step: Any, bias: Any, mean: Any, variance: Any, gamma: Any, beta: Any, epsilon: Any
) -> Any:
    """How wide the range of each channel's weights must be for its bias to fit an int32.

    0 where the input's step is: it has seen no batch.
    """
    folded = bias + _folded(mean, variance, gamma, beta, epsilon)
    return tf.abs(folded) * tf.math.divide_no_nan(127.0 / _LARGEST_BIAS, step)
