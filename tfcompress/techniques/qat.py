"""Quantization-aware training: the model is trained as its int8 file will compute.

The model is rewritten so that each layer is one operator of the file, and every tensor that the
file stores is fake-quantized in between, by layers and quantizers of TF-MOT's kinds. Two faults of
TF-MOT's own training, both measured to lose accuracy in transfer-learned models, are not there:
activation ranges start from calibration data instead of [-6, 6], and no channel's weight range is
so small that its int32 bias saturates. Does not know other techniques.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfcompress.artifact import Artifact
from tfcompress.graph.kernels import (
    layer_reports,
    named_layers,
    nothing_treated,
    require_named,
    weight_name,
    weighted_layers,
)
from tfcompress.graph.normal_form import normalize
from tfcompress.graph.wrappers import plain_copy
from tfcompress.results import CompressionReport
from tfcompress.techniques import VerificationError


@dataclass(frozen=True)
class QATConfig:
    """How quantization is emulated.

    Attributes:
      range_decay: of the moving average of activation ranges, in [0, 1). While fewer than
        `1 / (1 - range_decay)` batches were seen it is their plain mean.
      dense_per_channel: one weight range for each output of a Dense layer. One for the whole layer
        makes a smaller file, more so of a clustered layer; convolutions have one for each channel
        in any case.
      skip: layer names or patterns (`conv1`, `block_*`), separated by `/`, that stay in float.
      calibration: float32 [examples, height, width, channels], preprocessed as for training, or one
        such array for each input of the model: the activation ranges that training starts from are
        read from them. In a recipe, the data set's calibration images. Without them the ranges
        start with the first batch.

    Raises:
      ValueError: a value outside its range.

    Reference:
      Jacob et al.: Quantization and training of neural networks for efficient
      integer-arithmetic-only inference, CVPR 2018.
    """

    range_decay: float = 0.99
    dense_per_channel: bool = False
    skip: str = ""
    calibration: Any = field(default=None, metadata={"supplied": True}, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.range_decay < 1:
            raise ValueError(
                f"QATConfig.range_decay must be in [0, 1). Received: {self.range_decay}."
            )

    @property
    def settles_at(self) -> float:
        """Quantization is emulated from the start."""
        return 0.0


CONFIG = QATConfig


def skipped(model: Any, config: QATConfig) -> Mapping[str, str]:
    """The layers that stay in float, and why, those without weights included."""
    from tfcompress.techniques._integer_form import in_float32, integer_form

    normal = in_float32(normalize(model, check=False))
    return dict(integer_form(normal, skip=config.skip).passed_over)


def wrap(model: Any, config: QATConfig, *, steps_per_epoch: int, epochs: int) -> Any:
    """Returns a copy of the model with fake-quantized weights and activations, in float32.

    It has the same outputs before quantization, but other layers: one for each operator of the
    int8 file. Layers that have no integer form stay in float; the file converts before and after
    them.

    Args:
      model: functional or Sequential model; it is brought to the normal form first.
      config: how to quantize.
      steps_per_epoch: not needed; part of the contract.
      epochs: not needed; part of the contract.

    Raises:
      ValueError: the model has no normal form, is quantized already, or no layer of it with weights
        can be quantized.
    """
    from tfcompress.techniques._fake_quantized import Settings, fake_quantized
    from tfcompress.techniques._integer_form import in_float32, integer_form

    del steps_per_epoch, epochs
    # Fake quantization is float32 arithmetic, whatever the model's precision.
    normal = in_float32(normalize(plain_copy(model, technique="qat"), check=False))
    require_named(normal, config.skip, what="qat: skip")
    form = integer_form(normal, skip=config.skip)
    if set(weighted_layers(normal)) <= set(form.passed_over):
        raise ValueError(nothing_treated("qat", form.passed_over))
    if config.calibration is not None:
        _check_calibration(config.calibration, normal)
    settings = Settings(config.range_decay, config.dense_per_channel)
    return fake_quantized(form, settings, images=config.calibration)


def _check_calibration(images: Any, model: Any) -> None:
    arrays = list(images) if isinstance(images, list | tuple) else [images]
    expected = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    found: list[tuple[int, ...]] = [getattr(array, "shape", ()) for array in arrays]
    fits = len(found) == len(expected) and all(
        len(shape) == len(own) + 1
        and shape[0] > 0
        and all(side in (None, size) for side, size in zip(own, shape[1:], strict=True))
        for own, shape in zip(expected, found, strict=True)
    )
    if not fits or len({shape[0] for shape in found}) != 1:
        raise ValueError(
            f"QATConfig.calibration must hold at least one example for inputs of the shapes "
            f"{', '.join(map(str, expected))}, as one array for each. Received: "
            f"{', '.join(map(str, found))}."
        )
    for array in arrays:
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise ValueError(
                "QATConfig.calibration must be finite float32, preprocessed as for training. "
                f"Received: {array.dtype}, {int((~np.isfinite(array)).sum())} numbers that are NaN "
                "or infinite."
            )


def is_quantized(layer: Any) -> bool:
    """Whether a layer is one of the wrappers that quantize a kernel."""
    return hasattr(layer, "quantize_config")


def callbacks(config: QATConfig) -> Sequence[Any]:
    """None are needed."""
    del config
    return []


def strip(model: Any) -> Any:
    """Returns the model itself: its wrappers hold the ranges that the int8 file is made from.

    Its biases are moved to what the file can store, by half a step of an int32 at most, and the
    ranges of means widened a little. The file would round in any case; where the model has the
    same numbers, both give the same class more often.
    """
    from tfcompress.techniques._fake_quantized import settle

    settle(model)
    return model


def report(before: Any, after: Any, config: QATConfig) -> CompressionReport:
    """Describes every layer with weights: quantized, or left in float and why."""
    reasons = skipped(before, config)
    return CompressionReport(
        "qat", layer_reports(before, after, reasons=reasons, without_kernel="")
    )


def verify(model: Any, config: QATConfig) -> None:
    """Looks for quantized kernels and for the ranges of activations.

    Raises:
      VerificationError: no kernel is quantized, or no batch was seen, so that ranges are still
        empty.
    """
    del config
    layers = named_layers(model)
    if not any(map(is_quantized, layers.values())):
        raise VerificationError("qat: the model has no quantized layer. Train what wrap returns.")
    for name, layer in layers.items():
        for weight in layer.weights:
            if weight_name(weight) == "batches" and not weight.numpy():
                raise VerificationError(
                    f"qat: the activation range of layer {name} has seen no batch. "
                    "Train the wrapped model before it is exported, or give it calibration images."
                )


def verify_artifact(artifact: Artifact, report: CompressionReport, config: QATConfig) -> None:
    """Counts the weight tensors that the file stores as integers, and looks for saturated biases.

    Raises:
      VerificationError: a quantized layer's weights are stored as floats.
    """
    del config
    expected = sum(1 for layer in report.layers if layer.treated and layer.kernel_parameters)
    kinds = [str(weight.values.dtype) for weight in artifact.weights().values()]
    found = sum(kind == "int8" for kind in kinds)
    if found < expected:
        raise VerificationError(
            f"qat: {found} weight tensors of the exported file are int8, expected {expected}. "
            f"Found: {', '.join(sorted(set(kinds)))}. Export the model as int8."
        )
