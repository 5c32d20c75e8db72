"""Distillation: the model learns from a teacher's outputs, features or attention beside the labels.

Serves as a stage of its own (with a new, smaller student, or the model itself) and as the loss
under which later stages train. Does not know other techniques.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfcompress._keras import keras
from tfcompress.artifact import Artifact
from tfcompress.graph.kernels import FROZEN, layer_reports, weighted_layers
from tfcompress.results import CompressionReport
from tfcompress.techniques import VerificationError


@dataclass(frozen=True)
class DistillationConfig:
    """What is learned from the teacher.

    The loss is `(1 - alpha) * loss(labels) + alpha * T^2 * KL(teacher/T, student/T)
    + features * MSE(regressor(student), teacher) + attention * MSE(map(student), map(teacher))`.

    Attributes:
      student: name of a backbone that is trained in the model's place; empty to keep the model.
      temperature: T, softens both outputs, above 0.
      alpha: share of the teacher's soft labels, in [0, 1].
      features: weight of the intermediate features, at least 0. Where widths differ, a 1x1
        convolution that is trained beside the student brings its features to the teacher's.
      attention: weight of the attention maps (sum of squares over channels, normalized), at least
        0.
      teacher: a Keras model that returns logits; in a recipe, the baseline.

    Raises:
      ValueError: a value outside its range, or nothing to learn from the teacher.

    Reference:
      Hinton, Vinyals, Dean: Distilling the knowledge in a neural network, 2015 (soft labels);
      Romero et al.: FitNets, ICLR 2015 (features); Zagoruyko, Komodakis: Paying more attention to
      attention, ICLR 2017 (attention).
    """

    student: str = ""
    temperature: float = 4.0
    alpha: float = 0.9
    features: float = 0.0
    attention: float = 0.0
    teacher: Any = field(default=None, metadata={"supplied": True}, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ValueError(
                "DistillationConfig.temperature must be above 0 and finite. "
                f"Received: {self.temperature}."
            )
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"DistillationConfig.alpha must be in [0, 1]. Received: {self.alpha}.")
        if not (0 <= self.features < math.inf and 0 <= self.attention < math.inf):
            raise ValueError(
                "DistillationConfig.features and attention must be at least 0 and finite. "
                f"Received: {self.features} and {self.attention}."
            )
        if not (self.alpha or self.features or self.attention):
            raise ValueError(
                "DistillationConfig takes nothing from the teacher: alpha, features and attention "
                "are 0. Raise one of them."
            )

    @property
    def settles_at(self) -> float:
        """There is no effect that would have to be complete."""
        return 0.0


CONFIG = DistillationConfig


def skipped(model: Any, config: DistillationConfig) -> Mapping[str, str]:
    """The layers that do not learn from the teacher: those that are frozen."""
    del config
    return {layer.name: FROZEN for layer in weighted_layers(model) if not layer.trainable}


def wrap(model: Any, config: DistillationConfig, *, steps_per_epoch: int, epochs: int) -> Any:
    """Returns a model that trains a copy of the given one under the teacher.

    Calling it calls the student. The model may be the teacher itself, which stays as it is.

    Args:
      model: the student, a functional model that returns logits.
      config: with the teacher.
      steps_per_epoch: not needed; part of the contract.
      epochs: not needed; part of the contract.

    Raises:
      ValueError: no teacher, other input or output shapes, or no pair of layers for features or
        attention.
    """
    del steps_per_epoch, epochs
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return under(copy, config)


def under(model: Any, config: DistillationConfig) -> Any:
    """Puts a model under the teacher's loss and holds the model itself.

    For one that another technique has wrapped, and that is trained as it is.

    Args:
      model: the student, wrapped or not.
      config: with the teacher.

    Raises:
      ValueError: see `wrap`.
    """
    from tfcompress.techniques._distiller import Distiller

    teacher = config.teacher
    if teacher is None:
        raise ValueError(
            "DistillationConfig.teacher is missing. Pass a Keras model that returns logits."
        )
    for side in ("input_shape", "output_shape"):
        if getattr(model, side)[1:] != getattr(teacher, side)[1:]:
            raise ValueError(
                f"Teacher and student must have the same {side}. "
                f"Received: teacher {getattr(teacher, side)}, student {getattr(model, side)}."
            )
    return Distiller(model, config)


def callbacks(config: DistillationConfig) -> Sequence[Any]:
    """None are needed."""
    del config
    return []


def strip(model: Any) -> Any:
    """Returns the student."""
    return getattr(model, "student", model)


def report(before: Any, after: Any, config: DistillationConfig) -> CompressionReport:
    """Describes every layer of the student: all that are not frozen learn from the teacher."""
    del before
    reasons = skipped(after, config)
    return CompressionReport(
        "distill", layer_reports(after, after, reasons=reasons, without_kernel="")
    )


def verify(model: Any, config: DistillationConfig) -> None:
    """Looks whether the student stands alone.

    Raises:
      VerificationError: the model still holds its teacher.
    """
    del config
    if hasattr(model, "student"):
        raise VerificationError("distill: the model still holds its teacher. Call strip first.")


def verify_artifact(
    artifact: Artifact, report: CompressionReport, config: DistillationConfig
) -> None:
    """Looks whether the file holds the student's weight tensors and no others.

    Raises:
      VerificationError: the file has more weight tensors than the student has layers with a kernel.
    """
    del config
    expected = sum(1 for layer in report.layers if layer.kernel_parameters)
    found = len(artifact.weights())
    if found > expected:
        raise VerificationError(
            f"distill: the exported file holds {found} weight tensors, the student has {expected}."
        )
