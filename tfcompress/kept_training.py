"""Trainings that the run folder remembers: each is carried out once, where the settings say.

Knows a stage's folder, devices and precisions, and what the record of a training says. Does not
know which stages a run has.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfcompress import checkpoint, compose, placement, planned_stages, stage_state, training
from tfcompress.config import RunConfig, plain
from tfcompress.planned_stages import PlannedStage
from tfcompress.progress import Reporter, Stopwatch, listener
from tfcompress.results import StageResult
from tfcompress.shared_folder import SharedFolder
from tfcompress.training import TrainingConfig

Watcher = Callable[[int, Mapping[str, float]], None]
"""Told of each epoch, 0-based, and its metrics."""


class KeptTraining:
    """Trains in the folder of a run, and takes up what was finished there.

    Args:
      config: all settings of the run.
      folder: where checkpoints and records lie, of all processes that train together.
      reporter: told of the progress.
    """

    def __init__(self, config: RunConfig, folder: SharedFolder, reporter: Reporter) -> None:
        self._config = config
        self._folder = folder
        self._reporter = reporter

    def train(
        self,
        model: Any,
        batches: training.Batches,
        config: TrainingConfig,
        *,
        name: str,
        origin: Callable[[], Mapping[str, Any]],
        stages: Sequence[PlannedStage] = (),
        started_from: str,
        trainee: Callable[[], Any] | None = None,
        watch: Watcher | None = None,
    ) -> StageResult:
        """Trains a stage, or gives the model its weights where it is finished.

        Where devices or precision are other than plain, a twin of the model is trained there, which
        `trainee` makes, and the model gets its weights: what is exported is plain.

        Args:
          model: wrapped or not.
          batches: what to learn from.
          config: how to train.
          name: of the stage and its folder.
          origin: gives what the record says about where an uncompressed model comes from.
          stages: that the model goes through, as they were wrapped; none for an uncompressed one.
          started_from: checksum of the weights that the stage starts from.
          trainee: makes the twin.
          watch: told of every epoch that is trained here.
        """
        state_dir = self._folder.stage(name)
        found = self.finished(model, name=name, started_from=started_from)
        if found is not None:
            return found
        if (state_dir / checkpoint.CHECKPOINT).exists():
            self._reporter.note("going on after the last finished epoch")
        twin = self._twin(model, trainee)

        def on_epoch(epoch: int, metrics: Mapping[str, float]) -> None:
            self._reporter.epoch(epoch, config.epochs, metrics)
            if watch:
                watch(epoch, metrics)

        with self._reporter.bar(name) as step:
            fitted = training.fit(
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
        settings |= (
            {"technique": planned_stages.settings(stages[-1].config)} if stages else origin()
        )
        record = StageResult(
            name=name,
            technique=stages[-1].technique if stages else name.partition("-")[2],
            config=plain(settings),
            history=fitted.history,
            best_epoch=fitted.best_epoch,
            seconds=fitted.seconds,
        )
        self._conclude(record)
        (state_dir / checkpoint.CHECKPOINT).unlink(missing_ok=True)
        self._reporter.note(f"epoch {fitted.best_epoch + 1} kept, best on validation")
        return record

    def adjust(
        self,
        stages: Sequence[PlannedStage],
        model: Any,
        before: Any,
        *,
        name: str,
        supplied: Mapping[str, Any],
    ) -> StageResult:
        """Carries out a stage that needs examples and no training, or takes it up.

        Args:
          stages: that the model goes through; the last of them is carried out.
          model: wrapped.
          before: what it was wrapped from.
          name: of the stage and its folder.
          supplied: what the run gives to the technique.
        """
        found = self.finished(model, name=name, started_from=checkpoint.weights_sha256(before))
        if found is not None:
            return found
        current, state_dir, watch = stages[-1], self._folder.stage(name), Stopwatch()
        if self._folder.is_chief:
            with self._reporter.bar(name) as step:
                compose.adjust(current, model, before, supplied=supplied, progress=step)
            checkpoint.save_weights(model, state_dir / checkpoint.BEST)
        self._put_best(model, name)
        settings = {"technique": plain(planned_stages.settings(current.config))}
        record = StageResult(name, current.technique, settings, seconds=watch.seconds)
        self._conclude(record)
        return record

    def finished(self, model: Any, *, name: str, started_from: str) -> StageResult | None:
        """Takes up a stage that was finished before; None where it was not."""
        state_dir = self._folder.stage(name)
        if self._folder.is_chief and stage_state.begin(state_dir, started_from=started_from):
            self._reporter.note("the weights that it starts from have changed: trained anew")
        found = self._folder.from_chief(lambda: stage_state.stored(state_dir))
        if not found:
            return None
        record = stage_state.record_of(found)
        self._put_best(model, name)
        kept = "" if record.best_epoch is None else f", epoch {record.best_epoch + 1} kept"
        self._reporter.note(f"finished before{kept}")
        return record

    def placed(self, model: Any) -> Any:
        """A model as it is trained: itself, or a copy on other devices or in another precision."""
        config = self._config.training
        if placement.is_plain(strategy=config.strategy, precision=config.precision):
            return model
        return placement.placed(model, strategy=config.strategy, precision=config.precision)

    def note_placement(self) -> None:
        """Says on which devices and in which precision the run trains, where they are not plain."""
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

    def _put_best(self, model: Any, name: str) -> None:
        """Gives a model the weights that a stage ended with."""
        path = self._folder.stage(name) / checkpoint.BEST
        checkpoint.put_weights(model, self._folder.read(path), path=path)

    def _conclude(self, record: StageResult) -> None:
        if self._folder.is_chief:
            stage_state.conclude(self._folder.stage(record.name), record)

    def _twin(self, model: Any, make: Callable[[], Any] | None) -> Any:
        """The model itself, or its like where it is to be trained."""
        config = self._config.training
        if placement.is_plain(strategy=config.strategy, precision=config.precision):
            return model
        with placement.scope(config.strategy):
            return make() if make else self.placed(model)
