"""The Keras model behind `distill`. Importing this module imports TensorFlow."""

from __future__ import annotations

from typing import Any

from tfcompress._keras import keras, tf
from tfcompress.graph.outputs import final_activation
from tfcompress.techniques._compared import NOTHING, compared, divergence, over_tokens
from tfcompress.techniques.distill import DistillationConfig

_LEAST_PROBABILITY = 1e-20
"""Below it a softmax's output has underflowed; its logarithm and gradient stay finite."""


class Distiller(keras.Model):
    """Trains a student under a teacher; its inputs, outputs and weights are the student's.

    The regressors of the feature loss are the only weights besides the student's; they come last.
    Losses are means over the batch of one replica, divided by the number of replicas, as Keras
    divides its own: the gradients that are summed over the replicas are those of the whole batch.

    Args:
      student: functional model of one output: logits, probabilities or values.
      config: the loss, with the teacher.
    """

    def __init__(self, student: Any, config: DistillationConfig) -> None:
        # The policy says whether Keras scales the loss; the student casts its own inputs.
        super().__init__(dtype=student.dtype_policy, autocast=False)
        self.student = student
        self._config = config
        inside = config.features > 0 or config.attention > 0
        found = compared(student, config.teacher) if inside else NOTHING
        features = found.features if config.features else ()
        attention = found.attention if config.attention else ()
        mask = [] if found.mask is None else [found.mask]
        self._attention_error, self._has_mask = found.attention_error, bool(mask)
        ours = [own for own, _ in (*features, *attention)]
        theirs = [other for _, other in (*features, *attention)]
        self._student_outputs = _with_outputs(student, ours)
        # In a tuple of a list Keras would track the teacher and train and save it with the student.
        self._teacher = _Untracked(_with_outputs(config.teacher, [*theirs, *mask]))
        self._softmax = [final_activation(m) == "softmax" for m in (student, config.teacher)]
        self.regressors = [
            _regressor(own, other, name=f"regressor_{index}")
            for index, (own, other) in enumerate(features)
        ]
        # Keras' own mean, which it reports as the loss, is of the loss on the labels alone.
        self._mean_loss = _Untracked(keras.metrics.Mean(name="loss"))
        self.built = True

    @property
    def layers(self) -> list[Any]:
        """The student alone: no technique is meant to treat the regressors."""
        return [self.student]

    def call(self, inputs: Any, training: Any = None) -> Any:
        """The student's outputs."""
        return self.student(inputs, training=training)

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on labels and teacher."""
        if self._config.views:
            (inputs, labels, *taught), weights = data, None
        else:
            inputs, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
            taught = _called(self._teacher.value, inputs, training=False)
        with tf.GradientTape() as tape:
            learned = _called(self._student_outputs, inputs, training=True)
            on_labels = self.compute_loss(inputs, labels, learned[0], weights)
            loss = (1 - self._config.alpha) * tf.cast(on_labels, tf.float32)
            loss += self._shared(self._config.alpha * self._regularization())
            loss += self._shared(self._from_teacher(learned, taught, weights))
        # Keras' optimizer scales the loss where the policy is mixed_float16.
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        self._record(loss, learned[0])
        return self.compute_metrics(inputs, labels, learned[0], weights)

    def test_step(self, data: Any) -> dict[str, Any]:
        """The student on labels alone."""
        inputs, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        outputs = self(inputs, training=False)
        self._record(self.compute_loss(inputs, labels, outputs, weights), outputs)
        return self.compute_metrics(inputs, labels, outputs, weights)

    @property
    def metrics(self) -> list[Any]:
        """Keras' metrics, with the whole loss under the name of the loss."""
        return [*super().metrics, self._mean_loss.value]

    def _shared(self, loss: Any) -> Any:
        """This replica's share of a loss."""
        return loss / tf.distribute.get_strategy().num_replicas_in_sync

    def _record(self, loss: Any, outputs: Any) -> None:
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        self._mean_loss.value.update_state(loss * replicas, sample_weight=tf.shape(outputs)[0])

    def _regularization(self) -> Any:
        losses = [tf.cast(loss, tf.float32) for loss in self.losses]
        return tf.add_n(losses) if losses else 0.0

    def _from_teacher(self, learned: list[Any], taught: list[Any], weights: Any) -> Any:
        config = self._config
        loss = tf.constant(0.0)
        if config.alpha:
            loss += config.alpha * _mean(self._of_outputs(learned[0], taught[0]), weights)
        ours, theirs = (
            [tf.cast(tensor, tf.float32) for tensor in tensors[1:]] for tensors in (learned, taught)
        )
        mask = theirs.pop() if self._has_mask else None

        def mean(errors: Any) -> Any:
            return _mean(errors if mask is None else over_tokens(errors, mask), weights)

        for regressor, own, other in zip(self.regressors, ours, theirs, strict=False):
            errors = tf.reduce_mean(tf.square(regressor(own) - other), axis=-1)
            loss += config.features * mean(errors)
        count = len(self.regressors)
        for own, other in zip(ours[count:], theirs[count:], strict=True):
            loss += config.attention * mean(self._attention_error(own, other))
        return loss

    def _of_outputs(self, ours: Any, theirs: Any) -> Any:
        """How far the student's outputs are from the teacher's, [batch, ...]."""
        config = self._config
        if config.value_scale is not None:
            difference = tf.cast(ours, tf.float32) - tf.cast(theirs, tf.float32)
            return tf.square(difference / tf.constant(config.value_scale, tf.float32))
        pairs = zip((ours, theirs), self._softmax, strict=True)
        logits = (_logits(outputs, probabilities=softmax) for outputs, softmax in pairs)
        return config.temperature**2 * divergence(*logits, temperature=config.temperature)


class _Untracked:
    """Hides a model or metric from Keras' attribute tracking."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _logits(outputs: Any, *, probabilities: bool) -> Any:
    """Outputs as float32 logits; those of probabilities are their logarithms."""
    outputs = tf.cast(outputs, tf.float32)
    return tf.math.log(tf.maximum(outputs, _LEAST_PROBABILITY)) if probabilities else outputs


def _mean(values: Any, weights: Any) -> Any:
    """The mean over a batch and all else, each example weighted; 0 for an empty batch.

    Args:
      values: float32 [batch, ...].
      weights: one for each example, or for each position where `values` has as many; None for 1.
    """
    if weights is not None:
        weights = tf.cast(weights, values.dtype)
        if weights.shape.rank > values.shape.rank:
            weights = tf.reshape(weights, tf.shape(values))
        values = tf.reduce_mean(values, axis=list(range(weights.shape.rank, values.shape.rank)))
        values *= weights
    return tf.math.divide_no_nan(tf.reduce_sum(values), tf.cast(tf.size(values), values.dtype))


def _regressor(ours: Any, theirs: Any, *, name: str) -> Any:
    """A linear map of a student's channels to its teacher's; the identity where both have as many.

    So a student that its teacher's layers begin in is held against them as they are.
    """
    channels = theirs.shape[-1]
    initializer = "identity" if ours.shape[-1] == channels else "glorot_uniform"
    regressor = keras.layers.Dense(
        channels, kernel_initializer=initializer, name=name, dtype="float32"
    )
    regressor.build(ours.shape)
    return regressor


def _with_outputs(model: Any, inside: list[Any]) -> Any:
    found = keras.Model(model.inputs, [model.outputs[0], *inside])
    # Batches of texts are cut to the longest of them, which Keras alone would refuse.
    found.input_spec = None
    return found


def _called(model: Any, inputs: Any, *, training: bool) -> list[Any]:
    """The outputs as a list, also where there is but one, which Keras returns bare."""
    outputs = model(inputs, training=training)
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]
