"""Trains what a run asks for, stage by stage: the baseline, then each recipe from it. Resumable.

Knows which model a stage starts from, and how a finished one is found again in the run folder. Does
not know what becomes of the models.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tfcompress import (
    backbones,
    checkpoint,
    compose,
    data,
    evaluate,
    export,
    head_training,
    level_raising,
    placement,
    stage_state,
    survey,
    training,
)
from tfcompress.backbones import TextConfig
from tfcompress.compose import PlannedStage
from tfcompress.config import BASELINE, KEPT, RunConfig, plain
from tfcompress.layer_coverage import Coverage
from tfcompress.level_raising import Trained
from tfcompress.preprocessing import Preprocessing
from tfcompress.progress import Reporter, Stopwatch, listener
from tfcompress.recipe import text_of
from tfcompress.results import CompressionReport, StageResult
from tfcompress.run_folder import ENCODED
from tfcompress.shared_folder import SharedFolder
from tfcompress.supplies import Supplies
from tfcompress.techniques import distill, level_of
from tfcompress.tokenization import Preparation, Tokenization, Tokenizer
from tfcompress.training import TrainingConfig
from tfcompress.vocabulary import TokenUsage

Watch = Callable[[float, Mapping[str, float]], None]
"""Told, after an epoch of a recipe's stages, which share of all their epochs is done, in [0, 1],
and the epoch's metrics. It ends the run by raising an error; the epoch is kept."""


@dataclass(frozen=True)
class _KeptAccuracy:
    """On the validation split."""

    accuracy: float


class StageTrainer:
    """Trains the stages of one run, each once.

    Args:
      config: all settings of the run.
      folder: where checkpoints and records lie, of all processes that train together.
      source: what the baseline starts from.
      dataset: whose train and validation splits are used.
      reporter: told of the progress.
      watch: told of every epoch of a stage that goes on here; not of the baseline's.

    Raises:
      ValueError: a loss or a stage that the task of the data does not have.

    Attributes:
      records: what was trained so far, in order.
      coverage: which layers the techniques of the recipes treat, after `baseline` was asked for.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: SharedFolder,
        *,
        source: backbones.Source,
        dataset: data.Dataset,
        reporter: Reporter,
        watch: Watch | None = None,
    ) -> None:
        self.records: list[StageResult] = []
        self.coverage: tuple[Coverage, ...] = ()
        self._config = dataclasses.replace(config, training=config.training.of(dataset.goal))
        self._folder = folder
        self._dataset = dataset
        self._reporter = reporter
        self._watch = watch
        self._source = source
        self._supplies: dict[Preparation, Supplies] = {}
        self._done: dict[tuple[PlannedStage, ...], Trained] = {}
        self._baseline_name = ""
        self._tokenizer = backbones.tokenizer_of(source)
        self._tokenizers: dict[tuple[PlannedStage, ...], Tokenizer | None] = {}
        self._whole: tuple[PlannedStage, ...] = ()
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
        tokenizer = self._other_tokenizer(tuple(stages))
        if tokenizer is not None:
            assert isinstance(preprocessing, Tokenization), "RunConfig refuses it for images"
            preprocessing = tokenizer.tokenization(
                preprocessing.length, shorter=preprocessing.shorter
            )
        if preprocessing not in self._supplies:
            self._supplies[preprocessing] = Supplies(
                self._config,
                self._folder,
                self._dataset if tokenizer is None else self._cut_up_by(tokenizer),
                preprocessing,
                self._reporter,
                tokenizer=tokenizer or self._tokenizer,
                usage=self._usage,
            )
        return self._supplies[preprocessing]

    def _other_tokenizer(self, stages: tuple[PlannedStage, ...]) -> Tokenizer | None:
        """The tokenizer of what stages leave, where they change it; made once."""
        if stages not in self._tokenizers:
            found = compose.tokenizer(stages, supplied={"usage": self._usage})
            self._tokenizers[stages] = found
        return self._tokenizers[stages]

    @cached_property
    def _usage(self) -> TokenUsage | None:
        """Of texts, how often the training split has each token of the baseline's tokenizer."""
        if self._tokenizer is None:
            return None
        return TokenUsage.of(self._tokenizer, self._dataset.train.examples)

    def _cut_up_by(self, tokenizer: Tokenizer) -> data.Dataset:
        """The run's texts as ids of another tokenizer, the same ones in the same order."""
        (length,) = self._dataset.example_shape
        self._reporter.note(f"texts cut up anew into {tokenizer.vocabulary:,} tokens")
        found = data.load(
            self._config.data,
            tokenize=lambda texts: tokenizer.token_ids(texts, length=length),
            note=self._reporter.note,
        )
        if not found.has_order_of(self._dataset):
            raise ValueError(
                f"The texts of {self._config.data.name!r} have changed while the run was at work. "
                "Bring them back as they were and give the command again."
            )
        return found

    def _supplied(self, stages: Sequence[PlannedStage]) -> dict[str, Any]:
        """What the run gives to the model of some stages, whose teacher reads what it reads."""
        teacher = compose.teacher(stages, self.baseline, supplied={"usage": self._usage})
        return self.supplies(stages).of(teacher)

    def done(self, stages: tuple[PlannedStage, ...]) -> Trained:
        """How `stages` were carried out, after `compressed` was asked for them."""
        return self._done[stages]

    @cached_property
    def untrained(self) -> Any:
        """The model before its transfer, once the recipes are known to be possible for it.

        Raises:
          ValueError: a technique that can treat nothing of it, or a format that it has no file in.
        """
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
        return model

    @cached_property
    def baseline(self) -> Any:
        """The model, transferred to the task."""
        model = self.untrained
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
        finished = stage_state.is_finished(self._folder.stage(self._stage_name(BASELINE)))
        if finished or not self._folder.is_chief:
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
        model, self._whole = self.baseline, stages
        for count in range(1, len(stages) + 1):
            begun = stages[:count]
            if begun not in self._done:
                before = self._done[begun[:-1]].record.name if begun[:-1] else self._baseline_name
                start, name = self._student(begun, model), self._stage_name(compose.title(begun))
                carry_out = self._raise_level if begun[-1].search else self._carry_out
                found = carry_out(begun, start, name=name)
                record = dataclasses.replace(found.record, after=before)
                self._done[begun] = dataclasses.replace(found, record=record)
                self.records.append(record)
            model = self._done[begun].model
        return model

    def _carry_out(self, stages: tuple[PlannedStage, ...], start: Any, *, name: str) -> Trained:
        """The last of `stages`, trained from what those before it left."""
        prepared = self._prepared(stages, start)
        model, report = self._train_stage(prepared, start, name=name)
        return Trained(prepared, model, report, self.records.pop())

    def _raise_level(self, stages: tuple[PlannedStage, ...], start: Any, *, name: str) -> Trained:
        """The last of `stages`, taken as far as the drop allows; each level has its own folder."""
        earlier, search = stages[:-1], stages[-1].search
        assert search is not None

        def train(stage: PlannedStage, model: Any) -> Trained:
            return self._carry_out((*earlier, stage), model, name=f"{name}/{_level_name(stage)}")

        found = level_raising.raise_level(
            stages[-1],
            start,
            train=train,
            accuracy=lambda trained: self._accuracy(
                trained.model, self.supplies(stages), name=trained.record.name
            ),
            baseline=self._accuracy(self.baseline, self.supplies(), name=self._baseline_name),
            told=self._reporter.note,
        )
        best, seconds = found.best.record, [trial.seconds or 0.0 for trial in found.levels]
        record = dataclasses.replace(
            best,
            name=name,
            config={**best.config, "search": plain(dataclasses.asdict(search))},
            levels=found.levels,
            seconds=sum(seconds),
        )
        return dataclasses.replace(found.best, record=record)

    def _accuracy(self, model: Any, supplies: Supplies, *, name: str) -> float:
        """Of a model on the validation split, kept in the folder of the stage that left it."""

        def measured() -> _KeptAccuracy:
            found = evaluate.predict_model(
                model, self._dataset, supplies.preprocessing, split="validation"
            )
            return _KeptAccuracy(found.accuracy)

        path = self._folder.stage(name) / "accuracy.json"
        key = checkpoint.weights_sha256(model)
        return self._folder.kept(path, key, _KeptAccuracy, measured).accuracy

    def draft(self, stages: tuple[PlannedStage, ...]) -> Any:
        """What a recipe leaves of the baseline with no training: of the size of the real thing.

        Args:
          stages: of the recipe. Of a distillation there is only the student, untrained, and
            quantization is left to the export.

        Raises:
          ValueError: a technique that can treat nothing of it.
          VerificationError: an effect is absent without a training.
        """
        start = self._student(stages[:1], self.baseline)
        supplied = self._supplied(stages)
        acting = [stage for stage in stages if compose.acts_at_once(stage)]
        return compose.at_once(acting, start, supplied=supplied)

    def _epochs(self, stages: Sequence[PlannedStage]) -> int:
        """Of all trainings of some stages."""
        default = self._config.stage_training.epochs
        return sum(each.epochs or default for each in stages if compose.is_trained(each))

    def _prepared(self, stages: tuple[PlannedStage, ...], start: Any) -> tuple[PlannedStage, ...]:
        """The stages as they were carried out, and the last one as it will be."""
        earlier = self._done[stages[:-1]].stages if stages[:-1] else ()
        supplied = self._supplied(stages)
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
        self, stages: tuple[PlannedStage, ...], model: Any, *, name: str
    ) -> tuple[Any, CompressionReport]:
        current, defaults = stages[-1], self._config.stage_training
        if not compose.is_trained(current):
            return self._adjust_stage(stages, model, name=name)
        rate = defaults.learning_rate or defaults.FACTOR * self._config.training.learning_rate
        config = dataclasses.replace(
            self._config.training,
            epochs=current.epochs or defaults.epochs,
            learning_rate=current.learning_rate or rate,
            early_stopping_patience=0,
        )
        supplies, views = self.supplies(stages), compose.views(stages)
        batches = training.image_batches(
            supplies.dataset,
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
                supplied=self._supplied(stages),
                steps_per_epoch=batches.steps_per_epoch,
                epochs=config.epochs,
            )

        wrapped = wrap(model)
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
        self, stages: tuple[PlannedStage, ...], model: Any, *, name: str
    ) -> tuple[Any, CompressionReport]:
        """A stage that needs images and no training."""
        current, supplied = stages[-1], self._supplied(stages)
        self._reporter.stage(current.technique, f"{_settings(current.config)}; nothing is trained")
        wrapped = compose.wrap(stages, model, supplied=supplied, steps_per_epoch=1, epochs=1)
        state_dir = self._folder.stage(name)
        self._begin(state_dir, checkpoint.weights_sha256(model))
        if not self._load_finished(wrapped, state_dir):
            watch = Stopwatch()
            if self._folder.is_chief:
                with self._reporter.bar(name) as step:
                    compose.adjust(current, wrapped, model, supplied=supplied, progress=step)
                checkpoint.save_weights(wrapped, state_dir / checkpoint.BEST)
            self._put_best(wrapped, state_dir)
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

        def on_epoch(epoch: int, metrics: Mapping[str, float]) -> None:
            self._reporter.epoch(epoch, config.epochs, metrics)
            if stages and self._watch:
                done = self._epochs(stages[:-1]) + epoch + 1
                self._watch(done / self._epochs(self._whole), metrics)

        with self._reporter.bar(name) as step:
            found = training.fit(
                twin,
                batches,
                config=config,
                state_dir=state_dir,
                callbacks=compose.callbacks(stages) if stages else (),
                first_eligible_epoch=compose.first_eligible_epoch(stages, epochs=config.epochs),
                on_step=listener(step),
                on_epoch=on_epoch,
                tensorboard_dir=(
                    self._folder.root / "tensorboard" / name
                    if self._config.tensorboard and self._folder.is_chief
                    else None
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
        found = self._folder.from_chief(lambda: stage_state.stored(state_dir))
        if not found:
            return False
        record = stage_state.record_of(found)
        self.records.append(record)
        self._put_best(model, state_dir)
        kept = "" if record.best_epoch is None else f", epoch {record.best_epoch + 1} kept"
        self._reporter.note(f"finished before{kept}")
        return True

    def _put_best(self, model: Any, state_dir: Path) -> None:
        """Gives a model the weights that a stage ended with."""
        path = state_dir / checkpoint.BEST
        checkpoint.put_weights(model, self._folder.read(path), path=path)

    def _conclude(self, state_dir: Path, record: StageResult) -> None:
        if self._folder.is_chief:
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
        if self._folder.is_chief and stage_state.begin(state_dir, started_from=started_from):
            self._reporter.note("the weights that it starts from have changed: trained anew")


def _student_of(stage: Sequence[PlannedStage]) -> Any:
    """The config of a stage that is a distillation with a student of its own; None of others."""
    if not stage or stage[0].technique != "distill" or not stage[0].config.student:
        return None
    return stage[0].config


def _level_name(stage: PlannedStage) -> str:
    """Such as `target_sparsity-0.3`."""
    setting = level_of(stage.technique).setting
    return f"{setting}-{getattr(stage.config, setting):g}"


def _settings(config: Any) -> str:
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {text_of(value)}"
        for name, value in compose.settings(config).items()
        if value
    )
