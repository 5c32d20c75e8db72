"""Quantization-aware training with TF-MOT: the model is trained as its int8 file will compute.

TF-MOT's layer rewriting and registry are used as they are. Its quantizers are replaced in two
points, both measured to lose accuracy in transfer-learned models: activation ranges start at the
data's own range instead of [-6, 6], and no channel's weight range becomes so small that its int32
bias saturates. Does not know other techniques.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfcompress._keras import keras, tfmot
from tfcompress.artifact import Artifact
from tfcompress.graph.kernels import (
    kernels,
    layer_reports,
    named,
    require_named,
    weight_name,
)
from tfcompress.results import CompressionReport
from tfcompress.techniques import VerificationError


@dataclass(frozen=True)
class QATConfig:
    """How quantization is emulated.

    Attributes:
      range_decay: of the moving average of activation ranges, in [0, 1). While fewer than
        `1 / (1 - range_decay)` batches were seen it is their plain mean.
      weight_floor: smallest weight range of a channel, as a fraction of the layer's median channel,
        in [0, 1).
      skip: layer names or patterns (`conv1`, `block_*`), separated by `/`, that stay in float.

    Raises:
      ValueError: a value outside its range.

    Reference:
      Jacob et al.: Quantization and training of neural networks for efficient
      integer-arithmetic-only inference, CVPR 2018.
    """

    range_decay: float = 0.99
    weight_floor: float = 1e-3
    skip: str = ""

    def __post_init__(self) -> None:
        for name in ("range_decay", "weight_floor"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"QATConfig.{name} must be in [0, 1). Received: {getattr(self, name)}."
                )

    @property
    def settles_at(self) -> float:
        """Quantization is emulated from the start."""
        return 0.0


CONFIG = QATConfig


def wrap(model: Any, config: QATConfig, *, steps_per_epoch: int, epochs: int) -> Any:
    """Returns a copy of the model with fake-quantized weights and activations.

    Args:
      model: flat functional model of layers that TF-MOT knows.
      config: how to quantize.
      steps_per_epoch: not needed; part of the contract.
      epochs: not needed; part of the contract.

    Raises:
      ValueError: TF-MOT refuses the model; the message holds its reason.
    """
    from tfcompress.techniques._qat_scheme import Scheme

    del steps_per_epoch, epochs
    require_named(model, config.skip, what="qat: skip")
    quantization = tfmot.quantization.keras

    def annotate(layer: Any) -> Any:
        if isinstance(layer, keras.layers.InputLayer) or named(layer.name, config.skip):
            return layer
        return quantization.quantize_annotate_layer(layer)

    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    try:
        annotated = keras.models.clone_model(copy, clone_function=annotate)
        return quantization.quantize_apply(annotated, Scheme(config))
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(
            f"qat cannot quantize this model: {error} "
            "Leave a layer in float with qat(skip=NAME), or quantize after training with +int8."
        ) from error


def is_quantized(layer: Any) -> bool:
    """Whether a layer is one of TF-MOT's quantization wrappers."""
    return hasattr(layer, "quantize_config")


def callbacks(config: QATConfig) -> Sequence[Any]:
    """None are needed."""
    del config
    return []


def strip(model: Any) -> Any:
    """Returns the model itself: its wrappers hold the ranges that the int8 file is made from."""
    return model


def report(before: Any, after: Any, config: QATConfig) -> CompressionReport:
    """Describes every layer with weights: quantized, or left in float."""
    reasons = {
        kernel.name: f"named in skip={config.skip}"
        for kernel in kernels(after)
        if named(kernel.name, config.skip)
    }
    return CompressionReport("qat", layer_reports(before, after, reasons=reasons))


def verify(model: Any, config: QATConfig) -> None:
    """Looks for the quantization wrappers and for the ranges that training gave them.

    Raises:
      VerificationError: a layer with a kernel is not wrapped and was not skipped by name, or no
        batch was seen, so that the ranges are still empty.
    """
    for layer in model.layers:
        for weight in layer.weights:
            if weight_name(weight).endswith("_batches") and not weight.numpy():
                raise VerificationError(
                    f"qat: the activation range of layer {layer.name} has seen no batch. "
                    "Train the wrapped model before it is exported."
                )
        has_kernel = any(weight.name.split(":")[0].endswith("kernel") for weight in layer.weights)
        if has_kernel and not is_quantized(layer) and not named(layer.name, config.skip):
            raise VerificationError(f"qat: layer {layer.name} is not quantized.")


def verify_artifact(artifact: Artifact, report: CompressionReport, config: QATConfig) -> None:
    """Counts the weight tensors that the file stores as integers.

    Raises:
      VerificationError: a quantized layer's weights are stored as floats.
    """
    del config
    expected = sum(1 for layer in report.layers if layer.treated)
    kinds = [str(weight.values.dtype) for weight in artifact.weights().values()]
    found = sum(kind == "int8" for kind in kinds)
    if found < expected:
        raise VerificationError(
            f"qat: {found} weight tensors of the exported file are int8, expected {expected}. "
            f"Found: {', '.join(sorted(set(kinds)))}. Export the model as int8."
        )
