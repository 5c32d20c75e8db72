"""One trial of a transfer study: a backbone compressed, brought to a task, and judged.

Knows what a trial does in which order, and what it shares with others. Does not know which trials
there are (`transfer_plan`), nor how their records are kept (`transfer`).
"""

from __future__ import annotations

import dataclasses
import functools
import gc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfcompress import backbones, compose, data, durable, evaluate, export
from tfcompress._keras import keras
from tfcompress.data import DataConfig, Dataset
from tfcompress.graph import cost
from tfcompress.graph.kernels import distinct, kernels
from tfcompress.planned_stages import PlannedStage
from tfcompress.progress import Reporter, Stopwatch
from tfcompress.run_folder import RunFolder
from tfcompress.studies.transfer_plan import Pair, TransferConfig, file_name, stages_of
from tfcompress.studies.transfer_training import Task, Trained, Trainer
from tfcompress.transfer import (
    DOWNSTREAM,
    FINE_TUNE,
    LINEAR_PROBE,
    NONE,
    UPSTREAM,
    ModelSizes,
    Trial,
    TrialResult,
)

_CALIBRATION = 256


@dataclass(frozen=True, eq=False)
class _Given:
    """What a trial starts from."""

    trial: Trial
    pair: Pair
    stages: tuple[PlannedStage, ...]
    task: Task

    @property
    def name(self) -> str:
        return file_name(self.trial)


class Trials:
    """Carries out trials.

    Args:
      config: of the study.
      folder: where checkpoints and predictions lie.
      reporter: told of the progress.
    """

    def __init__(self, config: TransferConfig, folder: RunFolder, reporter: Reporter) -> None:
        self._config = config
        self._settings = config.settings
        self._folder = folder
        self._reporter = reporter
        self._trainer = Trainer(folder, reporter)
        self._pairs = {(pair.label, pair.target): pair for pair in config.pairs}
        # Reading a data set takes longer than a small trial; those of a seed are a few.
        self._read = functools.lru_cache(maxsize=len(config.pairs) + 1)(data.load)

    def require_treatable(self) -> None:
        """Reads all data and compresses each backbone once, so that refusals precede training.

        Raises:
          ValueError: a compression that a backbone does not allow, or data without classes.
        """
        for pair in self._config.pairs:
            self._dataset(self._settings.data(pair.target, seed=self._config.seeds[0]))
            if pair.upstream:
                self._dataset(self._settings.upstream_data(pair.upstream))
        for backbone in dict.fromkeys(pair.backbone for pair in self._config.pairs):
            shape = backbones.model_image_shape(backbone, (1, 1, 3))
            model = backbones.build_classifier(backbone, classes=2, image_shape=shape)
            for compression in self._config.compressions:
                compose.at_once(stages_of(compression), model)
        keras.backend.clear_session()

    def dataset(self, trial: Trial) -> Dataset:
        """The images of a trial's target and seed."""
        return self._dataset(self._settings.data(trial.target, seed=trial.seed))

    def _dataset(self, config: DataConfig) -> Dataset:
        found: Dataset = self._read(config)
        if found.targets:
            raise ValueError(
                f"A transfer study judges by the accuracy of classes. Received: {found.name}, a "
                f"regression of {', '.join(found.targets)}. Take a data set that has classes."
            )
        return found

    def carry_out(self, trial: Trial) -> TrialResult:
        """Compresses, trains and judges; the predictions are stored.

        Raises:
          VerificationError: what the compression made did not outlast the transfer.
        """
        watch, given = Stopwatch(), self._given(trial)
        make = self._compressed_after if trial.order == DOWNSTREAM else self._transferred
        trained = make(given)
        # What is frozen counts as not treated.
        backbones.set_transfer_mode(trained.model, "full")
        compose.verify_kept(given.stages, trained.model)
        dataset, preprocessing = given.task.dataset, given.task.preprocessing
        predictions = evaluate.predict_model(trained.model, dataset, preprocessing)
        predictions.save(self._folder.predictions(given.name))
        layers = _backbone_layers(trained.model)
        result = TrialResult(
            trial=trial,
            accuracy=predictions.accuracy,
            validation_accuracy=trained.validation_accuracy,
            test_images=len(predictions),
            sizes=self._sizes(given, trained.model),
            head_epochs=self._settings.probe_epochs,
            head_images=self._shown(given, self._settings.probe_epochs),
            epochs=trained.epochs,
            images=trained.images,
            upstream_images=self._upstream_images(given),
            frozen_layers=round(trial.frozen * layers),
            backbone_layers=layers,
            seconds=watch.seconds,
            data_sha256=data_sha256(dataset),
        )
        keras.backend.clear_session()
        gc.collect()
        return result

    def forget(self, trial: Trial) -> None:
        """Removes the checkpoints of a trial whose record is kept."""
        self._trainer.forget(file_name(trial))

    def _given(self, trial: Trial) -> _Given:
        pair, dataset = self._pairs[trial.backbone, trial.target], self.dataset(trial)
        preprocessing = backbones.preprocessing(pair.backbone, dataset.image_shape)
        return _Given(trial, pair, stages_of(trial.compression), Task(dataset, preprocessing))

    def _transferred(self, given: _Given) -> Trained:
        """The backbone, compressed before or not at all, brought to the task."""
        trial, model = given.trial, self._probed(given, given.stages)
        if trial.regime == LINEAR_PROBE:
            task = given.task
            found = evaluate.predict_model(
                model, task.dataset, task.preprocessing, split="validation"
            )
            return Trained(model, found.accuracy)
        layers = _backbone_layers(model)
        last = layers - round(trial.frozen * layers) if trial.regime == FINE_TUNE else 0
        backbones.set_transfer_mode(model, trial.regime, last_layers=last)
        config = self._settings.training(seed=trial.seed)
        return self._trainer.layers(model, given.task, config, name=given.name, stages=given.stages)

    def _compressed_after(self, given: _Given) -> Trained:
        """The backbone transferred with part of the epochs, compressed with the rest.

        The compressions of one backbone, target and seed start from one transferred model.
        """
        settings, trial = self._settings, given.trial
        before = settings.epochs - settings.compression_epochs
        alone = dataclasses.replace(trial, compression=NONE, order=NONE)
        name = f"{file_name(alone)}-{before}-epochs"

        def transferred() -> Any:
            model = self._probed(given, ())
            backbones.set_transfer_mode(model, "full")
            config = settings.training(seed=trial.seed, epochs=before)
            return self._trainer.layers(model, given.task, config, name=name).model

        model = self._trainer.kept(name, transferred)
        config = settings.training(
            seed=trial.seed,
            epochs=settings.compression_epochs // len(given.stages),
            compressing=True,
        )
        found = self._trainer.stages(model, given.stages, given.task, config, name=given.name)
        return found.after(Trained(model, epochs=before, images=self._shown(given, before)))

    def _probed(self, given: _Given, stages: tuple[PlannedStage, ...]) -> Any:
        """A backbone under a trained head: a linear probe, and where every transfer begins."""
        probe = given.trial
        if not stages:
            probe = dataclasses.replace(probe, compression=NONE, order=NONE, upstream="")
        name = file_name(dataclasses.replace(probe, frozen=1.0))
        epochs = self._settings.probe_epochs
        config = self._settings.training(seed=probe.seed, epochs=epochs)

        def probed() -> Any:
            model = self._with_head(given, stages)
            return self._trainer.head(model, given.task, config, name=name).model

        return self._trainer.kept(name, probed)

    def _shown(self, given: _Given, epochs: int) -> int:
        """How many of the target's training images so many epochs show."""
        config = self._settings.training(seed=given.trial.seed)
        return epochs * given.task.batches(config).steps_per_epoch * config.batch_size

    def _with_head(self, given: _Given, stages: tuple[PlannedStage, ...]) -> Any:
        """The pretrained backbone, compressed, under the head of a seed."""
        model, goal = self._pretrained(given, stages), given.task.dataset.goal
        return backbones.with_new_head(model, goal=goal, seed=given.trial.seed)

    def _pretrained(self, given: _Given, stages: tuple[PlannedStage, ...]) -> Any:
        """A pretrained classifier, compressed; its head is there to be replaced."""
        pair = given.pair
        if stages and pair.upstream:
            like = Trial(pair.label, pair.upstream, 0, given.trial.compression, UPSTREAM)
            name = f"upstream-{file_name(like)}"
            return self._trainer.kept(name, lambda: self._compressed_upstream(pair, stages, name))
        shape = given.task.dataset.image_shape
        model = backbones.build_classifier(pair.backbone, classes=2, image_shape=shape)
        return compose.at_once(stages, model)

    def _compressed_upstream(self, pair: Pair, stages: tuple[PlannedStage, ...], name: str) -> Any:
        """A backbone compressed on the upstream data, once for all seeds and targets.

        A head for these data comes first: the stages need one to train under.
        """
        settings = self._settings
        dataset = self._dataset(settings.upstream_data(pair.upstream))
        task = Task(dataset, backbones.preprocessing(pair.backbone, dataset.image_shape))
        model = backbones.build_classifier(
            pair.backbone, classes=len(dataset.classes), image_shape=dataset.image_shape
        )
        probing = settings.training(seed=0, epochs=settings.probe_epochs)
        whole = self._trainer.head(model, task, probing, name=f"{name}/head")
        backbones.set_transfer_mode(model, "full")
        config = settings.training(seed=0, epochs=settings.upstream_epochs, compressing=True)
        found = self._trainer.stages(model, stages, task, config, name=name)
        self._reporter.note(
            f"{name}: {found.validation_accuracy:.2%} on validation, "
            f"{whole.validation_accuracy:.2%} before"
        )
        return found.model

    def _upstream_images(self, given: _Given) -> int:
        if not given.trial.upstream:
            return 0
        settings = self._settings
        task = Task(
            self._dataset(settings.upstream_data(given.trial.upstream)), given.task.preprocessing
        )
        config = settings.training(seed=0)
        shown = task.batches(config).steps_per_epoch * config.batch_size
        return shown * settings.upstream_epochs * len(given.stages)

    def _sizes(self, given: _Given, model: Any) -> ModelSizes:
        """What the model weighs; a file is made at one seed only, since it takes long."""
        found = counted(model, given.stages)
        if given.trial.frozen or given.trial.seed != self._config.seeds[0]:
            return found
        images = given.task.dataset.calibration.examples[:_CALIBRATION]
        artifact = export.convert(model, "int8", calibration=given.task.preprocessing.apply(images))
        return dataclasses.replace(
            found, int8_bytes=artifact.size_bytes, int8_gzip_bytes=artifact.gzip_size_bytes
        )


def data_sha256(dataset: Dataset) -> str:
    """One checksum of all images and labels."""
    return durable.sha256("".join(dataset.checksums().values()).encode())


def counted(model: Any, stages: Sequence[PlannedStage]) -> ModelSizes:
    """What a classifier weighs, without making a file of it.

    Args:
      model: with all layers trainable.
      stages: that it went through.
    """
    own = [kernel for kernel in kernels(model) if kernel.name != backbones.HEAD]
    clustered = [
        kernel
        for stage in stages
        if stage.technique == "cluster"
        for kernel in own
        if not stage.module.skip_reason(kernel, stage.config)
    ]
    values = [kernel.numpy() for kernel in own]
    return ModelSizes(
        parameters=cost.parameters(model),
        macs=cost.macs(model),
        kernel_weights=sum(value.size for value in values),
        nonzero_weights=sum(int((value != 0).sum()) for value in values),
        distinct_weights=max(distinct(kernel.numpy()) for kernel in clustered or own),
    )


def _backbone_layers(model: Any) -> int:
    """Layers with weights before the head."""
    return sum(bool(layer.weights) for layer in model.layers if layer.name != backbones.HEAD)
