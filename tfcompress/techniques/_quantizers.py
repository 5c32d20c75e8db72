"""TF-MOT quantizers that start from data.

Ranges of activations: learned, shared by several tensors, or fixed by TFLite. Knows how TFLite
rounds; does not know where in a model a tensor is quantized, or of kernels (`_kernel_ranges`).

Importing this module imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tfcompress._keras import keras, tf, tfmot

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

    In training the gradient passes through unchanged, for the few values beyond the range too: the
    range follows them. TensorFlow's own gradient of fake quantization, which stops there, also sums
    what it stops for both ends of the range, which nothing learns.

    Args:
      decay: of the moving average once enough batches were seen, in [0, 1).
      calibration: shared by the quantizers of a model.
      root: whose range is used instead of an own one; None for an own one.
      of_input: whether the tensor is the model's input. Images have few values, many of which may
        lie halfway between two integers: all of them where they are scaled to [-1, 1], one in 16
        where they were enlarged. File and model would round those differently.
      nonnegative: whether no value is below 0, so that none needs to be looked for.
    """

    def __init__(
        self,
        decay: float,
        *,
        calibration: Calibration,
        root: ActivationRange | None = None,
        of_input: bool = False,
        nonnegative: bool = False,
    ) -> None:
        self._decay = decay
        self.calibration = calibration
        self.of_input = of_input
        self._nonnegative = nonnegative
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
        moves = training and self.root is None
        limits = self.move(inputs) if moves else (weights["min"], weights["max"])
        quantized = tf.quantization.fake_quant_with_min_max_vars(inputs, *limits, num_bits=8)
        if not training:
            return quantized
        passing = passing_gradient(inputs, quantized)
        if self.root is None:
            return passing
        # In an uncalibrated model the root comes later in the first step.
        return tf.where(weights["batches"] > 0, passing, inputs)

    def move(self, inputs: Any) -> tuple[Any, Any]:
        """Moves the range towards the extremes of a batch, and gives its new limits."""
        # No gradient goes through a range.
        inputs = tf.stop_gradient(inputs)
        low = tf.constant(0.0) if self._nonnegative else _least(inputs)
        low, high = _of_replicas(low, _greatest(inputs))
        if self.of_input:
            widening = _off_halves(inputs, tf.minimum(low, 0.0), tf.maximum(high, 0.0))
            low, high = _of_replicas(widening * low, widening * high)
        return self.move_to(low, high)

    def move_to(self, low: Any, high: Any) -> tuple[Any, Any]:
        """Moves the range towards one of a batch, which is widened to hold 0, as TFLite needs."""
        parts = [self._variables[part] for part in ("min", "max", "batches")]
        moved = _moved(low, high, *parts, self._decay)
        for variable, value in zip(parts, moved, strict=True):
            variable.assign(value)
        return moved[0], moved[1]

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
            "nonnegative": self._nonnegative,
        }


@tf.custom_gradient
def passing_gradient(inputs: Any, quantized: Any) -> Any:
    """What was made of `inputs`, with the gradient of `inputs` themselves."""
    return tf.identity(quantized), lambda upstream: (upstream, None)


def _of_replicas(low: Any, high: Any) -> tuple[Any, Any]:
    """The extremes of a whole batch, from those of each replica's share of it."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return low, high
    pairs = context.all_gather(tf.stack([[low, high]]), axis=0)
    return tf.reduce_min(pairs[:, 0]), tf.reduce_max(pairs[:, 1])


def shared(*ranks: int | None) -> Any:
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


@shared(None)
def _least(inputs: Any) -> Any:
    return tf.reduce_min(inputs)


@shared(None)
def _greatest(inputs: Any) -> Any:
    return tf.reduce_max(inputs)


@shared(0, 0, 0, 0, 0, 0)
def _moved(low: Any, high: Any, least: Any, greatest: Any, seen: Any, decay: Any) -> Any:
    """Both ends of a range, moved towards those of a batch and to 0, and the batches seen."""
    decay = tf.minimum(decay, seen / (seen + 1.0))
    return (
        decay * least + (1 - decay) * tf.minimum(low, 0.0),
        decay * greatest + (1 - decay) * tf.maximum(high, 0.0),
        seen + 1.0,
    )


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
