"""The only caller of `fit` in the package: optimizer by name, seeds, best epoch, checkpoints.

Knows how a training is made repeatable and how it goes on after an interruption. Does not know
which technique a model is wrapped for: that arrives as a wrapped model and callbacks.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress import objectives, optimizers, placement, registry
from tfcompress._keras import keras, tf
from tfcompress.checkpoint import TrainingState
from tfcompress.data import Dataset, pipeline
from tfcompress.goals import Classes, Goal
from tfcompress.graph.lengths import any_length
from tfcompress.objectives import DEFAULT_LOSS, LOSSES
from tfcompress.tokenization import Preparation

StepListener = Callable[[int, int, Mapping[str, Any]], None]


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained; names are those of Keras.

    Attributes:
      epochs: passes over the training split, at least 1.
      batch_size: images in one step, at least 1.
      optimizer: one of `optimizers.OPTIMIZERS`; `sgd` runs with Nesterov momentum 0.9.
      learning_rate: the highest one, above 0.
      schedule: one of `optimizers.SCHEDULES`, over the whole training, per step.
      warmup: fraction of the steps in [0, 1) over which the learning rate first rises from 0, in a
        straight line.
      loss: one of `objectives.LOSSES`, or `"default"`: cross-entropy for classes, the mean squared
        error for values.
      label_smoothing: in [0, 1); of the cross-entropies.
      weight_decay: decoupled, 0 for none.
      early_stopping_patience: epochs without a better one before the training ends, by what the
        best epoch is chosen by; 0 for never.
      augmentation: random changes of the training images.
      seed: of order, augmentation and dropout.
      strategy: one of `placement.STRATEGIES`. `batch_size` stays that of the whole step, of which
        each device of `mirrored` takes an equal share.
      precision: one of `placement.PRECISIONS`. A mixed one is for GPUs and for processors with
        bfloat16 arithmetic; others emulate half precision and are slower with it.

    Raises:
      ValueError: a value outside its range, or an unknown name.
    """

    epochs: int = 10
    batch_size: int = 128
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    schedule: str = "cosine_decay"
    warmup: float = 0.0
    loss: str = DEFAULT_LOSS
    label_smoothing: float = 0.0
    weight_decay: float = 0.0
    early_stopping_patience: int = 0
    augmentation: pipeline.AugmentationConfig = field(default_factory=pipeline.AugmentationConfig)
    seed: int = 0
    strategy: str = "none"
    precision: str = "float32"

    def __post_init__(self) -> None:
        registry.require(self.strategy, placement.STRATEGIES, what="strategy")
        registry.require(self.precision, placement.PRECISIONS, what="precision")
        registry.require(self.optimizer, optimizers.OPTIMIZERS, what="optimizer")
        registry.require(self.schedule, optimizers.SCHEDULES, what="learning-rate schedule")
        registry.require(self.loss, (DEFAULT_LOSS, *LOSSES), what="loss")
        for name in ("epochs", "batch_size"):
            _require(self, name, getattr(self, name) >= 1, "at least 1")
        _require(self, "learning_rate", 0 < self.learning_rate < math.inf, "above 0 and finite")
        _require(self, "warmup", 0 <= self.warmup < 1, "in [0, 1)")
        _require(self, "label_smoothing", 0 <= self.label_smoothing < 1, "in [0, 1)")
        smoothing = (DEFAULT_LOSS, *Classes.label_smoothing)
        if self.label_smoothing and self.loss not in smoothing:
            raise ValueError(
                f"Loss {self.loss!r} takes no label_smoothing. Received: {self.label_smoothing}. "
                f"Use one of {', '.join(smoothing)}, or 0."
            )
        _require(self, "weight_decay", 0 <= self.weight_decay < math.inf, "at least 0 and finite")
        _require(self, "early_stopping_patience", self.early_stopping_patience >= 0, "at least 0")

    def require_task(self, task: str) -> None:
        """Refuses a loss or smoothed labels that a task does not have.

        Args:
          task: a key of `goals.GOALS`.

        Raises:
          ValueError: the message lists the losses of the task.
        """
        objectives.require_loss(self.loss, task=task, label_smoothing=self.label_smoothing)

    def of(self, goal: Goal) -> TrainingConfig:
        """The same settings with the loss of a goal by its name.

        Raises:
          ValueError: see `require_task`.
        """
        self.require_task(goal.task)
        return dataclasses.replace(self, loss=objectives.loss_name(self.loss, goal))


def _require(config: object, name: str, holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(
            f"{type(config).__name__}.{name} must be {expected}. Received: {getattr(config, name)}."
        )


@dataclass(frozen=True)
class TrainingResult:
    """What a training did; the model itself holds the best epoch's weights.

    Attributes:
      history: for each epoch the Keras metrics, and what `results.StageResult` lists.
      best_epoch: 0-based.
      seconds: wall time of all epochs, over all sessions.
    """

    history: tuple[Mapping[str, float], ...]
    best_epoch: int
    seconds: float


def compile_model(model: Any, config: TrainingConfig, *, goal: Goal, steps: int) -> None:
    """Compiles a model that ends in logits, or in values.

    Args:
      model: a Keras model, wrapped or not.
      config: optimizer, schedule and loss.
      goal: what the model is to say.
      steps: of the whole training, for the schedule.

    Raises:
      ValueError: the loss is none of the goal's.
    """
    model.compile(
        optimizer=build_optimizer(config, steps=steps),
        loss=objectives.build_loss(config.loss, goal, label_smoothing=config.label_smoothing),
        metrics=objectives.build_metrics(goal),
        # XLA would compile each wrapped model again and changes the order of additions.
        jit_compile=False,
    )
    # A training step that makes variables is traced a second time, without them.
    outputs = tf.zeros([1, len(goal.names)])
    model.compiled_loss.build(outputs)
    model.compiled_metrics.build(outputs, outputs)
    model.optimizer.build(model.trainable_variables)


def build_optimizer(config: TrainingConfig, *, steps: int) -> Any:
    """The Keras optimizer that a config names, its schedule laid over `steps` steps."""
    rate = optimizers.build_schedule(
        config.schedule, config.learning_rate, steps=steps, warmup=config.warmup
    )
    return optimizers.build_optimizer(config.optimizer, rate, weight_decay=config.weight_decay)


@dataclass(frozen=True)
class Batches:
    """What a model is trained on.

    Attributes:
      train: from the 0-based epoch to start with, endless batches of (inputs, labels) whose
        order depends on seed and epoch alone; with the teacher's outputs as a third where a
        distillation has them at hand. Labels are int64 classes [batch], or values [batch, targets].
      validation: finite batches of (inputs, labels).
      steps_per_epoch: training batches in one epoch.
      goal: what the labels are.
    """

    train: Callable[[int], Any]
    validation: Any
    steps_per_epoch: int
    goal: Goal


def image_batches(
    dataset: Dataset,
    preprocessing: Preparation,
    config: TrainingConfig,
    *,
    views: int = 0,
    answers: Callable[[], np.ndarray] | None = None,
) -> Batches:
    """Batches of augmented images, or of texts, from the train split, plain ones from validation.

    Args:
      dataset: whose splits are used.
      preprocessing: brings examples to what the model takes.
      config: batch size, seed and augmentation.
      views: see `pipeline.train_batches`.
      answers: gives what `pipeline.train_batches` takes; asked when a training begins.
    """

    def train(first_epoch: int) -> Any:
        return pipeline.train_batches(
            dataset.train,
            preprocessing,
            batch_size=config.batch_size,
            seed=config.seed,
            first_epoch=first_epoch,
            augmentation=config.augmentation,
            views=views,
            answers=answers and answers(),
        )

    return Batches(
        train,
        pipeline.ordered_batches(
            dataset.validation,
            preprocessing,
            batch_size=_validation_batch(len(dataset.validation), config),
            by_length=True,
        ),
        pipeline.steps_per_epoch(dataset.train, config.batch_size),
        dataset.goal,
    )


def _validation_batch(examples: int, config: TrainingConfig) -> int:
    devices = placement.replicas(config.strategy)
    return placement.shared_batch_size(examples, at_most=256, devices=devices)


def encoded_batches(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    config: TrainingConfig,
    *,
    goal: Goal,
) -> Batches:
    """Batches of images that a frozen backbone has encoded, for training the head alone.

    Args:
      train: float32 [n, features], and labels: int64 [n], or values [n, targets].
      validation: likewise.
      config: batch size and seed; nothing is augmented.
      goal: what the labels are.
    """
    codes, labels = (tf.constant(array) for array in train)
    size = min(config.batch_size, len(train[1]))

    def one_epoch(epoch: Any) -> Any:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(train[1])), seed=tf.stack([tf.constant(config.seed, tf.int64), epoch])
        )
        rows = tf.data.Dataset.from_tensor_slices(order).batch(size, drop_remainder=True)
        return rows.map(lambda rows: (tf.gather(codes, rows), tf.gather(labels, rows)))

    def batches(first_epoch: int) -> Any:
        epochs = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
        return epochs.flat_map(one_epoch).prefetch(tf.data.AUTOTUNE)

    return Batches(
        batches,
        tf.data.Dataset.from_tensor_slices(validation).batch(
            _validation_batch(len(validation[1]), config)
        ),
        len(train[1]) // size,
        goal,
    )


def fit(
    model: Any,
    batches: Batches,
    *,
    config: TrainingConfig,
    state_dir: str | Path,
    callbacks: Sequence[Any] = (),
    first_eligible_epoch: int = 0,
    on_step: StepListener | None = None,
    on_epoch: Callable[[int, Mapping[str, float]], None] | None = None,
    tensorboard_dir: str | Path | None = None,
) -> TrainingResult:
    """Trains a model and leaves it with the weights of its best epoch.

    The best epoch is the one with the highest validation accuracy, for values the one with the
    least validation loss, the later one of equals. After
    each epoch the whole state (weights, optimizer, history) goes into one file of `state_dir`; the
    same call on the same folder goes on from there and ends, on a CPU, with the same weights as
    without the break.

    Args:
      model: one that returns logits or values, wrapped or not, built within `placement.scope` of
        the config's strategy and in its precision (`placement.placed`). It is compiled here.
      batches: what to learn from, and what to choose the epoch by.
      config: how to train.
      state_dir: folder of the checkpoint files.
      callbacks: fresh Keras callbacks, such as a technique's.
      first_eligible_epoch: 0-based; earlier epochs are never chosen (their compression is not
        complete).
      on_step: told of every step.
      on_epoch: told of every epoch, with its metrics.
      tensorboard_dir: writes TensorBoard logs there.

    Raises:
      FloatingPointError: the loss became NaN or infinite.
      ValueError: the model was built for another strategy, or a batch has no equal share for each
        device.
    """
    from tfcompress.callbacks import BatchProgress, EpochRecorder, ReseedEachEpoch

    placement.require_placed(model, config.strategy)
    placement.normalize_together(model, config.strategy)
    steps = batches.steps_per_epoch
    with placement.scope(config.strategy):
        compile_model(model, config, goal=batches.goal, steps=steps * config.epochs)
        state = TrainingState(
            model,
            Path(state_dir),
            monitor=batches.goal.monitor,
            patience=config.early_stopping_patience,
            first_eligible_epoch=min(first_eligible_epoch, config.epochs - 1),
            from_chief=(
                partial(placement.from_chief, config.strategy)
                if config.strategy == "multi_worker"
                else None
            ),
            is_chief=placement.is_chief(config.strategy),
        )
        first_epoch = state.restore()
    started = time.perf_counter()

    def record(epoch: int, metrics: Mapping[str, float]) -> None:
        _require_finite(epoch, metrics, config)
        metrics = {**metrics, "examples": float(steps * config.batch_size)}
        state.record(metrics)
        if on_epoch:
            on_epoch(epoch, metrics)

    if first_epoch < config.epochs and not state.should_stop():
        keras.utils.set_random_seed(config.seed)
        own = [ReseedEachEpoch(config.seed), *callbacks, EpochRecorder(record, state.should_stop)]
        if on_step:
            own.append(BatchProgress(on_step, steps_per_epoch=steps, epochs=config.epochs))
        if tensorboard_dir:
            own.append(keras.callbacks.TensorBoard(str(tensorboard_dir)))
        train, validation = (
            placement.sharded(_encoded(found, batches.goal), config.strategy)
            for found in (batches.train(first_epoch), batches.validation)
        )
        placement.require_shares(train, config.strategy)
        with placement.together(config.strategy), _shortened(model, train):
            model.fit(
                train,
                validation_data=validation,
                epochs=config.epochs,
                initial_epoch=first_epoch,
                steps_per_epoch=steps,
                callbacks=own,
                verbose=0,
            )
    state.load_best()
    seconds = state.seconds_before + time.perf_counter() - started
    return TrainingResult(tuple(state.history), state.best_epoch(), seconds)


def _shortened(model: Any, batches: Any) -> AbstractContextManager[None]:
    """Lets a model take batches of texts that are shorter than its input says."""
    cut = not batches.element_spec[0].shape[1:].is_fully_defined()
    return any_length(model) if cut else nullcontext()


def fit_by_keras(
    model: Any,
    batches: Batches,
    *,
    config: TrainingConfig,
    callbacks: Sequence[Any] = (),
    on_step: StepListener | None = None,
) -> None:
    """Trains a model as Keras does by itself: to compare with. Nothing is kept or chosen.

    Args:
      model: one that returns logits or values, wrapped or not. It is compiled here.
      batches: what to learn from.
      config: how to train.
      callbacks: fresh Keras callbacks.
      on_step: told of every step.
    """
    from tfcompress.callbacks import BatchProgress

    steps = batches.steps_per_epoch
    model.compile(
        optimizer=build_optimizer(config, steps=steps * config.epochs),
        loss=objectives.build_loss(
            config.loss, batches.goal, label_smoothing=config.label_smoothing
        ),
        metrics=objectives.build_metrics(batches.goal),
    )
    own = [BatchProgress(on_step, steps_per_epoch=steps, epochs=config.epochs)] if on_step else []
    model.fit(
        _encoded(batches.train(0), batches.goal),
        validation_data=_encoded(batches.validation, batches.goal),
        epochs=config.epochs,
        steps_per_epoch=steps,
        callbacks=[*callbacks, *own],
        verbose=0,
    )


def _encoded(batches: Any, goal: Goal) -> Any:
    return batches.map(
        lambda images, labels, *answers: (images, objectives.encoded(labels, goal), *answers)
    )


def _require_finite(epoch: int, metrics: Mapping[str, float], config: TrainingConfig) -> None:
    if not math.isfinite(metrics["loss"]):
        raise FloatingPointError(
            f"The training loss became {metrics['loss']} in epoch {epoch + 1}. "
            f"Lower the learning rate, which was {config.learning_rate} (--learning_rate for the "
            "baseline, --stage_learning_rate for the stages of a recipe), or add --warmup."
        )
