"""Keras callbacks that belong to no single technique.

Importing this module imports TensorFlow: a callback is a subclass of a Keras class.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from tfcompress._keras import keras
from tfcompress.resource_use import Meter


class EpochRecorder(keras.callbacks.Callback):
    """Hands the metrics of each epoch, with its duration and learning rate, to a function.

    Args:
      on_epoch: called with (epoch, metrics) after each epoch; metrics also holds `seconds` (wall
        time of the epoch, validation included), `learning_rate` (at its end) and what
        `resource_use.Meter` measures over the epoch.
      should_stop: asked after `on_epoch`; True ends the training.
    """

    def __init__(
        self,
        on_epoch: Callable[[int, Mapping[str, float]], None],
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__()
        self._on_epoch = on_epoch
        self._should_stop = should_stop
        self._started = 0.0
        self._meter = Meter()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Starts the clock."""
        self._meter.start()
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Passes the record on and stops the training when asked to."""
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        metrics["learning_rate"] = float(
            keras.backend.get_value(self.model.optimizer.learning_rate)
        )
        metrics["seconds"] = time.perf_counter() - self._started
        metrics |= self._meter.stop()
        self._on_epoch(epoch, metrics)
        if self._should_stop():
            self.model.stop_training = True


class ReseedEachEpoch(keras.callbacks.Callback):
    """Sets the random generators of the model's layers from (seed, epoch).

    A training that goes on from epoch k then drops the same units as one that was never
    interrupted. Layers that draw from the process-wide sequence, as Keras builds them by default,
    are given a `tf.random.Generator` of their own, since that sequence cannot be set to an epoch.

    Args:
      seed: of the training.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed
        self._generators: list[Any] = []

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Gives every layer that draws random numbers a generator that can be reset."""
        self._generators = []
        for layer in self.model._flatten_layers(include_self=False):
            if getattr(layer, "_random_generator", None) is None:
                continue
            if getattr(layer._random_generator, "_generator", None) is None:
                kind = type(layer._random_generator)
                layer._random_generator = kind(self._seed, rng_type="stateful")
                layer._random_generator._maybe_init()
            self._generators.append(layer._random_generator._generator)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Resets every generator."""
        for index, generator in enumerate(self._generators):
            generator.reset_from_seed(hash((self._seed, epoch, index)) % 2**31)


class BatchProgress(keras.callbacks.Callback):
    """Reports every finished step, for a progress bar.

    Args:
      on_step: called with (steps done in the whole training, all its steps, metrics so far).
      steps_per_epoch: batches in one epoch.
      epochs: of the whole training.
    """

    def __init__(
        self,
        on_step: Callable[[int, int, Mapping[str, Any]], None],
        *,
        steps_per_epoch: int,
        epochs: int,
    ) -> None:
        super().__init__()
        self._on_step = on_step
        self._steps_per_epoch = steps_per_epoch
        self._total = steps_per_epoch * epochs
        self._first = 0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Remembers where the epoch starts."""
        self._first = epoch * self._steps_per_epoch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Reports the step."""
        self._on_step(self._first + batch + 1, self._total, logs or {})
