"""Makes each layer of a quantized model give what it gives in float, from images without labels.

Layer by layer, on what the quantized layers before it give: every weight is rounded up or down,
whichever lets the layer's outputs come closest (adaptive rounding), and what is left of their mean
error goes into the bias. Knows how kernels are quantized; does not know where ranges come from.
Importing this module imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcompress._keras import keras, tf
from tfcompress.techniques._quantized_layers import QuantizedKernel

_BATCH = 32
# Of one layer's inputs or outputs; fewer images are taken where they would need more.
_MOST_BYTES = 2**28
# Nagel et al.'s regularizer, its annealing (from 20 to 2, after a fifth of the steps) and stretch.
_WEIGHT = 0.01
_SHARPNESS = (20.0, 2.0)
_WARM_UP = 0.2
_STRETCH = (-0.1, 1.1)
_LEARNING_RATE = 1e-2


@dataclass(frozen=True)
class Reconstruction:
    """What is done to each layer.

    Attributes:
      steps: of adaptive rounding; 0 leaves every weight at its nearest integer.
      bias_correction: move the mean error of each channel into the bias.
    """

    steps: int
    bias_correction: bool


def reconstruct(
    model: Any,
    reference: Any,
    images: np.ndarray,
    settings: Reconstruction,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Changes weights and biases of a fake-quantized model, layer by layer.

    Args:
      model: fake-quantized, with its ranges; changed in place.
      reference: the same layers in float.
      images: float32 [n, ...], what both take.
      settings: what is done.
      progress: told of each layer, the number done and how many there are.
    """
    layers = [layer for layer in model.layers if _is_adjustable(layer)]
    for number, wrapper in enumerate(layers, start=1):
        float_layer = reference.get_layer(wrapper.layer.name)
        few = images[: _affordable(wrapper, float_layer, len(images))]
        inputs = _values(model, wrapper.input, few)
        targets = _values(reference, float_layer.output, few)
        if settings.steps:
            _round_adaptively(wrapper, inputs, targets, settings.steps)
        if settings.bias_correction:
            _correct_bias(wrapper, inputs, targets)
        if progress:
            progress(number, len(layers))


def _is_adjustable(layer: Any) -> bool:
    # A layer that is used twice has two kinds of inputs.
    return (
        isinstance(layer, QuantizedKernel)
        and layer.quantizes_trained_kernel
        and len(layer._inbound_nodes) == 1
    )


def _affordable(wrapper: Any, float_layer: Any, count: int) -> int:
    sizes = [int(np.prod(tensor.shape[1:])) * 4 for tensor in (wrapper.input, float_layer.output)]
    return max(min(count, _MOST_BYTES // max(sizes)), 1)


def _values(model: Any, tensor: Any, images: np.ndarray) -> np.ndarray:
    part = keras.Model(model.inputs, tensor)
    batches = (images[start : start + _BATCH] for start in range(0, len(images), _BATCH))
    return np.concatenate([part(batch, training=False).numpy() for batch in batches])


def _round_adaptively(wrapper: Any, inputs: np.ndarray, targets: np.ndarray, steps: int) -> None:
    kernel, step = wrapper.kernel, wrapper.kernel_step()
    scaled = kernel / step
    floor = tf.floor(scaled)
    rest = scaled - floor
    # Zeros and other whole numbers of steps have nothing to be rounded.
    whole = tf.logical_or(rest < 1e-4, rest > 1 - 1e-4)
    low, high = _STRETCH
    start = tf.clip_by_value((rest - low) / (high - low), 1e-3, 1 - 1e-3)
    logits = tf.Variable(tf.math.log(start / (1 - start)))
    weights = wrapper.output_scale()
    optimizer = keras.optimizers.Adam(_LEARNING_RATE)
    optimizer.build([logits])

    def share() -> Any:
        stretched = tf.clip_by_value(tf.sigmoid(logits) * (high - low) + low, 0.0, 1.0)
        return tf.where(whole, tf.round(rest), stretched)

    def quantized(part: Any) -> Any:
        return step * tf.clip_by_value(floor + part, -127.0, 127.0)

    @tf.function
    def descend(batch: Any, wanted: Any, sharpness: Any, weight: Any) -> None:
        with tf.GradientTape() as tape:
            part = share()
            outputs = wrapper.computed_with(batch, quantized(part))
            error = tf.reduce_sum(tf.square(weights * (outputs - wanted)), axis=-1)
            undecided = 1 - tf.abs(2 * part - 1) ** sharpness
            loss = tf.reduce_mean(error) + weight * tf.reduce_sum(undecided)
        optimizer.apply_gradients([(tape.gradient(loss, logits), logits)])

    generator = np.random.default_rng(0)
    for rows, sharpness, weight in _schedule(generator, len(inputs), steps):
        descend(
            tf.constant(inputs[rows]),
            tf.constant(targets[rows]),
            tf.constant(sharpness, tf.float32),
            tf.constant(weight, tf.float32),
        )
    kernel.assign(quantized(tf.round(share())))


def _schedule(
    generator: np.random.Generator, examples: int, steps: int
) -> Iterator[tuple[np.ndarray, float, float]]:
    first, last = _SHARPNESS
    for step in range(steps):
        rows = generator.choice(examples, min(_BATCH, examples), replace=False)
        done = max((step / steps - _WARM_UP) / (1 - _WARM_UP), 0.0)
        sharpness = last + (first - last) * 0.5 * (1 + np.cos(np.pi * done))
        yield rows, float(sharpness), _WEIGHT if step >= _WARM_UP * steps else 0.0


def _correct_bias(wrapper: Any, inputs: np.ndarray, targets: np.ndarray) -> None:
    kernel = wrapper.quantized_kernel()
    errors = [
        tf.reduce_mean(
            targets[start : start + _BATCH]
            - wrapper.computed_with(tf.constant(inputs[start : start + _BATCH]), kernel),
            axis=list(range(targets.ndim - 1)),
        ).numpy()
        * len(inputs[start : start + _BATCH])
        for start in range(0, len(inputs), _BATCH)
    ]
    wrapper.shift_output(np.sum(errors, axis=0) / len(inputs))
