"""A run from start to end: transfer, compress, export, evaluate, time, report. Resumable.

Knows the order of the parts and what is kept in the run folder. What each part does stands with the
part.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress import (
    backbones,
    benchmark,
    checkpoint,
    compose,
    data,
    durable,
    environment,
    evaluate,
    export,
    judged_files,
    judging,
    minimal,
    parity_limits,
    results,
    statistics,
)
from tfcompress.artifact import Artifact
from tfcompress.backbones import ModelConfig, TextConfig
from tfcompress.compose import PlannedStage
from tfcompress.config import BASELINE, RunConfig
from tfcompress.goals import Values
from tfcompress.judged_files import JudgedFile
from tfcompress.predictions import Predictions
from tfcompress.progress import Reporter, Stopwatch
from tfcompress.results import ArtifactResult, Results
from tfcompress.run_folder import ENVIRONMENT, RunFolder
from tfcompress.stages import StageTrainer
from tfcompress.supplies import Supplies

_PARITY_EXAMPLES = 1000
# Steps of an int8 output in standard deviations of a target beyond which rounding shows: its
# variance is a twelfth of the step's square, 0.5% of the target's here.
_COARSE = 0.25
# Kept of the test images: enough to show; of CIFAR-10's they take 1.4 MB.
_PICTURES = 500


@dataclass(frozen=True)
class _KeptLatency:
    """Raw samples of each file, in the order of the results."""

    files: tuple[benchmark.LatencySamples, ...]


@dataclass(frozen=True)
class _KeptSeconds:
    """Wall time of the sessions so far."""

    seconds: float


@dataclass(frozen=True)
class _Candidate:
    """A file to export, with the model it is made from and that model's name."""

    name: str
    title: str
    model: Any
    format: str
    stages: tuple[PlannedStage, ...]
    inputs: Supplies


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
      ValueError: settings, data or weights that cannot be used; raised before any training.
      RunFolderError: the folder belongs to something else.
    """
    from tfcompress import report

    folder = RunFolder(output_dir)
    with folder.open_for(config.to_dict()):
        job = _Run(config, folder, reporter or Reporter())
        found = job.carry_out()
        results.save(found, folder.root)
        report.render(folder.root)
    return found


class _Run:
    """The state of one run while it works."""

    def __init__(self, config: RunConfig, folder: RunFolder, reporter: Reporter) -> None:
        self._config = config
        self._folder = folder
        self._reporter = reporter
        self._watch = Stopwatch()
        # First, so that a model that cannot be used is refused before any data is fetched. Where
        # only the labels tell the task, which a user's model must fit, they lie on this machine.
        possible = data.tasks(config.data)
        known = len(possible) == 1 or not isinstance(config.backbone, ModelConfig)
        source = backbones.opened(config.backbone, task=possible[0]) if known else None
        reporter.stage("data", config.data.name)
        tokenize = None if source is None else backbones.tokenize_of(source)
        self._dataset = data.load(config.data, tokenize=tokenize, note=reporter.note)
        goal = self._dataset.goal
        source = source or backbones.opened(config.backbone, task=goal.task)
        sizes = ", ".join(f"{n} {size:,}" for n, size in self._dataset.split_sizes().items())
        published = ", validation as published" if self._dataset.published_validation else ""
        reporter.note(f"{self._dataset.source}: {sizes}{published}")
        folder.require_same_data(self._dataset.checksums())
        self._tokenizer = backbones.tokenizer_of(source)
        self._note_values()
        self._trainer = StageTrainer(
            config, folder, source=source, dataset=self._dataset, reporter=reporter
        )

    def _note_values(self) -> None:
        """Says what a regression is about, and where an int8 output is too coarse for it."""
        goal = self._dataset.goal
        if not isinstance(goal, Values):
            return
        steps = goal.int8_steps(self._dataset.train.labels)
        for name, mean, std, step in zip(goal.names, goal.mean, goal.std, steps, strict=True):
            self._reporter.note(f"{name}: mean {mean:.4g}, standard deviation {std:.4g}")
            if step > _COARSE:
                self._reporter.note(
                    f"{name} varies by {1 / step:.1f} steps of an int8 output, which spans all "
                    "targets and zero: integer files will be coarse. Give targets near zero and "
                    "of like size, or export int16x8."
                )

    def carry_out(self) -> Results:
        environment_path = self._folder.root / ENVIRONMENT
        if not environment_path.exists():
            durable.write_json(environment_path, environment.collect())
        baseline = self._trainer.baseline
        artifacts = self._exported(self._candidates(baseline))
        baseline_result, models, rows = self._evaluated(baseline, artifacts)
        rows = self._timed(rows)
        seconds = self._record_seconds()
        sizes = self._dataset.split_sizes()
        return Results(
            config=self._config.to_dict(),
            environment=durable.read_json(environment_path),
            data=results.DataResult(
                self._config.data.name,
                self._dataset.source,
                self._dataset.classes,
                sizes,
                self._dataset.targets,
                example=self._dataset.example,
                published_validation=self._dataset.published_validation,
                test_by_length=evaluate.counts_by_length(
                    self._dataset, self._trainer.supplies().preprocessing
                ),
            ),
            baseline=baseline_result,
            artifacts=tuple(rows),
            models=tuple(models),
            stages=tuple(self._trainer.records),
            evaluation_speed=self._evaluation_speed(rows),
            seconds=seconds,
            coverage=self._trainer.coverage,
        )

    # Export.

    def _candidates(self, baseline: Any) -> list[_Candidate]:
        """Every file: the baseline and each finished recipe, in every format it is asked for."""
        formats = self._config.export.formats
        inputs = self._trainer.supplies()
        found = [
            _Candidate(f"{BASELINE}-{name}", BASELINE, baseline, name, (), inputs)
            for name in formats
        ]
        self._save(BASELINE, baseline)
        for title, plan in zip(self._config.titles, self._config.plans, strict=True):
            model = self._trainer.compressed(plan.stages)
            self._save(title, model)
            own = plan.formats or formats
            if compose.quantizes(plan.stages):
                # Its fake-quantization becomes integers in this format only.
                own = ("int8",)
            names = {item.name for item in found}
            found += [
                _Candidate(
                    f"{title}-{name}",
                    title,
                    model,
                    name,
                    plan.stages,
                    self._trainer.supplies(plan.stages),
                )
                for name in own
                if f"{title}-{name}" not in names
            ]
        return found

    def _save(self, name: str, model: Any) -> None:
        """Keeps a plain Keras model, to go on with; a quantization-aware one is its int8 file."""
        path = self._folder.model(name)
        if export.is_quantization_aware(model):
            return

        def make(path: Path) -> None:
            with durable.whole_file(path) as temporary:
                model.save(temporary)

        self._folder.keep_file(path, checkpoint.weights_sha256(model), make)

    def _exported(
        self, candidates: Sequence[_Candidate]
    ) -> list[tuple[_Candidate, ArtifactResult]]:
        self._reporter.stage("export", ", ".join(item.name for item in candidates))
        if self._tokenizer is not None:
            self._tokenizer.save(self._folder.artifact(BASELINE).parent)
        return [(item, self._export_one(item)) for item in candidates]

    def _export_one(self, item: _Candidate) -> ArtifactResult:
        path = self._folder.artifact(item.name)
        record = path.with_suffix(".json")
        made_from = checkpoint.weights_sha256(item.model)

        def make() -> ArtifactResult:
            return self._export_anew(item)

        found = self._folder.kept(record, made_from, ArtifactResult, make)
        if not path.exists() or durable.sha256_of_file(path) != found.sha256:
            record.unlink()
            found = self._folder.kept(record, made_from, ArtifactResult, make)
        return found

    def _export_anew(self, item: _Candidate) -> ArtifactResult:
        path, config = self._folder.artifact(item.name), self._config.export
        artifact = export.convert(
            item.model,
            item.format,
            calibration=item.inputs.calibration,
            metadata={
                "preprocessing": item.inputs.preprocessing,
                self._dataset.goal.named_in_files: list(self._dataset.goal.names),
                "stages": list(compose.techniques(item.stages)),
            },
            sparse=config.sparse and item.format == "float32",
            dense_per_channel=config.dense_per_channel,
        )
        sample = self._dataset.validation.examples[:_PARITY_EXAMPLES]
        inputs = item.inputs.preprocessing.apply(sample)
        parity, *shorter = (
            export.parity(artifact, item.model, inputs, length=length)
            for length in (None, *artifact.lengths[:-1])
        )
        for found in (parity, *shorter):
            parity_limits.require_parity(found, item.format, name=item.name)
        self._verify_file(item, artifact)
        # After the effects were counted, which goes by the names of tensors.
        minimized = self._minimized(item.name, artifact) if config.minimal else None
        artifact = artifact if minimized is None else minimized.artifact
        counts = artifact.distinct_weights().values()
        row = ArtifactResult(
            name=item.name,
            path=self._folder.relative(path),
            sha256=artifact.sha256,
            stages=compose.techniques(item.stages),
            model=item.title,
            format=item.format,
            size_bytes=artifact.size_bytes,
            gzip_size_bytes=artifact.gzip_size_bytes,
            **_cost(item.model),
            sparsity=artifact.sparsity(),
            integer_operators=artifact.integer_operators,
            operators=len(artifact.operators),
            parity=parity,
            distinct_weights=max((count.in_channel for count in counts), default=None),
            minimal_steps=None if minimized is None else minimized.steps,
            shorter_parity=tuple(shorter),
        )
        artifact.save(path)
        self._reporter.note(f"{item.name}: {row.size_bytes:,} bytes, {_agreement(parity)}")
        return row

    def _minimized(self, name: str, artifact: Artifact) -> minimal.Minimized:
        config = self._config.export
        found = minimal.minimize_or_keep(
            artifact, bias_scales=config.bias_scales, sparse=config.sparse
        )
        for step in found.refused:
            self._reporter.note(f"{name}: not made smaller by {step.name}: {step.refused}")
        return found

    def _verify_file(self, item: _Candidate, artifact: Artifact) -> None:
        """Counts in the file what each stage of its recipe made."""
        stages = item.stages
        for count, stage in enumerate(stages, start=1):
            # Of several rounds the last one says what is left.
            if count == len(stages) or stages[count].technique != stage.technique:
                found = self._trainer.report(stages[:count])
                stage.module.verify_artifact(artifact, found, stage.config)

    # Evaluation and timing.

    def _evaluated(
        self, baseline: Any, artifacts: Sequence[tuple[_Candidate, ArtifactResult]]
    ) -> tuple[ArtifactResult, list[ArtifactResult], list[ArtifactResult]]:
        """The baseline, the model at the end of each recipe, and each file, judged."""
        self._reporter.stage("evaluate", "every model and file on the whole test split")
        first = self._judged_model(BASELINE, baseline, (), self._trainer.supplies())
        ends = {item.title: item for item, _ in artifacts if item.stages}
        models = [
            self._judged_model(title, item.model, item.stages, item.inputs)
            for title, item in ends.items()
        ]
        rows = [self._judged_file(row) for _, row in artifacts]
        if not isinstance(self._dataset.goal, Values) and not self._dataset.is_text:
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
            evaluate.pictures(self._dataset, changed).save(path)

        if not changed.size:
            self._folder.pictures.unlink(missing_ok=True)
        else:
            key = durable.sha256(changed.tobytes())
            self._folder.keep_file(self._folder.pictures, key, make)

    def _judged_model(
        self, name: str, model: Any, stages: tuple[PlannedStage, ...], inputs: Supplies
    ) -> ArtifactResult:
        row = ArtifactResult(
            name=name, format="keras", stages=compose.techniques(stages), **_cost(model)
        )
        return self._judged(row, judged_files.of_model(name, model, inputs.preprocessing))

    def _judged_file(self, row: ArtifactResult) -> ArtifactResult:
        artifact = Artifact.load(self._folder.root / str(row.path))
        return self._judged(row, judged_files.of_artifact(row.name, artifact))

    def _judged(self, row: ArtifactResult, file: JudgedFile) -> ArtifactResult:
        """Its outputs on test and validation, stored, and its figures beside the baseline's."""
        found = {split: self._answers(file, split) for split in evaluate.SPLITS}
        reference = Predictions.load(self._folder.predictions(BASELINE))
        row = judging.judged(row, found["test"], None if row.name == BASELINE else reference)
        self._reporter.note(f"{row.name}: {judging.sentence(row)}")
        paths = {split: self._folder.predictions(row.name, split) for split in found}
        return dataclasses.replace(
            row,
            predictions=self._folder.relative(paths["test"]),
            validation_predictions=self._folder.relative(paths["validation"]),
        )

    def _answers(self, file: JudgedFile, split: str) -> Predictions:
        with self._reporter.bar(file.name) as step:
            return judged_files.answers(
                file,
                self._folder,
                lambda: self._dataset,
                condition=split,
                split=split,
                progress=step,
            )

    def _timed(self, rows: Sequence[ArtifactResult]) -> list[ArtifactResult]:
        config = self._config.latency
        self._reporter.stage("time", f"{config.threads} thread, batch {config.batch}")

        lengths = _lengths(self._config)
        settings = [config.at_length(length) for length in lengths] or [config]

        def make() -> _KeptLatency:
            cases = {
                f"{row.name} on {each.runtime}": benchmark.Case(
                    self._folder.root / str(row.path), each
                )
                for row in rows
                for each in settings
            }
            with self._reporter.bar("latency") as step:
                samples = benchmark.measure_cases(
                    cases, progress=lambda done, total, _: step(done, total)
                )
            return _KeptLatency(tuple(samples.values()))

        key = " ".join(f"{row.name} {row.sha256}" for row in rows)
        kept = self._folder.kept(self._folder.root / "latency.json", key, _KeptLatency, make)
        count = len(settings)
        return [
            self._with_latency(row, kept.files[place * count : (place + 1) * count])
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

    def _evaluation_speed(self, rows: Sequence[ArtifactResult]) -> results.EvaluationSpeed | None:
        """Measured on the smallest integer file, the one that an evaluation is fastest on."""
        integer = [row for row in rows if row.format == "int8"]
        if not integer:
            return None
        row = min(integer, key=lambda row: row.size_bytes or 0)

        def make() -> results.EvaluationSpeed:
            artifact = Artifact.load(self._folder.root / str(row.path))
            return evaluate.evaluation_speed(artifact, self._dataset, name=row.name)

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


def _lengths(config: RunConfig) -> tuple[int, ...]:
    """The lengths of texts that the files of a run take, the greatest first; empty of one."""
    source = config.backbone
    if not isinstance(source, TextConfig) or not source.shorter_lengths:
        return ()
    return (source.sequence_length, *reversed(source.shorter_lengths))


def _agreement(parity: results.Parity) -> str:
    """How far a file agrees with its Keras model, in words."""
    images = f"{parity.examples:,} examples of validation"
    if parity.top1_agreement is not None:
        share = f"{parity.top1_agreement:.1%}"
        return f"same top class as the Keras model in {share} of {images}"
    return (
        f"within {parity.max_difference:.3g} of the Keras model on {images}, "
        f"{parity.mean_difference:.3g} on average"
    )


def _cost(model: Any) -> dict[str, Any]:
    from tfcompress.graph import cost

    return {"parameters": cost.parameters(model), "macs": cost.macs(model)}
