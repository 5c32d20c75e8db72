"""Learning-rate schedules that Keras lacks. Importing this module imports TensorFlow."""

from __future__ import annotations

from typing import Any

from tfcompress._keras import keras, tf


class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """Rises in a straight line from 0 to `peak`, then follows another schedule from its start.

    Args:
      peak: learning rate after the warm-up.
      steps: of the warm-up.
      then: a number or a Keras schedule, asked for `step - steps`.
    """

    def __init__(self, peak: float, steps: int, then: Any) -> None:
        super().__init__()
        self._peak = peak
        self._steps = steps
        self._then = then

    def __call__(self, step: Any) -> Any:
        """The learning rate at a step."""
        step = tf.cast(step, tf.float32)
        rising = self._peak * (step + 1) / self._steps
        rest = self._then(step - self._steps) if callable(self._then) else self._then
        return tf.where(step < self._steps, rising, rest)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {"peak": self._peak, "steps": self._steps, "then": self._then}
