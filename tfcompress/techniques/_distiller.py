"""The Keras model behind `distill`. Importing this module imports TensorFlow."""

from __future__ import annotations

from typing import Any

from tfcompress._keras import keras, tf
from tfcompress.graph.kernels import leaf_layers
from tfcompress.techniques.distill import DistillationConfig


class Distiller(keras.Model):
    """Trains a student under a teacher; its inputs, outputs and weights are the student's.

    The regressors of the feature loss are the only weights besides the student's; they come last.

    Args:
      student: functional model that returns logits.
      config: the loss, with the teacher.
    """

    def __init__(self, student: Any, config: DistillationConfig) -> None:
        super().__init__()
        self.student = student
        self._config = config
        needs_features = config.features > 0 or config.attention > 0
        pairs = matching_layers(student, config.teacher) if needs_features else []
        if needs_features and not pairs:
            raise ValueError(
                "distill: teacher and student have no feature maps of the same height and width. "
                "Leave features and attention at 0."
            )
        self._student_outputs = _with_features(student, [pair[0] for pair in pairs])
        # In a tuple of a list Keras would track the teacher and train and save it with the student.
        self._teacher = _Untracked(_with_features(config.teacher, [pair[1] for pair in pairs]))
        self.regressors = [
            keras.layers.Conv2D(teacher.output_shape[-1], 1, name=f"regressor_{index}")
            for index, (_, teacher) in enumerate(pairs if config.features else [])
        ]
        for regressor, (layer, _) in zip(self.regressors, pairs, strict=False):
            regressor.build(layer.output_shape)
        # Keras' own mean, which it reports as the loss, is of the loss on the labels alone.
        self._mean_loss = _Untracked(keras.metrics.Mean(name="loss"))
        self.build(student.input_shape)

    @property
    def layers(self) -> list[Any]:
        """The student alone: no technique is meant to treat the regressors."""
        return [self.student]

    def call(self, inputs: Any, training: Any = None) -> Any:
        """The student's logits."""
        return self.student(inputs, training=training)

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on labels and teacher."""
        images, labels = data
        taught = _called(self._teacher.value, images, training=False)
        with tf.GradientTape() as tape:
            learned = _called(self._student_outputs, images, training=True)
            hard = self.compute_loss(images, labels, learned[0], None)
            loss = (1 - self._config.alpha) * hard + self._from_teacher(learned, taught)
        variables = self.trainable_variables
        self.optimizer.minimize(loss, variables, tape=tape)
        self._mean_loss.value.update_state(loss, sample_weight=tf.shape(images)[0])
        return self.compute_metrics(images, labels, learned[0], None)

    def test_step(self, data: Any) -> dict[str, Any]:
        """The student on labels alone."""
        images, labels = data
        outputs = self(images, training=False)
        loss = self.compute_loss(images, labels, outputs, None)
        self._mean_loss.value.update_state(loss, sample_weight=tf.shape(images)[0])
        return self.compute_metrics(images, labels, outputs, None)

    @property
    def metrics(self) -> list[Any]:
        """Keras' metrics, with the whole loss under the name of the loss."""
        return [*super().metrics, self._mean_loss.value]

    def _from_teacher(self, learned: list[Any], taught: list[Any]) -> Any:
        config = self._config
        temperature = config.temperature
        soft = tf.nn.softmax(taught[0] / temperature)
        entropy = tf.nn.softmax_cross_entropy_with_logits(soft, learned[0] / temperature)
        own = tf.nn.softmax_cross_entropy_with_logits(soft, taught[0] / temperature)
        loss = config.alpha * temperature**2 * tf.reduce_mean(entropy - own)
        for regressor, ours, theirs in zip(self.regressors, learned[1:], taught[1:], strict=False):
            loss += config.features * tf.reduce_mean(tf.square(regressor(ours) - theirs))
        if config.attention:
            for ours, theirs in zip(learned[1:], taught[1:], strict=True):
                difference = attention_map(ours) - attention_map(theirs)
                loss += config.attention * tf.reduce_mean(tf.reduce_sum(difference**2, axis=-1))
        return loss


class _Untracked:
    """Hides a model or metric from Keras' attribute tracking."""

    def __init__(self, value: Any) -> None:
        self.value = value


def attention_map(features: Any) -> Any:
    """Sum of squares over the channels, flattened and scaled to unit length.

    Args:
      features: float [batch, height, width, channels].

    Returns:
      float [batch, height * width].
    """
    energy = tf.reduce_sum(tf.square(features), axis=-1)
    return tf.math.l2_normalize(
        tf.reshape(energy, [-1, energy.shape[1] * energy.shape[2]]), axis=-1
    )


def matching_layers(student: Any, teacher: Any) -> list[tuple[Any, Any]]:
    """For each height and width that both have, the last layer of either with such an output."""
    ours, theirs = _last_by_resolution(student), _last_by_resolution(teacher)
    return [(ours[size], theirs[size]) for size in ours if size in theirs]


def _last_by_resolution(model: Any) -> dict[tuple[int, int], Any]:
    last = {}
    for layer in leaf_layers(model):
        shape = layer.output_shape
        if isinstance(shape, tuple) and len(shape) == 4 and shape[1] > 1:
            last[shape[1:3]] = layer
    return last


def _with_features(model: Any, layers: list[Any]) -> Any:
    return keras.Model(model.inputs, [model.output, *(layer.output for layer in layers)])


def _called(model: Any, images: Any, *, training: bool) -> list[Any]:
    """The outputs as a list, also where there is but one, which Keras returns bare."""
    outputs = model(images, training=training)
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]
