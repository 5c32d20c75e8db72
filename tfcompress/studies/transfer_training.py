"""The trainings that trials of a transfer study consist of: a head, a backbone, the stages.

Knows how each is carried out and counted. Does not know which trial needs which.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tfcompress import compose, head_training, training
from tfcompress._keras import keras
from tfcompress.data import Dataset
from tfcompress.planned_stages import PlannedStage
from tfcompress.preprocessing import Preprocessing
from tfcompress.progress import Reporter, listener
from tfcompress.run_folder import ENCODED, RunFolder
from tfcompress.training import TrainingConfig


@dataclass(frozen=True, eq=False)
class Task:
    """What a model is trained on.

    Attributes:
      dataset: whose train and validation splits are used.
      preprocessing: of the model.
    """

    dataset: Dataset
    preprocessing: Preprocessing

    def batches(self, config: TrainingConfig) -> training.Batches:
        """Images of the training split, and of validation."""
        return training.image_batches(self.dataset, self.preprocessing, config)


@dataclass(frozen=True)
class Trained:
    """A classifier with what its trainings came to.

    Attributes:
      model: plain, with the weights of the best epoch.
      validation_accuracy: of that epoch, of the last training.
      epochs: of all trainings.
      images: shown in all of them.
    """

    model: Any
    validation_accuracy: float = 0.0
    epochs: int = 0
    images: int = 0

    def after(self, before: Trained) -> Trained:
        """The same, counted on from what came before it."""
        epochs, images = self.epochs + before.epochs, self.images + before.images
        return Trained(self.model, self.validation_accuracy, epochs, images)


class Trainer:
    """Trains classifiers in a study's folder, where an interrupted training goes on.

    Args:
      folder: of the study.
      reporter: told of the progress.
    """

    def __init__(self, folder: RunFolder, reporter: Reporter) -> None:
        self._folder = folder
        self._reporter = reporter

    def head(self, model: Any, task: Task, config: TrainingConfig, *, name: str) -> Trained:
        """Trains a classifier's head alone, on images that are encoded once."""
        head, batches = head_training.encoded(
            model,
            task.dataset,
            task.preprocessing,
            config=config,
            cache_dir=self._folder.root / ENCODED,
        )
        found = self._fit(head, batches, config, name=name)
        # Of this backbone alone: the next one has others.
        shutil.rmtree(self._folder.root / ENCODED, ignore_errors=True)
        return Trained(model, found.validation_accuracy, found.epochs, found.images)

    def layers(
        self,
        model: Any,
        task: Task,
        config: TrainingConfig,
        *,
        name: str,
        stages: Sequence[PlannedStage] = (),
    ) -> Trained:
        """Trains the layers of a classifier that are not frozen.

        Args:
          model: changed in place.
          task: what it learns.
          config: how.
          name: of the training.
          stages: that the model went through; what they made is kept.
        """
        callbacks = compose.keeping(stages)
        return self._fit(model, task.batches(config), config, name=name, callbacks=callbacks)

    def stages(
        self,
        model: Any,
        stages: Sequence[PlannedStage],
        task: Task,
        config: TrainingConfig,
        *,
        name: str,
    ) -> Trained:
        """Compresses a classifier, a training with all epochs of `config` for each stage."""
        trained = Trained(model)
        for number in range(1, len(stages) + 1):
            found = self._stage(stages[:number], trained.model, task, config, f"{name}/{number}")
            trained = found.after(trained)
        return trained

    def _stage(
        self,
        stages: Sequence[PlannedStage],
        model: Any,
        task: Task,
        config: TrainingConfig,
        name: str,
    ) -> Trained:
        batches = task.batches(config)
        steps, epochs = batches.steps_per_epoch, config.epochs
        wrapped = compose.wrap(stages, model, supplied={}, steps_per_epoch=steps, epochs=epochs)
        found = self._fit(
            wrapped,
            batches,
            config,
            name=name,
            callbacks=compose.callbacks(stages),
            first_eligible_epoch=compose.first_eligible_epoch(stages, epochs=epochs),
        )
        stripped = compose.strip(stages, wrapped)
        compose.verify(stages, stripped, before=model)
        return Trained(stripped, found.validation_accuracy, found.epochs, found.images)

    def _fit(
        self,
        model: Any,
        batches: training.Batches,
        config: TrainingConfig,
        *,
        name: str,
        callbacks: Sequence[Any] = (),
        first_eligible_epoch: int = 0,
    ) -> Trained:
        with self._reporter.bar(name) as step:
            found = training.fit(
                model,
                batches,
                config=config,
                state_dir=self._folder.stage(name),
                callbacks=callbacks,
                first_eligible_epoch=first_eligible_epoch,
                on_step=listener(step),
            )
        best = found.history[found.best_epoch]["val_accuracy"]
        images = round(sum(epoch["examples"] for epoch in found.history))
        return Trained(model, float(best), len(found.history), images)

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """A model that several trials start from, made once.

        Args:
          name: tells it from all others of the study.
          make: makes it, by trainings whose names begin with `name`.
        """
        path = self._folder.model(name)
        self._folder.keep_file(path, name, lambda path: make().save(path))
        self.forget(name)
        return keras.models.load_model(path, compile=False)

    def forget(self, name: str) -> None:
        """Removes the checkpoints of trainings that are done."""
        shutil.rmtree(self._folder.stage(name), ignore_errors=True)
