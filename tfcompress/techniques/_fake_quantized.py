"""A model that computes as its int8 file will: made, shown data, and settled before its export.

Does not know where quantizers stand (`_placing` does).

Importing this module imports TensorFlow.
"""

from __future__ import annotations

from typing import Any

from tfcompress._keras import tf
from tfcompress.techniques._integer_form import IntegerForm
from tfcompress.techniques._placing import Placing, Settings, keep_channels_on, measure_kernels
from tfcompress.techniques._quantized_layers import Quantize, QuantizedKernel
from tfcompress.techniques._quantizers import ActivationRange, Calibration, Observe

_CALIBRATION_BATCH = 32
PLAIN_MEAN = 1 - 1e-6
"""A range decay with which up to a million batches count alike."""


def fake_quantized(form: IntegerForm, settings: Settings, *, images: Any = None) -> Any:
    """Returns a model that computes as its int8 file will, ready to be trained.

    Args:
      form: the model in integer form.
      settings: how to quantize.
      images: what the model takes, float32 [examples, ...] for each input: activation ranges are
        read from it. Without it ranges start with the first batch of the training.
    """
    placing = Placing(form, settings)
    model = placing.build()
    if images is not None:
        calibrate(model, images, placing.calibration)
    return model


def calibrate(
    model: Any, images: Any, calibration: Calibration, *, observe: Observe | None = None
) -> None:
    """Reads activation ranges from images, then the kernels' ranges, which depend on them.

    Args:
      model: fake-quantized.
      images: what it takes.
      calibration: that of its quantizers.
      observe: see `Calibration.run`.
    """
    inputs = tf.nest.flatten(images)
    with calibration.run(observe):
        for start in range(0, len(inputs[0]), _CALIBRATION_BATCH):
            batch = [tf.constant(one[start : start + _CALIBRATION_BATCH]) for one in inputs]
            model(tf.nest.pack_sequence_as(model._nested_inputs, batch), training=False)
    measure_kernels(model)


def settle(model: Any) -> None:
    """Moves what the file would round to where it rounds nothing: ranges of means, then biases."""
    keep_channels_on(model)
    quantizers = [layer.quantizer for layer in model.layers if isinstance(layer, Quantize)]
    for quantizer in filter(_is_learned, quantizers):
        quantizer.open()
    followed = {id(quantizer.root) for quantizer in quantizers if _is_learned(quantizer)}
    for quantizer in quantizers:
        if _is_learned(quantizer) and quantizer.mean_of and id(quantizer) not in followed:
            quantizer.align_to(quantizer.mean_of)
    for layer in model.layers:
        if isinstance(layer, QuantizedKernel):
            layer.round_bias()


def _is_learned(quantizer: Any) -> bool:
    return isinstance(quantizer, ActivationRange)
