"""Activation ranges that a model needs no training for: where a few extremes are cut off.

Knows how a range is chosen from images. Does not know where the quantizers stand.
Importing this module imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from tfcompress._keras import tf
from tfcompress.techniques._fake_quantized import calibrate
from tfcompress.techniques._quantized_layers import Quantize
from tfcompress.techniques._quantizers import ActivationRange, Calibration

# Of the extremes; below a quarter the clipped values outweigh the finer steps in any tensor seen.
_FRACTIONS = np.linspace(0.25, 1.0, 31)


def read_ranges(model: Any, images: Any, kind: str, *, percentile: float) -> None:
    """Sets every activation range of a fake-quantized model anew.

    Args:
      model: fake-quantized, its ranges empty.
      images: what it takes.
      kind: one of `KINDS`.
      percentile: of the values of a batch that stay within, for the kind of that name.
    """
    quantizers = (layer.quantizer for layer in model.layers if isinstance(layer, Quantize))
    own = next(item for item in quantizers if isinstance(item, ActivationRange))
    KINDS[kind](model, images, own.calibration, percentile)


def _by_extremes(model: Any, images: Any, calibration: Calibration, percentile: float) -> None:
    del percentile
    calibrate(model, images, calibration)


def _by_percentile(model: Any, images: Any, calibration: Calibration, percentile: float) -> None:
    calibrate(model, images, calibration, observe=partial(_move_to_percentile, percentile))


def _move_to_percentile(percentile: float, quantizer: ActivationRange, inputs: Any) -> None:
    if quantizer.of_input:
        quantizer.move(inputs)
        return
    low, high = np.percentile(inputs.numpy(), [100 - percentile, percentile])
    quantizer.move_to(tf.constant(low, tf.float32), tf.constant(high, tf.float32))


def _by_error(model: Any, images: Any, calibration: Calibration, percentile: float) -> None:
    """The fraction of the extremes whose rounding and clipping errors are least, squared."""
    del percentile
    calibrate(model, images, calibration)
    errors: dict[int, np.ndarray] = {}
    seen: dict[int, ActivationRange] = {}

    def observe(quantizer: ActivationRange, inputs: Any) -> None:
        if not quantizer.of_input:
            seen[id(quantizer)] = quantizer
            errors[id(quantizer)] = errors.get(id(quantizer), 0.0) + _errors(quantizer, inputs)

    calibrate(model, images, calibration, observe=observe)
    for key, quantizer in seen.items():
        quantizer.narrow(float(_FRACTIONS[errors[key].argmin()]))


def _errors(quantizer: ActivationRange, inputs: Any) -> np.ndarray:
    low, high = quantizer.limits()
    quantized = tf.quantization.fake_quant_with_min_max_vars
    return np.array(
        [
            tf.reduce_mean(tf.square(quantized(inputs, low * part, high * part) - inputs)).numpy()
            for part in _FRACTIONS
        ]
    )


KINDS: Mapping[str, Callable[[Any, Any, Calibration, float], None]] = {
    "minmax": _by_extremes,
    "percentile": _by_percentile,
    "mse": _by_error,
}
