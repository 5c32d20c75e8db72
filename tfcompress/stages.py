"""Trains what a run asks for, stage by stage: the baseline, then each recipe from it. Resumable.

Knows which model a stage starts from, and how a finished one is found again in the run folder. Does
not know what becomes of the models.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tfcompress import (
    backbones,
    checkpoint,
    compose,
    data,
    export,
    head_training,
    placement,
    stage_state,
    survey,
    training,
)
from tfcompress.backbones import TextConfig
from tfcompress.compose import PlannedStage
from tfcompress.config import BASELINE, KEPT, RunConfig, plain
from tfcompress.layer_coverage import Coverage
from tfcompress.preprocessing import Preprocessing
from tfcompress.progress import Reporter, Stopwatch, listener
from tfcompress.recipe import text_of
from tfcompress.results import CompressionReport, StageResult
from tfcompress.run_folder import ENCODED, RunFolder
from tfcompress.supplies import Supplies
from tfcompress.techniques import distill
from tfcompress.tokenization import Preparation
from tfcompress.training import TrainingConfig


@dataclass(frozen=True)
class _Done:
    """Stages that were carried out, with what the run found out for them."""

    stages: tuple[PlannedStage, ...]
    model: Any
    report: CompressionReport
    name: str


class StageTrainer:
    """Trains the stages of one run, each once.

    Args:
      config: all settings of the run.
      folder: where checkpoints and records lie.
      source: what the baseline starts from.
      dataset: whose train and validation splits are used.
      reporter: told of the progress.

    Raises:
      ValueError: a loss or a stage that the task of the data does not have.

    Attributes:
      records: what was trained so far, in order.
      coverage: which layers the techniques of the recipes treat, after `baseline` was asked for.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        *,
        source: backbones.Source,
        dataset: data.Dataset,
        reporter: Reporter,
    ) -> None:
        self.records: list[StageResult] = []
        self.coverage: tuple[Coverage, ...] = ()
        self._config = dataclasses.replace(config, training=config.training.of(dataset.goal))
        self._folder = folder
        self._dataset = dataset
        self._reporter = reporter
        self._source = source
        self._supplies: dict[Preparation, Supplies] = {}
        self._done: dict[tuple[PlannedStage, ...], _Done] = {}
        self._baseline_name = ""
        for plan in config.plans:
            compose.require_task(plan.stages, dataset.goal.task)

    def supplies(self, stages: Sequence[PlannedStage] = ()) -> Supplies:
        """What the run gives to a model; a student may take images of its own size.

        Args:
          stages: that the model went through; none for the baseline.
        """
        student = _student_of(stages[:1])
        if student is None or not student.student_image_size:
            preprocessing = self._source.preprocessing(self._dataset.example_shape)
        else:
            config = self._image_student(student)
            preprocessing = backbones.preprocessing(config, self._dataset.image_shape)
        if preprocessing not in self._supplies:
            self._supplies[preprocessing] = Supplies(
                self._config, self._folder, self._dataset, preprocessing, self._reporter
            )
        return self._supplies[preprocessing]

    def report(self, stages: tuple[PlannedStage, ...]) -> CompressionReport:
        """What the last of `stages` did, after `compressed` was asked for them."""
        return self._done[stages].report

    @cached_property
    def baseline(self) -> Any:
        """The model, transferred to the task."""
        config, transfer = self._config, self._config.transfer
        self._reporter.stage(
            BASELINE,
            f"{config.backbone.name}, weights {config.backbone.resolved_weights}, "
            f"transfer {transfer.mode}",
        )
        model = self._source.build_model(
            goal=self._dataset.goal,
            image_shape=self._dataset.example_shape,
            seed=config.seed,
            keep_head=transfer.mode == KEPT,
        )
        # Also where all is trained: Keras numbers what it builds, and the numbers stand in the
        # exported files.
        self._note_placement()
        self._survey(model)
        self._require_exportable(model)
        self._transfer(model)
        self._baseline_name = self.records[-1].name
        if self.records[:-1]:
            before = self.records[-2].name
            self.records[-1] = dataclasses.replace(self.records[-1], after=before)
        # Later stages train every layer; frozen ones could not follow a mask.
        backbones.set_transfer_mode(model, "full")
        return model

    def _transfer(self, model: Any) -> None:
        """Trains the classifier for the task, unless it is to be taken as it is."""
        config, transfer = self._config, self._config.transfer
        if transfer.mode == KEPT:
            name = self._stage_name(BASELINE)
            self.records.append(StageResult(name, BASELINE, plain(self._origin())))
            self._reporter.note("taken as it is, not trained")
            return
        if transfer.head_epochs:
            head = dataclasses.replace(config.training, epochs=transfer.head_epochs)
            self._train_head(model, head, name=self._stage_name("head"))
        if transfer.mode == "linear_probe":
            self._train_head(model, config.training, name=self._stage_name(BASELINE))
            return
        backbones.set_transfer_mode(model, transfer.mode, last_layers=transfer.last_layers)
        batches = training.image_batches(
            self._dataset, self.supplies().preprocessing, config.training
        )
        self._train(
            model,
            batches,
            config.training,
            name=self._stage_name(BASELINE),
            started_from=checkpoint.weights_sha256(model),
        )

    def _origin(self) -> dict[str, Any]:
        """What the records of the transfer say about the classifier."""
        record = self._source.record(keep_head=self._config.transfer.mode == KEPT)
        return {"preprocessing": self.supplies().preprocessing.to_dict(), **record}

    def _survey(self, model: Any) -> None:
        """Refuses recipes that the model does not allow; finds out what each does to its layers."""
        starts: dict[tuple[PlannedStage, ...], tuple[Any, dict[str, PlannedStage]]] = {}
        for text, plan in zip(self._config.recipes, self._config.plans, strict=True):
            if plan.stages:
                start = self._student(plan.stages[:1], model)
                trainee, supplied = self._placed(start), self.supplies(plan.stages).of(model)
                with placement.scope(self._config.training.strategy):
                    compose.require_treatable(plan.stages, trainee, supplied=supplied)
                student = () if start is model else plan.stages[:1]
                starts.setdefault(student, (start, {}))[1].update(survey.planned(recipe=text))
        self.coverage = tuple(survey.measured(start, found) for start, found in starts.values())
        for found in self.coverage:
            self._reporter.coverage(found)

    def _require_exportable(self, model: Any) -> None:
        """Refuses, before anything is trained, a model that no file can be made of."""
        if stage_state.is_finished(self._folder.stage(self._stage_name(BASELINE))):
            return
        for name in self._config.export.formats:
            export.convert(model, name, calibration=self.supplies().calibration[:1])

    def _train_head(self, model: Any, config: TrainingConfig, *, name: str) -> None:
        """Trains the head on examples that are encoded once."""
        if not stage_state.is_finished(self._folder.stage(name)):
            self._reporter.note(f"encoding the {self._dataset.example}s once")
        head, batches = head_training.encoded(
            model,
            self._dataset,
            self.supplies().preprocessing,
            config=config,
            cache_dir=self._folder.root / ENCODED,
        )
        started_from = checkpoint.weights_sha256(model)
        self._train(head, batches, config, name=name, started_from=started_from)

    def compressed(self, stages: tuple[PlannedStage, ...]) -> Any:
        """The model that a recipe leaves; stages that another recipe began with stand already."""
        model = self.baseline
        for count in range(1, len(stages) + 1):
            begun = stages[:count]
            if begun not in self._done:
                before = self._done[begun[:-1]].name if begun[:-1] else self._baseline_name
                start = self._student(begun, model)
                prepared = self._prepared(begun, start)
                found = self._train_stage(prepared, start)
                self.records[-1] = dataclasses.replace(self.records[-1], after=before)
                self._done[begun] = _Done(prepared, *found, self.records[-1].name)
            model = self._done[begun].model
        return model

    def _prepared(self, stages: tuple[PlannedStage, ...], start: Any) -> tuple[PlannedStage, ...]:
        """The stages as they were carried out, and the last one as it will be."""
        earlier = self._done[stages[:-1]].stages if stages[:-1] else ()
        supplied = self.supplies(stages).of(self.baseline)
        return (*earlier, compose.prepared(stages[-1], start, supplied=supplied))

    def _student(self, stages: Sequence[PlannedStage], model: Any) -> Any:
        """The model that a stage starts from: a new student where a distillation names one."""
        brought = _student_of(stages[-1:])
        if brought is None:
            return model
        goal, seed = self._dataset.goal, self._config.seed
        if isinstance(self._source, backbones.TextNetwork):
            if brought.student != distill.ENCODER:
                return self._source.build_other(brought.student, goal=goal, seed=seed)
            layers, width = brought.student_layers, brought.student_width
            return self._source.build_smaller(
                model, layers=layers, width=width, goal=goal, seed=seed
            )
        config, preprocessing = self._image_student(brought), self.supplies(stages).preprocessing
        assert isinstance(preprocessing, Preprocessing), "a network for images takes images"
        shape = preprocessing.image_shape
        if backbones.preprocessing(config, shape) == preprocessing:
            config = dataclasses.replace(config, weights="default")
        return backbones.build_model(config, goal=goal, image_shape=shape, seed=seed)

    def _image_student(self, brought: Any) -> backbones.BackboneConfig:
        """The network for images that a distillation's config names."""
        shape = self._source.preprocessing(self._dataset.image_shape)
        assert isinstance(shape, Preprocessing), "RunConfig refuses students for images with texts"
        assert not isinstance(self._config.backbone, TextConfig)
        return backbones.BackboneConfig(
            name=brought.student,
            weights="none",
            width=brought.student_width,
            image_size=brought.student_image_size or shape.image_shape[0],
            batch_norm_momentum=self._config.backbone.batch_norm_momentum,
        )

    def _train_stage(
        self, stages: tuple[PlannedStage, ...], model: Any
    ) -> tuple[Any, CompressionReport]:
        current, defaults = stages[-1], self._config.stage_training
        if not compose.is_trained(current):
            return self._adjust_stage(stages, model)
        rate = defaults.learning_rate or defaults.FACTOR * self._config.training.learning_rate
        config = dataclasses.replace(
            self._config.training,
            epochs=current.epochs or defaults.epochs,
            learning_rate=current.learning_rate or rate,
            early_stopping_patience=0,
        )
        supplies, views = self.supplies(stages), compose.views(stages)
        batches = training.image_batches(
            self._dataset,
            supplies.preprocessing,
            config,
            views=views,
            answers=(
                (lambda: self.supplies().answers(self.baseline, views, config)) if views else None
            ),
        )
        self._reporter.stage(
            current.technique,
            f"{_settings(current.config)}; every layer trained, {config.epochs} "
            f"{'epoch' if config.epochs == 1 else 'epochs'}, "
            f"{config.optimizer} at {config.learning_rate:g}",
        )

        def wrap(start: Any) -> Any:
            return compose.wrap(
                stages,
                start,
                supplied=supplies.of(self.baseline),
                steps_per_epoch=batches.steps_per_epoch,
                epochs=config.epochs,
            )

        wrapped = wrap(model)
        name = self._stage_name(compose.title(stages))
        started_from = checkpoint.weights_sha256(model)
        self._train(
            wrapped,
            batches,
            config,
            name=name,
            started_from=started_from,
            stages=stages,
            trainee=lambda: wrap(self._placed(model)),
        )
        if current.reestimate:
            count = compose.reestimate(stages, wrapped, supplies.calibration)
            self._reporter.note(f"statistics of {count} batch normalizations taken anew")
        return self._finish(stages, compose.strip(stages, wrapped), model)

    def _adjust_stage(
        self, stages: tuple[PlannedStage, ...], model: Any
    ) -> tuple[Any, CompressionReport]:
        """A stage that needs images and no training."""
        current, supplied = stages[-1], self.supplies(stages).of(self.baseline)
        self._reporter.stage(current.technique, f"{_settings(current.config)}; nothing is trained")
        wrapped = compose.wrap(stages, model, supplied=supplied, steps_per_epoch=1, epochs=1)
        name = self._stage_name(compose.title(stages))
        state_dir = self._folder.stage(name)
        self._begin(state_dir, checkpoint.weights_sha256(model))
        if not self._load_finished(wrapped, state_dir):
            watch = Stopwatch()
            with self._reporter.bar(name) as step:
                compose.adjust(current, wrapped, model, supplied=supplied, progress=step)
            checkpoint.save_weights(wrapped, state_dir / checkpoint.BEST)
            settings = {"technique": plain(compose.settings(current.config))}
            record = StageResult(name, current.technique, settings, seconds=watch.seconds)
            self._conclude(state_dir, record)
        return self._finish(stages, compose.strip(stages, wrapped), model)

    def _finish(
        self, stages: tuple[PlannedStage, ...], stripped: Any, model: Any
    ) -> tuple[Any, CompressionReport]:
        """Counts the effect of a stage in what it left."""
        current = stages[-1]
        compose.verify(stages, stripped, before=model)
        found = current.module.report(model, stripped, current.config)
        self.records[-1] = dataclasses.replace(self.records[-1], report=found)
        treated = sum(layer.treated for layer in found.layers)
        self._reporter.note(
            f"{treated} of {len(found.layers)} layers with weights treated, verified"
        )
        return stripped, found

    def _stage_name(self, title: str) -> str:
        return f"{len(self.records):02d}-{title}"

    def _train(
        self,
        model: Any,
        batches: training.Batches,
        config: TrainingConfig,
        *,
        name: str,
        started_from: str,
        stages: Sequence[PlannedStage] = (),
        trainee: Callable[[], Any] | None = None,
    ) -> None:
        """Trains one stage, or loads it where it is finished, and appends its record.

        Where devices or precision are other than plain, a twin of the model is trained there, which
        `trainee` makes, and the model gets its weights: what is exported is plain.
        """
        state_dir = self._folder.stage(name)
        self._begin(state_dir, started_from)
        if self._load_finished(model, state_dir):
            return
        if (state_dir / checkpoint.CHECKPOINT).exists():
            self._reporter.note("going on after the last finished epoch")
        twin = self._twin(model, trainee)
        with self._reporter.bar(name) as step:
            found = training.fit(
                twin,
                batches,
                config=config,
                state_dir=state_dir,
                callbacks=compose.callbacks(stages) if stages else (),
                first_eligible_epoch=compose.first_eligible_epoch(stages, epochs=config.epochs),
                on_step=listener(step),
                on_epoch=lambda epoch, metrics: self._reporter.epoch(epoch, config.epochs, metrics),
                tensorboard_dir=(
                    self._folder.root / "tensorboard" / name if self._config.tensorboard else None
                ),
            )
        if twin is not model:
            model.set_weights(twin.get_weights())
        settings: dict[str, Any] = {"training": dataclasses.asdict(config)}
        if not stages:
            settings |= self._origin()
        else:
            settings["technique"] = compose.settings(stages[-1].config)
        record = StageResult(
            name=name,
            technique=stages[-1].technique if stages else name.partition("-")[2],
            config=plain(settings),
            history=found.history,
            best_epoch=found.best_epoch,
            seconds=found.seconds,
        )
        self._conclude(state_dir, record)
        (state_dir / checkpoint.CHECKPOINT).unlink(missing_ok=True)
        self._reporter.note(f"epoch {found.best_epoch + 1} kept, best on validation")

    def _load_finished(self, model: Any, state_dir: Path) -> bool:
        """Takes up a stage that was finished before, if it was."""
        if not stage_state.is_finished(state_dir):
            return False
        record = stage_state.finished(state_dir)
        self.records.append(record)
        checkpoint.load_weights(model, state_dir / checkpoint.BEST)
        kept = "" if record.best_epoch is None else f", epoch {record.best_epoch + 1} kept"
        self._reporter.note(f"finished before{kept}")
        return True

    def _conclude(self, state_dir: Path, record: StageResult) -> None:
        stage_state.conclude(state_dir, record)
        self.records.append(record)

    def _twin(self, model: Any, make: Callable[[], Any] | None) -> Any:
        """The model itself, or its like where it is to be trained."""
        config = self._config.training
        if placement.is_plain(strategy=config.strategy, precision=config.precision):
            return model
        with placement.scope(config.strategy):
            return make() if make else self._placed(model)

    def _placed(self, model: Any) -> Any:
        config = self._config.training
        if placement.is_plain(strategy=config.strategy, precision=config.precision):
            return model
        return placement.placed(model, strategy=config.strategy, precision=config.precision)

    def _note_placement(self) -> None:
        config = self._config.training
        if config.strategy != "none":
            devices = placement.replicas(config.strategy)
            shares = (
                f"{devices} devices share each batch" if devices > 1 else "one device, as without"
            )
            self._reporter.note(f"strategy {config.strategy}: {shares}")
        if config.precision != "float32":
            self._reporter.note(
                f"precision {config.precision}: weights and exported files are float32"
            )

    def _begin(self, state_dir: Path, started_from: str) -> None:
        if stage_state.begin(state_dir, started_from=started_from):
            self._reporter.note("the weights that it starts from have changed: trained anew")


def _student_of(stage: Sequence[PlannedStage]) -> Any:
    """The config of a stage that is a distillation with a student of its own; None of others."""
    if not stage or stage[0].technique != "distill" or not stage[0].config.student:
        return None
    return stage[0].config


def _settings(config: Any) -> str:
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {text_of(value)}"
        for name, value in compose.settings(config).items()
        if value
    )
