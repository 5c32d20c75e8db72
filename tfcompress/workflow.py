"""A run from start to end: transfer, compress, export, evaluate, time, report. Resumable.

Knows the order of the parts and what is kept in the run folder. What each part does stands with the
part.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress import (
    backbones,
    benchmark,
    compose,
    data,
    durable,
    environment,
    evaluate,
    judged_files,
    judging,
    kept_files,
    placement,
    results,
    statistics,
    timed_files,
)
from tfcompress.artifact import Artifact
from tfcompress.backbones import ModelConfig
from tfcompress.config import BASELINE, RunConfig
from tfcompress.goals import Values
from tfcompress.judged_files import JudgedFile
from tfcompress.kept_files import Candidate, FileMaker
from tfcompress.planned_stages import PlannedStage
from tfcompress.predictions import Predictions
from tfcompress.progress import Reporter, Stopwatch
from tfcompress.results import ArtifactResult, Results
from tfcompress.run_folder import ENVIRONMENT, RunFolder
from tfcompress.shared_folder import SharedFolder
from tfcompress.stages import StageTrainer, Watch
from tfcompress.supplies import Supplies

# Steps of an int8 output in standard deviations of a target beyond which rounding shows: its
# variance is a twelfth of the step's square, 0.5% of the target's here.
_COARSE = 0.25
# Kept of the test images: enough to show; of CIFAR-10's they take 1.4 MB.
_PICTURES = 500


@dataclass(frozen=True)
class _KeptSeconds:
    """Wall time of the sessions so far."""

    seconds: float


def run(
    config: RunConfig, output_dir: str | os.PathLike[str], *, reporter: Reporter | None = None
) -> Results:
    """Carries out a run, or goes on with an interrupted one, and writes its report.

    Args:
      config: all settings.
      output_dir: the run folder; new, empty, or of an earlier run with the same settings.
      reporter: told of the progress.

    Returns:
      what stands in the folder's `results.json`.

    Raises:
      ValueError: settings, data or weights that cannot be used, a `TF_CONFIG` that does not fit, or
        no TPU where one is asked for; raised before any training.
      NothingToGain, OutOfReach: every recipe goes further than the trained model allows, or makes
        nothing of it smaller; where only some do, the results name them.
      RunFolderError: the folder belongs to something else.
      WorkerLost: another process of the training is gone.
    """
    from tfcompress import report

    reporter, folder = reporter or Reporter(), RunFolder(output_dir)
    if not is_chief(config):
        raise ValueError(
            "Of several workers the chief alone carries out a run. Received: another worker. Call "
            "workflow.assist(config) there."
        )
    with folder.open_for(config.to_dict()):
        placement.start(config.training.strategy, told=reporter.note)
        found = Job(config, folder, reporter).carry_out()
        results.save(found, folder.root)
        report.render(folder.root)
    return found


def is_chief(config: RunConfig) -> bool:
    """Whether this process carries out the run, rather than helping another one to train.

    Raises:
      ClusterError: `TF_CONFIG` does not say so, where the strategy is `multi_worker`.
    """
    return placement.is_chief(config.training.strategy)


def assist(config: RunConfig, *, reporter: Reporter | None = None) -> None:
    """Trains with the chief what a run trains, and leaves nothing behind.

    Args:
      config: all settings; the chief's.
      reporter: told of the progress.

    Raises:
      ValueError: as `run`, and where the chief has other settings or data.
      WorkerLost: the chief, or another worker, is gone.
    """
    reporter = reporter or Reporter()
    with tempfile.TemporaryDirectory(prefix="tfcompress-worker-") as folder:
        placement.start(config.training.strategy, told=reporter.note)
        Job(config, RunFolder(folder), reporter).train()


@dataclass(frozen=True)
class Selection:
    """What a run knows before the test split is read: whatever stands here is of validation.

    Attributes:
      baseline: the Keras model.
      artifacts: the files, with their latency.
    """

    baseline: ArtifactResult
    artifacts: tuple[ArtifactResult, ...]


class Job:
    """The state of one run while it works, within its folder's `open_for`.

    Args:
      config: all settings.
      folder: of the run.
      reporter: told of the progress.
      dataset: what `config.data` names, where it is at hand; None loads it.
      watch: told of every epoch, see `StageTrainer`.

    Raises:
      ValueError: data, weights or a model that cannot be used.
      RunFolderError: the data have changed since the run began.

    Attributes:
      dataset: whose splits are used.
      trainer: trains the stages.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        reporter: Reporter,
        *,
        dataset: data.Dataset | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._config = config
        self._folder = folder
        self._reporter = reporter
        self._watch = Stopwatch()
        shared = SharedFolder(folder.root, strategy=config.training.strategy)
        shared.require_alike(config.to_dict(), what="settings")
        # First, so that a model that cannot be used is refused before any data is fetched. Where
        # only the labels tell the task, which a user's model must fit, they lie on this machine.
        possible = data.tasks(config.data)
        known = len(possible) == 1 or not isinstance(config.backbone, ModelConfig)
        source = backbones.opened(config.backbone, task=possible[0]) if known else None
        reporter.stage("data", config.data.name)
        tokenize = None if source is None else backbones.tokenize_of(source)
        self.dataset = dataset or data.load(config.data, tokenize=tokenize, note=reporter.note)
        goal = self.dataset.goal
        source = source or backbones.opened(config.backbone, task=goal.task)
        sizes = ", ".join(f"{n} {size:,}" for n, size in self.dataset.split_sizes().items())
        published = ", validation as published" if self.dataset.published_validation else ""
        reporter.note(f"{self.dataset.source}: {sizes}{published}")
        checksums = self.dataset.checksums()
        folder.require_same_data(checksums)
        shared.require_alike(checksums, what="data")
        self._note_values()
        self.trainer = StageTrainer(
            config, shared, source=source, dataset=self.dataset, reporter=reporter, watch=watch
        )
        self._files = FileMaker(config, folder, trainer=self.trainer, reporter=reporter)

    def _note_values(self) -> None:
        """Says what a regression is about, and where an int8 output is too coarse for it."""
        goal = self.dataset.goal
        if not isinstance(goal, Values):
            return
        steps = goal.int8_steps(self.dataset.train.labels)
        for name, mean, std, step in zip(goal.names, goal.mean, goal.std, steps, strict=True):
            self._reporter.note(f"{name}: mean {mean:.4g}, standard deviation {std:.4g}")
            if step > _COARSE:
                self._reporter.note(
                    f"{name} varies by {1 / step:.1f} steps of an int8 output, which spans all "
                    "targets and zero: integer files will be coarse. Give targets near zero and "
                    "of like size, or export int16x8."
                )

    def train(self) -> None:
        """All that has a training, in the order in which `carry_out` asks for it."""
        assert self.trainer.baseline is not None
        for _ in self.trainer.models():
            pass

    def select(self) -> Selection:
        """Trains, exports, judges and times, all without the test split.

        `carry_out` in the same folder goes on from there. With recipes, the baseline's own files
        are left to it.
        """
        self._note_environment()
        baseline = self.trainer.baseline
        candidates = self._files.candidates(baseline)
        kept = [item for item in candidates if item.stages or not self._config.recipes]
        artifacts = self._files.exported(kept)
        self._reporter.stage("evaluate", "every file on the validation split")
        first = self._judged_model(BASELINE, baseline, (), self.trainer.supplies(), by="validation")
        rows = [self._judged_file(row, item.inputs, by="validation") for item, row in artifacts]
        return Selection(first, tuple(self._timed(rows)))

    def _note_environment(self) -> None:
        path = self._folder.root / ENVIRONMENT
        if not path.exists():
            durable.write_json(path, environment.collect())

    def carry_out(self) -> Results:
        """The whole run."""
        self._note_environment()
        baseline = self.trainer.baseline
        candidates = self._files.candidates(baseline)
        artifacts = self._files.exported(candidates)
        baseline_result, models, rows = self._evaluated(baseline, artifacts)
        rows = self._timed(rows)
        seconds = self._record_seconds()
        sizes = self.dataset.split_sizes()
        return Results(
            config=self._config.to_dict(),
            environment=durable.read_json(self._folder.root / ENVIRONMENT),
            data=results.DataResult(
                self._config.data.name,
                self.dataset.source,
                self.dataset.classes,
                sizes,
                self.dataset.targets,
                example=self.dataset.example,
                published_validation=self.dataset.published_validation,
                test_by_length=evaluate.counts_by_length(
                    self.dataset, self.trainer.supplies().preprocessing
                ),
            ),
            baseline=baseline_result,
            artifacts=tuple(rows),
            models=tuple(models),
            stages=tuple(self.trainer.records),
            evaluation_speed=self._evaluation_speed(rows, candidates),
            seconds=seconds,
            coverage=self.trainer.coverage,
            given_up=self.trainer.given_up,
        )

    def draft(self) -> Artifact:
        """The file of the run's first recipe before any training, which is kept nowhere.

        It has the size and the speed of the real one to a few percent: `qat` and `ptq` are left
        to the converter, whose files are a little smaller.

        Raises:
          ValueError, RuntimeError: there is none, since a stage does nothing without a training.
        """
        return self._files.draft()

    def _evaluated(
        self, baseline: Any, artifacts: Sequence[tuple[Candidate, ArtifactResult]]
    ) -> tuple[ArtifactResult, list[ArtifactResult], list[ArtifactResult]]:
        """The baseline, the model at the end of each recipe, and each file, judged."""
        self._reporter.stage("evaluate", "every model and file on the whole test split")
        first = self._judged_model(BASELINE, baseline, (), self.trainer.supplies())
        ends = {item.title: item for item, _ in artifacts if item.stages}
        models = [
            self._judged_model(title, item.model, item.stages, item.inputs)
            for title, item in ends.items()
        ]
        rows = [self._judged_file(row, item.inputs) for item, row in artifacts]
        if not isinstance(self.dataset.goal, Values) and not self.dataset.is_text:
            self._keep_pictures([*models, *rows])
        return first, models, rows

    def _keep_pictures(self, rows: Sequence[ArtifactResult]) -> None:
        """Of the test images on which most models and files answer other than the baseline."""

        def predicted(name: str) -> np.ndarray:
            stored = Predictions.load(self._folder.predictions(name))
            return statistics.predicted_classes(stored.outputs)

        changed = statistics.telling_changes(
            [predicted(row.name) for row in rows], predicted(BASELINE), limit=_PICTURES
        )

        def make(path: Path) -> None:
            evaluate.pictures(self.dataset, changed).save(path)

        if not changed.size:
            self._folder.pictures.unlink(missing_ok=True)
        else:
            key = durable.sha256(changed.tobytes())
            self._folder.keep_file(self._folder.pictures, key, make)

    def _judged_model(
        self,
        name: str,
        model: Any,
        stages: tuple[PlannedStage, ...],
        inputs: Supplies,
        *,
        by: str = "test",
    ) -> ArtifactResult:
        row = ArtifactResult(
            name=name,
            format="keras",
            stages=compose.techniques(stages),
            **kept_files.cost_of(model),
        )
        file = judged_files.of_model(name, model, inputs.preprocessing)
        return self._judged(row, file, inputs.dataset, by=by)

    def _judged_file(
        self, row: ArtifactResult, inputs: Supplies, *, by: str = "test"
    ) -> ArtifactResult:
        artifact = Artifact.load(self._folder.root / str(row.path))
        file = judged_files.of_artifact(row.name, artifact)
        return self._judged(row, file, inputs.dataset, by=by)

    def _judged(
        self, row: ArtifactResult, file: JudgedFile, dataset: data.Dataset, *, by: str
    ) -> ArtifactResult:
        """Its outputs, stored, and its figures beside the baseline's.

        Args:
          row: without them.
          file: gives the outputs.
          dataset: whose examples the file takes.
          by: the split that the figures are of. Of the test split, those on validation are stored
            too.
        """
        splits = evaluate.SPLITS if by == "test" else (by,)
        found = {split: self._answers(file, dataset, split) for split in splits}
        reference = Predictions.load(self._folder.predictions(BASELINE, by))
        row = judging.judged(row, found[by], None if row.name == BASELINE else reference)
        self._reporter.note(f"{row.name}: {judging.sentence(row)}")
        paths = {
            split: self._folder.relative(self._folder.predictions(row.name, split))
            for split in found
        }
        return dataclasses.replace(
            row,
            predictions=paths.get("test"),
            validation_predictions=paths["validation"],
        )

    def _answers(self, file: JudgedFile, dataset: data.Dataset, split: str) -> Predictions:
        with self._reporter.bar(file.name) as step:
            return judged_files.answers(
                file,
                self._folder,
                lambda: dataset,
                condition=split,
                split=split,
                progress=step,
            )

    def _timed(self, rows: Sequence[ArtifactResult]) -> list[ArtifactResult]:
        config = self._config.latency
        self._reporter.stage("time", f"{config.threads} thread, batch {config.batch}")

        settings = timed_files.timings(self._config)
        cases = {
            f"{row.name} on {each.runtime}" if len(settings) > 1 else row.name: benchmark.Case(
                self._folder.root / str(row.path), each
            )
            for row in rows
            for each in settings
        }
        key = " ".join(f"{row.name} {row.sha256}" for row in rows)
        samples = timed_files.timed(cases, folder=self._folder, key=key, reporter=self._reporter)
        count = len(settings)
        return [
            self._with_latency(row, samples[place * count : (place + 1) * count])
            for place, row in enumerate(rows)
        ]

    def _with_latency(
        self, row: ArtifactResult, samples: Sequence[benchmark.LatencySamples]
    ) -> ArtifactResult:
        found = tuple(map(benchmark.summarize, samples))
        for latency in found:
            where = "" if len(found) == 1 else f" on {latency.runtime}"
            noise = f", too noisy: {latency.reason}" if latency.steady is False else ""
            self._reporter.note(f"{row.name}{where}: {latency.p50:.3f} ms{noise}")
        return dataclasses.replace(
            row, latency_ms=found, peak_memory_bytes=samples[0].peak_memory_bytes
        )

    def _evaluation_speed(
        self, rows: Sequence[ArtifactResult], candidates: Sequence[Candidate]
    ) -> results.EvaluationSpeed | None:
        """Measured on the smallest integer file, the one that an evaluation is fastest on."""
        integer = [row for row in rows if row.format == "int8"]
        if not integer:
            return None
        row = min(integer, key=lambda row: row.size_bytes or 0)

        def make() -> results.EvaluationSpeed:
            artifact = Artifact.load(self._folder.root / str(row.path))
            dataset = next(item.inputs.dataset for item in candidates if item.name == row.name)
            return evaluate.evaluation_speed(artifact, dataset, name=row.name)

        path = self._folder.root / "evaluation_speed.json"
        return self._folder.kept(path, str(row.sha256), results.EvaluationSpeed, make)

    def _record_seconds(self) -> float:
        """Wall time of the run over all sessions, kept in the folder."""
        path = self._folder.root / "seconds.json"
        before = self._folder.kept(path, "", _KeptSeconds, lambda: _KeptSeconds(0.0))
        total = before.seconds + self._watch.seconds
        path.unlink()
        self._folder.kept(path, "", _KeptSeconds, lambda: _KeptSeconds(total))
        return total
