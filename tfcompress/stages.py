"""Trains what a run asks for, stage by stage: the baseline, then each recipe from it. Resumable.

Knows the order of the stages and what each is trained with. Does not know which model a stage
starts from (`starts` does), how a finished one is found again (`kept_training` does), nor what
becomes of the models.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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
    planned_stages,
    stage_state,
    survey,
    training,
)
from tfcompress.config import BASELINE, KEPT, RunConfig, plain
from tfcompress.kept_training import KeptTraining, Watcher
from tfcompress.layer_coverage import Coverage
from tfcompress.level_raising import Trained
from tfcompress.planned_stages import PlannedStage
from tfcompress.progress import Reporter
from tfcompress.recipe import text_of
from tfcompress.results import CompressionReport, GivenUp, StageResult
from tfcompress.run_folder import ENCODED
from tfcompress.shared_folder import SharedFolder
from tfcompress.starts import Starts
from tfcompress.supplies import Supplies
from tfcompress.techniques import NothingToGain, OutOfReach, level_of
from tfcompress.training import TrainingConfig

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
      given_up: recipes that `models` had to leave out.
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
        self.given_up: tuple[GivenUp, ...] = ()
        self._config = dataclasses.replace(config, training=config.training.of(dataset.goal))
        self._folder = folder
        self._dataset = dataset
        self._reporter = reporter
        self._training = KeptTraining(self._config, folder, reporter)
        self._watch = watch
        self._source = source
        self._starts = Starts(
            self._config, folder, source=source, dataset=dataset, reporter=reporter
        )
        self._done: dict[tuple[PlannedStage, ...], Trained] = {}
        self._refused: dict[tuple[PlannedStage, ...], NothingToGain | OutOfReach] = {}
        self._baseline_name = ""
        self._whole: tuple[PlannedStage, ...] = ()
        for plan in config.plans:
            compose.require_task(plan.stages, dataset.goal.task)

    def supplies(self, stages: Sequence[PlannedStage] = ()) -> Supplies:
        """What the run gives to a model; see `Starts.supplies`."""
        return self._starts.supplies(stages)

    def _supplied(self, stages: Sequence[PlannedStage]) -> dict[str, Any]:
        return self._starts.supplied(stages, self.baseline)

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
        self._training.note_placement()
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
                start = self._starts.student(plan.stages[:1], model)
                trainee, supplied = (
                    self._training.placed(start),
                    self.supplies(plan.stages).of(model),
                )
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
        supplies, plans = self.supplies(), self._config.plans
        formats = (*self._config.export.formats, *(f for plan in plans for f in plan.formats))
        self._reporter.note("seeing whether files can be made of the model")
        for name in dict.fromkeys(formats):
            export.convert(
                model,
                name,
                calibration=supplies.calibration[:1],
                metadata={"preprocessing": supplies.preprocessing},
            )

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

    def models(self) -> Iterator[tuple[str, compose.Plan, Any]]:
        """The title and the plan of each recipe, and the model that it leaves of the baseline.

        One that goes further than the trained model allows, or makes nothing of it smaller, is left
        out and stands in `given_up`.

        Raises:
          NothingToGain, OutOfReach: no recipe is left.
        """
        given_up: list[GivenUp] = []
        recipes, titles, plans = self._config.recipes, self._config.titles, self._config.plans
        for text, title, plan in zip(recipes, titles, plans, strict=True):
            try:
                model = self.compressed(plan.stages)
            except (NothingToGain, OutOfReach) as error:
                tried = error.levels if isinstance(error, OutOfReach) else ()
                given_up.append(GivenUp(text, str(error), tried))
                if len(recipes) == 1:
                    raise
                self._reporter.note(f"{text} is given up: {error}")
            else:
                yield title, plan, model
        if recipes and len(given_up) == len(recipes):
            reasons = "\n  ".join(dict.fromkeys(each.reason for each in given_up))
            raise OutOfReach(f"No recipe left a model.\n  {reasons}")
        self.given_up = tuple(given_up)

    def compressed(self, stages: tuple[PlannedStage, ...]) -> Any:
        """The model that a recipe leaves; stages that another recipe began with stand already."""
        model, self._whole = self.baseline, stages
        for count in range(1, len(stages) + 1):
            begun = stages[:count]
            if begun not in self._done:
                before = self._done[begun[:-1]].record.name if begun[:-1] else self._baseline_name
                start, name = (
                    self._starts.student(begun, model),
                    self._stage_name(compose.title(begun)),
                )
                found = self._attempted(begun, start, name=name)
                record = dataclasses.replace(found.record, after=before)
                self._done[begun] = dataclasses.replace(found, record=record)
                self.records.append(record)
            model = self._done[begun].model
        return model

    def _attempted(self, stages: tuple[PlannedStage, ...], start: Any, *, name: str) -> Trained:
        """The last of `stages`; one that the model does not allow is not tried again."""
        if stages in self._refused:
            raise self._refused[stages]
        try:
            carry_out = self._raise_level if stages[-1].search else self._carry_out
            return carry_out(stages, start, name=name)
        except (NothingToGain, OutOfReach) as error:
            self._refused[stages] = error
            raise

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
        """What a recipe leaves of the baseline with no training.

        Args:
          stages: of the recipe. Of a distillation there is only the student, untrained, and
            quantization is left to the export.

        Raises:
          ValueError: a technique that can treat nothing of it.
          VerificationError: an effect is absent without a training.
        """
        start = self._starts.student(stages[:1], self.baseline)
        supplied = self._supplied(stages)
        acting = [stage for stage in stages if compose.acts_at_once(stage)]
        return compose.at_once(acting, start, supplied=supplied)

    def _epochs(self, stages: Sequence[PlannedStage]) -> int:
        """Of all trainings of some stages."""
        default = self._config.stage_training.epochs
        return sum(each.epochs or default for each in stages if planned_stages.is_trained(each))

    def _prepared(self, stages: tuple[PlannedStage, ...], start: Any) -> tuple[PlannedStage, ...]:
        """The stages as they were carried out, and the last one as it will be."""
        earlier = self._done[stages[:-1]].stages if stages[:-1] else ()
        supplied = self._supplied(stages)
        return (*earlier, planned_stages.prepared(stages[-1], start, supplied=supplied))

    def _train_stage(
        self, stages: tuple[PlannedStage, ...], model: Any, *, name: str
    ) -> tuple[Any, CompressionReport]:
        current, defaults = stages[-1], self._config.stage_training
        if not planned_stages.is_trained(current):
            return self._adjust_stage(stages, model, name=name)
        rate = defaults.learning_rate or defaults.FACTOR * self._config.training.learning_rate
        own = {name: value for name, value in current.training.items() if name != "reestimate"}
        config = dataclasses.replace(
            self._config.training,
            early_stopping_patience=0,
            **{"epochs": defaults.epochs, "learning_rate": rate, **own},
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
            f"{config.optimizer} at {config.learning_rate:g}"
            + (f", weight decay {config.weight_decay:g}" if config.weight_decay else ""),
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
            trainee=lambda: wrap(self._training.placed(model)),
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
        record = self._training.adjust(stages, wrapped, model, name=name, supplied=supplied)
        self.records.append(record)
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
        # A stage that was refused may have left levels in a folder of its number.
        return f"{len(self.records) + len(self._refused):02d}-{title}"

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
        """Trains one stage, or takes it up where it is finished, and appends its record."""
        record = self._training.train(
            model,
            batches,
            config,
            name=name,
            origin=self._origin,
            stages=stages,
            started_from=started_from,
            trainee=trainee,
            watch=self._watcher(stages),
        )
        self.records.append(record)

    def _watcher(self, stages: Sequence[PlannedStage]) -> Watcher | None:
        """Tells `watch` how much of the recipe is done, of a stage of it.

        Of a recipe with a search for a level nobody knows beforehand.
        """
        told = self._watch
        if not stages or told is None or any(stage.search for stage in self._whole):
            return None
        before, whole = self._epochs(stages[:-1]), self._epochs(self._whole)
        return lambda epoch, metrics: told((before + epoch + 1) / whole, metrics)


def _level_name(stage: PlannedStage) -> str:
    """Such as `target_sparsity-0.3`."""
    setting = level_of(stage.technique).setting
    return f"{setting}-{getattr(stage.config, setting):g}"


def _settings(config: Any) -> str:
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {text_of(value)}"
        for name, value in planned_stages.settings(config).items()
        if value
    )
