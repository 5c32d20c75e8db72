"""Distillation: the model learns from a teacher's outputs, features or attention beside the labels.

Serves as a stage of its own (with a new, smaller student, or the model itself) and as the loss
under which later stages train. Does not know other techniques.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfcompress.artifact import Artifact
from tfcompress.graph.kernels import FROZEN, layer_reports, weighted_layers
from tfcompress.graph.outputs import final_activation
from tfcompress.graph.rebuild import require_functional
from tfcompress.graph.wrappers import plain_copy
from tfcompress.results import CompressionReport
from tfcompress.settings import require_types
from tfcompress.techniques import VerificationError

ENCODER = "encoder"
"""The student that is a smaller text encoder of the teacher's own kind."""


@dataclass(frozen=True)
class DistillationConfig:
    """What is learned from the teacher.

    The loss is `(1 - alpha) * loss(labels) + alpha * T^2 * KL(teacher/T, student/T)
    + features * MSE(regressor(student), teacher) + attention * distance(student, teacher)`,
    and the whole of the student's regularization losses. All but `loss(labels)` is computed in
    float32. Probabilities of a model that ends in a softmax are brought back to logits first. Of a
    regression, the mean squared error of the values stands for `T^2 * KL`, in which differences
    count in the units of `value_scale`.

    Features and attention are compared pair by pair, and the pairs are added up. Of networks for
    images a pair is, for each height and width that both have, the last feature map of either. Of
    text encoders it is a layer of the student and the last of those of the teacher's whose work it
    does: layers 2, 4 and 6 of six for a student of three. Padding does not count.

    Attributes:
      student: name of a backbone that is trained in the model's place; empty to keep the model.
        Of a text encoder `"encoder"` names a smaller one of its own kind, which begins with the
        teacher's layers and reads the same tokens.
      student_width: multiplies the student's channels, where its family allows it, above 0. Of an
        encoder, its heads, and with them width and feed-forward part: at most 1, in whole heads.
      temperature: T, softens both outputs, above 0; of no effect on values.
      alpha: share of the teacher's outputs, in [0, 1].
      features: weight of the intermediate features, of encoders the hidden states after the
        embeddings and after each layer, at least 0. A linear map of the channels that is trained
        beside the student brings its features to the teacher's; it begins as the identity where
        both have as many.
      attention: weight of the attention maps, at least 0. Of images, the distance of the sums of
        squares over the channels, normalized. Of encoders, KL(teacher, student) of what each token
        attends to, the mean over heads and tokens; where the numbers of heads differ, neighbouring
        ones are joined to as many as divide both.
      views: 0 to ask the teacher anew in each step. Any other number says after how many epochs the
        changes to an image repeat, and that the teacher was asked beforehand: the batches hold its
        outputs, [batch, classes], as a third beside inputs and labels. A recipe sees to that; it
        makes long trainings faster, by as much as the teacher is slower than the student.
      student_image_size: side of the student's images in pixels, other than the teacher's; 0 for
        the teacher's. It takes `views`, and the student's own preprocessing.
      student_layers: of the student `"encoder"`, at least 1 and at most the teacher's; 0 for as
        many.
      teacher: a functional Keras model that returns logits, or probabilities from a softmax, or
        values; in a recipe, the baseline.
      value_scale: None where the outputs tell classes; of a regression one number above 0 for each
        value, by which its differences are divided, such as the standard deviations of the targets.

    Raises:
      ValueError: a value outside its range, or nothing to learn from the teacher.

    Reference:
      Hinton, Vinyals, Dean: Distilling the knowledge in a neural network, 2015 (soft labels);
      Romero et al.: FitNets, ICLR 2015 (features); Zagoruyko, Komodakis: Paying more attention to
      attention, ICLR 2017 (attention). Of encoders: Sanh et al.: DistilBERT, 2019 (layers taken
      over); Jiao et al.: TinyBERT, 2020 (layer by layer); Wang et al.: MiniLM, 2020, and MiniLMv2,
      2021 (divergence of attention, heads joined).
    """

    student: str = ""
    student_width: float = 1.0
    temperature: float = 4.0
    alpha: float = 0.9
    features: float = 0.0
    attention: float = 0.0
    views: int = 0
    student_image_size: int = 0
    student_layers: int = 0
    teacher: Any = field(default=None, metadata={"supplied": True}, repr=False, compare=False)
    value_scale: Any = field(default=None, metadata={"supplied": True}, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_types(self)
        if not 0 < self.temperature < math.inf:
            raise ValueError(
                "DistillationConfig.temperature must be above 0 and finite. "
                f"Received: {self.temperature}."
            )
        if not 0 < self.student_width < math.inf:
            raise ValueError(
                "DistillationConfig.student_width must be above 0 and finite. "
                f"Received: {self.student_width}."
            )
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"DistillationConfig.alpha must be in [0, 1]. Received: {self.alpha}.")
        if not (0 <= self.features < math.inf and 0 <= self.attention < math.inf):
            raise ValueError(
                "DistillationConfig.features and attention must be at least 0 and finite. "
                f"Received: {self.features} and {self.attention}."
            )
        if self.views < 0 or self.student_image_size < 0:
            raise ValueError(
                "DistillationConfig.views and student_image_size must be 0 or more. "
                f"Received: {self.views} and {self.student_image_size}."
            )
        if self.views and (self.features or self.attention or not self.alpha):
            raise ValueError(
                "DistillationConfig.views keeps the teacher's outputs and nothing else of it. "
                f"Received: alpha {self.alpha}, features {self.features}, attention "
                f"{self.attention}. Give alpha alone, or leave views at 0."
            )
        self._require_student()
        if self.student_image_size and not (self.views and self.student):
            raise ValueError(
                "DistillationConfig.student_image_size takes a student, and views, since each step "
                "shows the teacher the student's images. "
                f"Received: student {self.student!r}, views {self.views}."
            )
        if not (self.alpha or self.features or self.attention):
            raise ValueError(
                "DistillationConfig takes nothing from the teacher: alpha, features and attention "
                "are 0. Raise one of them."
            )
        if self.value_scale is not None and not all(0 < x < math.inf for x in self.value_scale):
            raise ValueError(
                "DistillationConfig.value_scale must hold numbers above 0, one for each value. "
                f"Received: {self.value_scale}."
            )

    def _require_student(self) -> None:
        """Refuses settings of a student that there is not, or of another kind."""
        if not self.student and (self.student_width != 1 or self.student_layers):
            raise ValueError(
                "DistillationConfig.student_width and student_layers take a student. "
                f"Received: student_width {self.student_width:g}, student_layers "
                f"{self.student_layers}, and no student. Name one, such as student=ds_cnn for "
                f"images or student={ENCODER} for texts."
            )
        if self.student_layers < 0 or (self.student_layers and self.student != ENCODER):
            raise ValueError(
                "DistillationConfig.student_layers must be 0 or more, and 0 for every student but "
                f"{ENCODER}. Received: student {self.student!r}, student_layers "
                f"{self.student_layers}."
            )
        as_large = not self.student_layers and self.student_width == 1
        if self.student == ENCODER and (as_large or self.student_image_size):
            raise ValueError(
                f"DistillationConfig.student={ENCODER} takes student_layers or student_width, in "
                "which it is smaller, and no size of images. Received: student_layers "
                f"{self.student_layers}, student_width {self.student_width:g}, student_image_size "
                f"{self.student_image_size}."
            )

    @property
    def settles_at(self) -> float:
        """There is no effect that would have to be complete."""
        return 0.0


CONFIG = DistillationConfig

PROBABILITIES = ("sigmoid", "hard_sigmoid", "tanh")
"""Activations after which the outputs are no logits and cannot be brought back to any."""

NOTHING_TRAINED = "no weight that a training changes"
"""Why a layer learns nothing whose weights are statistics or constants."""


def skipped(model: Any, config: DistillationConfig) -> Mapping[str, str]:
    """The layers that do not learn from the teacher: those that are frozen.

    All of them where the model has several outputs, which are no classifier's logits.
    """
    del config
    if len(model.outputs) != 1:
        reason = f"the model has {len(model.outputs)} outputs; distill takes one"
        return dict.fromkeys(weighted_layers(model), reason)
    trained = {id(variable) for variable in model.trainable_weights}
    return {
        name: NOTHING_TRAINED if layer.trainable else FROZEN
        for name, layer in weighted_layers(model).items()
        if not any(id(variable) in trained for variable in layer.weights)
    }


def wrap(model: Any, config: DistillationConfig, *, steps_per_epoch: int, epochs: int) -> Any:
    """Returns a model that trains a copy of the given one under the teacher.

    Calling it calls the student. The model may be the teacher itself, which stays as it is.

    Args:
      model: the student, a functional model of one output that returns logits, or probabilities
        from a softmax; TF-MOT's wrappers for pruning and clustering are taken off first.
      config: with the teacher.
      steps_per_epoch: not needed; part of the contract.
      epochs: not needed; part of the contract.

    Raises:
      ValueError: no teacher, other input or output shapes, several outputs, outputs that are
        neither logits nor from a softmax, nothing to train, no pair of layers for features or
        attention, or a subclassed or quantized model.
    """
    del steps_per_epoch, epochs
    return under(plain_copy(model, technique="distill"), config)


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
            "DistillationConfig.teacher is missing. Pass a Keras model that returns logits or "
            "values."
        )
    require_functional(teacher)
    _require_alike(model, teacher, ("output",) if config.views else ("input", "output"))
    if config.value_scale is not None and len(config.value_scale) != model.output_shape[-1]:
        raise ValueError(
            "DistillationConfig.value_scale must hold a number for each of the student's "
            f"{model.output_shape[-1]} values. Received: {len(config.value_scale)}."
        )
    if config.alpha and config.value_scale is None:
        _require_classes(model, "student")
        _require_classes(teacher, "teacher")
    if not model.trainable_weights:
        raise ValueError(
            f"distill can train no layer of the student {model.name!r}: "
            f"{dict(skipped(model, config)) or 'it has no weights'}."
        )
    return Distiller(model, config)


def _require_alike(student: Any, teacher: Any, sides: Sequence[str]) -> None:
    for side in sides:
        ours, theirs = (getattr(model, f"{side}s") for model in (student, teacher))
        alike = len(ours) == len(theirs) and all(
            own.shape.is_compatible_with(other.shape)
            for own, other in zip(ours, theirs, strict=True)
        )
        if not alike:
            shapes = [getattr(model, f"{side}_shape") for model in (teacher, student)]
            raise ValueError(
                f"Teacher and student must have the same {side}_shape. "
                f"Received: teacher {shapes[0]}, student {shapes[1]}."
            )
    if len(student.outputs) != 1:
        raise ValueError(
            f"distill takes a model of one output. Received: {len(student.outputs)} outputs, "
            f"{', '.join(student.output_names)}. Build teacher and student anew for one of them, "
            "as keras.Model(model.inputs, model.outputs[0])."
        )


def _require_classes(model: Any, who: str) -> None:
    activation, classes = final_activation(model), model.outputs[0].shape[-1]
    if activation in PROBABILITIES or (classes is not None and classes < 2):
        raise ValueError(
            f"distill compares the logits of at least 2 classes, or probabilities from a softmax. "
            f"Received: a {who} with {classes} outputs"
            + (f" that end in {activation}. " if activation in PROBABILITIES else ". ")
            + "For values pass value_scale, or learn from its features or attention alone with "
            "alpha 0."
        )


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


def verify(model: Any, config: DistillationConfig, *, before: Any = None) -> None:
    """Looks whether the student stands alone.

    Raises:
      VerificationError: the model still holds its teacher.
    """
    del config, before
    if hasattr(model, "student"):
        raise VerificationError("distill: the model still holds its teacher. Call strip first.")


def verify_artifact(
    artifact: Artifact, report: CompressionReport, config: DistillationConfig
) -> None:
    """Looks whether the file holds the student's weights and no others.

    Raises:
      VerificationError: the kernels of the file have more weights than the student.
    """
    del config
    expected = sum(max(layer.parameters, layer.kernel_parameters or 0) for layer in report.layers)
    found = sum(weight.values.size for weight in artifact.weights().values())
    if found > expected:
        raise VerificationError(
            f"distill: the exported file holds {found} weights in its kernels, the student has "
            f"{expected} in all."
        )
