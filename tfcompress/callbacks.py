"""Keras callbacks that belong to no single technique.

Importing this module imports TensorFlow: a callback is a subclass of a Keras class.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from tfcompress import level_search
from tfcompress._keras import keras
from tfcompress.level_search import LevelTrial, SearchConfig
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


class RaiseLevel(keras.callbacks.Callback):
    """Takes a technique as far as the validation drop allows, within one fit.

    Before a level the technique acts on the weights at once; then the model trains under it until
    an epoch keeps within the drop, for at most `patience` epochs. Where none does, the weights go
    back to those of the highest level that held. The optimizer keeps its state throughout.

    `fit` ends when the search does, or with its own epochs; either way the model is left with the
    weights of the highest level that held. Where none did, it has those that it began with, and a
    warning says so.

    Args:
      technique: a module of `tfcompress.techniques` with `LEVEL` and `at_once`.
      config: an instance of its `CONFIG`; the setting of the level is replaced.
      search: the drop and the steps.
      baseline: the accuracy that drops are counted from, a fraction.
      patience: epochs that a level is given, at least 1.
      monitor: the metric of an epoch that is compared with `baseline`, higher being better.

    Attributes:
      trials: the levels tried so far; of the last `fit`.
    """

    def __init__(
        self,
        technique: ModuleType,
        config: Any,
        search: SearchConfig,
        *,
        baseline: float,
        patience: int,
        monitor: str,
    ) -> None:
        super().__init__()
        self._technique = technique
        self._config = config
        self._search = search
        self._baseline = baseline
        self._patience = patience
        self._monitor = monitor
        self.trials: list[LevelTrial] = []
        self._level: float | None = None
        self._keeping: list[Any] = []
        self._scores: list[float] = []
        self._kept_weights: list[Any] = []

    @property
    def kept(self) -> LevelTrial | None:
        """The level whose weights the model is left with; None where none held."""
        return level_search.kept(self.trials)

    @property
    def config(self) -> Any:
        """The technique's config at the level that was kept.

        Raises:
          ValueError: none held.
        """
        if self.kept is None:
            raise ValueError(
                f"No level kept within a drop of {self._search.max_drop:g}: there is no config of "
                f"one. Tried: {', '.join(f'{trial.value:g}' for trial in self.trials) or 'none'}."
            )
        return self._technique.LEVEL.applied(self._config, self.kept.level)

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Begins a new search, at its first level.

        Raises:
          ValueError: the technique can treat no layer of the model.
        """
        self.trials = []
        self._kept_weights = self.model.get_weights()
        # For what it refuses; the copy is not needed.
        self._technique.wrap(self.model, self._config, steps_per_epoch=1, epochs=1)
        self._begin_level()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Passed on to what keeps the technique's effect."""
        for callback in self._keeping:
            callback.on_epoch_begin(epoch, logs)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Passed on to what keeps the technique's effect."""
        for callback in self._keeping:
            callback.on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Judges the level, and goes on to the next where it held or had its epochs.

        Raises:
          ValueError: the epoch has no such metric.
        """
        if self._monitor not in (logs or {}):
            raise ValueError(
                f"The level is judged by {self._monitor!r}, which this training does not have. "
                f"Known: {', '.join(logs or ()) or 'none'}. Give fit validation_data, and compile "
                "the metric."
            )
        assert logs is not None
        self._scores.append(float(logs[self._monitor]))
        held = self._search.allows(self._baseline - self._scores[-1])
        if not held and len(self._scores) < self._patience:
            return
        self._record(held=held)
        if held:
            self._kept_weights = self.model.get_weights()
        else:
            self.model.set_weights(self._kept_weights)
        self._begin_level()

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Leaves the model with the weights of the highest level that held."""
        self.model.set_weights(self._kept_weights)
        self._keeping = []
        if self.kept is None:
            warnings.warn(
                f"No level of {self._technique.LEVEL.setting} kept within a drop of "
                f"{self._search.max_drop:g} from {self._baseline:g}: the model has the weights "
                "that it began with. Allow a greater drop, more patience, or smaller steps.",
                stacklevel=2,
            )

    def _begin_level(self) -> None:
        """Takes the model to the next level, or ends the training where there is none."""
        own = self._technique.LEVEL
        self._keeping, self._scores = [], []
        while True:
            level = level_search.next_level(self.trials, self._search, highest=own.highest)
            self._level = level
            if level is None:
                self.model.stop_training = True
                return
            same = level_search.of_value(self.trials, own.value(level))
            if same is None:
                break
            self.trials.append(level_search.again(same, level))
        config = own.applied(self._config, level)
        self._technique.at_once(self.model, config)
        self._keeping = list(self._technique.callbacks(config))
        for callback in self._keeping:
            callback.set_params(self.params)
            callback.set_model(self.model)
            callback.on_train_begin()

    def _record(self, *, held: bool) -> None:
        own, accuracy = self._technique.LEVEL, max(self._scores)
        assert self._level is not None, "there is a level as long as the training goes on"
        self.trials.append(
            LevelTrial(
                self._level,
                own.setting,
                float(own.value(self._level)),
                held,
                accuracy=accuracy,
                drop=self._baseline - accuracy,
                epochs=len(self._scores),
            )
        )
