"""TF-MOT quantizers that start from data.

Three kinds: ranges of activations (learned, shared by several tensors, or fixed by TFLite), and
ranges of kernels, one for each output channel. Knows how TFLite rounds; does not know where in a
model a tensor is quantized.

Importing this module imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcompress._keras import keras, tf, tfmot

# A bias is an int32. Half of its range is left to the sum that it is added to.
_LARGEST_BIAS = 2.0**30
# No channel below this share of the layer's widest: XNNPACK takes no output step that is more than
# 2**32 times that of a product.
_NARROWEST_CHANNEL = 2.0**-16

# Of values spread evenly over a step twice this share lies so near its middle.
_HALFWAY = 1e-3


Observe = Callable[["ActivationRange", Any], None]


class Calibration:
    """Whether ranges are being read from data, with no quantization of activations meanwhile."""

    def __init__(self) -> None:
        self.running = False
        self._observe: Observe | None = None

    @contextmanager
    def run(self, observe: Observe | None = None) -> Iterator[None]:
        """Shows activations to their ranges in what is called within, outside of `tf.function`.

        Args:
          observe: called for each range with the activations; by default the range moves to them.
        """
        self.running, self._observe = True, observe
        try:
            yield
        finally:
            self.running, self._observe = False, None

    def show(self, quantizer: ActivationRange, inputs: Any) -> None:
        """Shows activations to the range that is their own."""
        if self._observe:
            self._observe(quantizer, inputs)
        else:
            quantizer.move(inputs)


class ActivationRange(tfmot.quantization.keras.quantizers.Quantizer):
    """An int8 activation whose range is a running mean of the batches' extremes.

    The mean starts with the first batch. (TF-MOT starts at [-6, 6] with a decay of 0.999, so that a
    layer whose outputs span [-48, 23] stays clipped for hundreds of steps.)

    Args:
      decay: of the moving average once enough batches were seen, in [0, 1).
      calibration: shared by the quantizers of a model.
      root: whose range is used instead of an own one; None for an own one.
      of_input: whether the tensor is the model's input. Images have few values, many of which may
        lie halfway between two integers: all of them where they are scaled to [-1, 1], one in 16
        where they were enlarged. File and model would round those differently.
    """

    def __init__(
        self,
        decay: float,
        *,
        calibration: Calibration,
        root: ActivationRange | None = None,
        of_input: bool = False,
    ) -> None:
        self._decay = decay
        self.calibration = calibration
        self.of_input = of_input
        self.root = root
        self.mean_of: ActivationRange | FixedRange | None = None
        self._variables: dict[str, Any] = {}

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Makes the range and the count of batches seen, or takes those of the root."""
        del tensor_shape, name
        owner = self.root or self
        if not owner._variables:
            # Every replica comes to the same range.
            owner._variables = {
                part: layer.add_weight(
                    part,
                    initializer="zeros",
                    trainable=False,
                    dtype="float32",
                    aggregation=tf.VariableAggregation.MEAN,
                )
                for part in ("min", "max", "batches")
            }
        return owner._variables

    def __call__(self, inputs: Any, training: Any, weights: dict[str, Any], **kwargs: Any) -> Any:
        """Fake-quantizes a tensor, after moving the range in training."""
        if self.calibration.running:
            if self.root is None:
                self.calibration.show(self, inputs)
            return inputs
        if training and self.root is None:
            self.move(inputs)
        quantized = tf.quantization.fake_quant_with_min_max_vars(
            inputs, weights["min"], weights["max"], num_bits=8
        )
        if training and self.root is not None:
            # In an uncalibrated model the root comes later in the first step.
            return tf.where(weights["batches"] > 0, quantized, inputs)
        return quantized

    def move(self, inputs: Any) -> None:
        """Moves the range towards the extremes of a batch."""
        # No gradient goes through a range.
        inputs = tf.stop_gradient(inputs)
        low, high = _of_replicas(*_extremes(inputs))
        if self.of_input:
            widening = _off_halves(inputs, tf.minimum(low, 0.0), tf.maximum(high, 0.0))
            low, high = _of_replicas(widening * low, widening * high)
        self.move_to(low, high)

    def move_to(self, low: Any, high: Any) -> None:
        """Moves the range towards the one of a batch, widened to hold 0, as TFLite needs."""
        parts = [self._variables[part] for part in ("min", "max", "batches")]
        for variable, value in zip(parts, _moved(low, high, *parts, self._decay), strict=True):
            variable.assign(value)

    def limits(self) -> tuple[Any, Any]:
        """Least and greatest value."""
        variables = (self.root or self)._variables
        return variables["min"], variables["max"]

    def open(self) -> None:
        """Gives the range of a tensor that was always 0 steps of size 1; any would be exact."""
        variables = (self.root or self)._variables
        if variables["batches"].numpy() and variables["max"].numpy() == variables["min"].numpy():
            variables["max"].assign(255.0)

    def narrow(self, fraction: float) -> None:
        """Keeps a fraction of the range, around zero."""
        for end in self.limits():
            end.assign(end * fraction)

    def step(self) -> Any:
        """The size of one step of the integers; 0 before the first batch."""
        variables = (self.root or self)._variables
        return (variables["max"] - variables["min"]) / 255.0

    def zero(self) -> Any:
        """The integer that stands for zero, counted from -128 on."""
        step = self.step()
        low = (self.root or self)._variables["min"]
        return -128.0 - tf.round(low / tf.where(step > 0, step, 1.0))

    def align_to(self, source: Any) -> None:
        """Widens the range until the zero of `source` is a whole number of steps.

        TFLite's MEAN rounds that number, and all its outputs are off by what it rounds. A range is
        widened by 2% at most, which is enough where the zero is 50 steps away or more.

        Args:
          source: quantizer of the tensor whose mean this is.
        """
        offset = tf.abs(source.zero()) * source.step()
        steps = tf.floor(offset / tf.maximum(self.step(), keras.backend.epsilon()))
        if steps >= 50:
            widening = offset / steps / self.step()
            for part in ("min", "max"):
                self._variables[part].assign(widening * self._variables[part])

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            "decay": self._decay,
            "calibration": self.calibration,
            "root": self.root,
            "of_input": self.of_input,
        }


def _of_replicas(low: Any, high: Any) -> tuple[Any, Any]:
    """The extremes of a whole batch, from those of each replica's share of it."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return low, high
    pairs = context.all_gather(tf.stack([[low, high]]), axis=0)
    return tf.reduce_min(pairs[:, 0]), tf.reduce_max(pairs[:, 1])


def _shared(*ranks: int | None) -> Any:
    """A function of float32 tensors that is traced once for all quantizers of all models.

    A model has a hundred quantizers, and a training is traced operator by operator: a third of its
    first epoch, where each wrote down the same arithmetic again.

    Args:
      ranks: of the arguments; None for any.
    """
    shapes = [None if rank is None else [None] * rank for rank in ranks]
    return tf.function(
        input_signature=[tf.TensorSpec(shape, tf.float32) for shape in shapes], autograph=False
    )


@_shared(None)
def _extremes(inputs: Any) -> Any:
    return tf.reduce_min(inputs), tf.reduce_max(inputs)


@_shared(0, 0, 0, 0, 0, 0)
def _moved(low: Any, high: Any, least: Any, greatest: Any, seen: Any, decay: Any) -> Any:
    """Both ends of a range, moved towards those of a batch and to 0, and the batches seen."""
    decay = tf.minimum(decay, seen / (seen + 1.0))
    return (
        decay * least + (1 - decay) * tf.minimum(low, 0.0),
        decay * greatest + (1 - decay) * tf.maximum(high, 0.0),
        seen + 1.0,
    )


@_shared(2, 1)
def _extents_by_channel(kernel: Any, least: Any) -> Any:
    """How far the weights of each channel reach, widened to `least` and to `_NARROWEST_CHANNEL`."""
    extent = tf.reduce_max(tf.abs(kernel), axis=0)
    return tf.maximum(_not_narrow(extent), least)


def _not_narrow(extent: Any) -> Any:
    widest = tf.reduce_max(extent)
    # Of a kernel of zeros any range is exact.
    return tf.where(widest > 0, tf.maximum(extent, _NARROWEST_CHANNEL * widest), 1.0)


@_shared(0, 1, 1, 1, 1, 1, 0)
def _least_extents(
    step: Any, bias: Any, mean: Any, variance: Any, gamma: Any, beta: Any, epsilon: Any
) -> Any:
    """How wide the range of each channel's weights must be for its bias to fit an int32."""
    folded = bias + _folded(mean, variance, gamma, beta, epsilon)
    extent = 127.0 * tf.abs(folded) / (_LARGEST_BIAS * tf.where(step > 0, step, 1.0))
    return tf.where(step > 0, extent, tf.zeros_like(extent))


def _off_halves(inputs: Any, low: Any, high: Any) -> Any:
    """By how much the range of `inputs` is widened, so that few lie halfway between integers."""
    steps = inputs * 255.0 / tf.maximum(high - low, keras.backend.epsilon())
    halfway = tf.abs(steps - tf.floor(steps) - 0.5) < _HALFWAY
    share = tf.reduce_mean(tf.cast(halfway, tf.float32))
    return tf.where(share > 2.5 * 2 * _HALFWAY, 256.0 / 255.0, 1.0)


class FixedRange(tfmot.quantization.keras.quantizers.Quantizer):
    """An int8 activation whose range is known; values beyond it saturate.

    Args:
      low: least value.
      high: greatest value.
      calibration: shared by the quantizers of a model.
    """

    def __init__(self, low: float, high: float, *, calibration: Calibration) -> None:
        self._low = low
        self._high = high
        self._calibration = calibration

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Makes nothing."""
        return {}

    def __call__(self, inputs: Any, training: Any, weights: dict[str, Any], **kwargs: Any) -> Any:
        """Fake-quantizes a tensor."""
        if self._calibration.running:
            return tf.clip_by_value(inputs, self._low, self._high)
        return tf.quantization.fake_quant_with_min_max_args(
            inputs, self._low, self._high, num_bits=8
        )

    def step(self) -> Any:
        """The size of one step of the integers."""
        return tf.constant((self._high - self._low) / 255.0)

    def zero(self) -> Any:
        """The integer that stands for zero, counted from -128 on."""
        return -128.0 - tf.round(self._low / self.step())

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {"low": self._low, "high": self._high, "calibration": self._calibration}


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
        """Fake-quantizes a kernel, after reading its ranges in training."""
        if training:
            self.measure(inputs, weights)
        extent = tf.convert_to_tensor(weights["extent"])
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

    def measure(self, kernel: Any, weights: dict[str, Any]) -> None:
        """Sets the ranges to what the kernel and its bias need."""
        kernel = tf.stop_gradient(kernel)
        if not self._per_channel:
            weights["extent"].assign(_not_narrow(tf.reduce_max(tf.abs(kernel))))
            return
        least = tf.zeros([1]) if self.folding is None else self.folding.least_extent()
        flat = tf.reshape(kernel, [-1, self._channels_last(kernel)[-1]])
        weights["extent"].assign(_extents_by_channel(flat, least))

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
    sigma = tf.sqrt(normalization.moving_variance + normalization.epsilon)
    return (normalization.gamma if normalization.scale else 1.0) / sigma


def _folded(mean: Any, variance: Any, gamma: Any, beta: Any, epsilon: Any) -> Any:
    sigma = tf.sqrt(variance + epsilon)
    # A channel that is switched off altogether: its weights vanish beside its bias.
    tiny = 1e-30
    gamma = tf.where(tf.abs(gamma) < tiny, tiny, gamma)
    return tf.clip_by_value(beta * sigma / gamma, -1e30, 1e30) - mean
