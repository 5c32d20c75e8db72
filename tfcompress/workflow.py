"""A run from start to end: transfer, compress, export, evaluate, time, report. Resumable.

Knows the order of the parts and what is kept in the run folder. What each part does stands with the
part.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
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
    export,
    results,
    statistics,
    training,
)
from tfcompress.artifact import Artifact
from tfcompress.compose import PlannedStage
from tfcompress.config import BASELINE, RunConfig
from tfcompress.data import encoding
from tfcompress.evaluate import Predictions
from tfcompress.progress import Reporter, Stopwatch, listener
from tfcompress.results import ArtifactResult, CompressionReport, Results, StageResult
from tfcompress.run_folder import RunFolder
from tfcompress.training import TrainingConfig

_DONE = "stage.json"
_PARITY_EXAMPLES = 1000


@dataclass(frozen=True)
class _Candidate:
    """A file to export, with the model it is made from."""

    name: str
    model: Any
    format: str
    stages: tuple[PlannedStage, ...]


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
        self._stages: list[StageResult] = []
        self._models: dict[tuple[PlannedStage, ...], tuple[Any, CompressionReport]] = {}
        reporter.stage("data", config.data.name)
        self._dataset = data.load(config.data)
        sizes = ", ".join(f"{n} {size:,}" for n, size in self._dataset.split_sizes().items())
        reporter.note(f"{self._dataset.source}: {sizes}")
        shape = self._dataset.image_shape
        self._preprocessing = backbones.preprocessing(config.backbone, shape)

    def carry_out(self) -> Results:
        environment_path = self._folder.root / "environment.json"
        if not environment_path.exists():
            durable.write_json(environment_path, environment.collect())
        baseline = self._baseline()
        artifacts = self._exported(self._candidates(baseline))
        baseline_result, rows = self._evaluated(baseline, artifacts)
        rows = self._timed(rows)
        seconds = self._record_seconds()
        sizes = self._dataset.split_sizes()
        return Results(
            config=self._config.to_dict(),
            environment=durable.read_json(environment_path),
            data=results.DataResult(
                self._config.data.name, self._dataset.source, self._dataset.classes, sizes
            ),
            baseline=baseline_result,
            artifacts=tuple(rows),
            stages=tuple(self._stages),
            evaluation_speed=self._evaluation_speed(rows),
            seconds=seconds,
        )

    # Training.

    def _baseline(self) -> Any:
        """The classifier, transferred to the task."""
        config, transfer = self._config, self._config.transfer
        self._reporter.stage(
            BASELINE,
            f"{config.backbone.name}, weights {config.backbone.resolved_weights}, {transfer.mode}",
        )
        model = backbones.build_classifier(
            config.backbone,
            classes=len(self._dataset.classes),
            image_shape=self._dataset.image_shape,
            seed=config.seed,
        )
        if transfer.head_epochs:
            head = dataclasses.replace(config.training, epochs=transfer.head_epochs)
            self._train_head(model, head, name=self._stage_name("head"))
        if transfer.mode == "linear_probe":
            self._train_head(model, config.training, name=self._stage_name(BASELINE))
        else:
            backbones.set_transfer_mode(model, transfer.mode, last_layers=transfer.last_layers)
            batches = training.image_batches(self._dataset, self._preprocessing, config.training)
            self._train(model, batches, config.training, name=self._stage_name(BASELINE))
        # Later stages train every layer; frozen ones could not follow a mask.
        backbones.set_transfer_mode(model, "full")
        return model

    def _train_head(self, model: Any, config: TrainingConfig, *, name: str) -> None:
        """Trains the head on images that are encoded once."""
        backbones.set_transfer_mode(model, "linear_probe")
        features, head = backbones.split_head(model)
        if not (self._folder.stage(name) / _DONE).exists():
            self._reporter.note("encoding the images once")
        encode = export.inference(features)
        fingerprint = durable.sha256(
            b"".join(np.ascontiguousarray(weight).tobytes() for weight in features.get_weights())
        )

        def codes(split: data.Split) -> tuple[np.ndarray, np.ndarray]:
            found = encoding.encoded(
                split,
                encode,
                self._preprocessing,
                fingerprint=fingerprint,
                cache_dir=self._folder.root / "encoded",
                batch_size=128,
            )
            return found, split.labels

        batches = training.encoded_batches(
            codes(self._dataset.train),
            codes(self._dataset.validation),
            config,
            classes=len(self._dataset.classes),
        )
        self._train(head, batches, config, name=name)

    def _compressed(self, baseline: Any, stages: tuple[PlannedStage, ...]) -> Any:
        """The model that a recipe leaves; stages that another recipe began with stand already."""
        model = baseline
        for count in range(1, len(stages) + 1):
            begun = stages[:count]
            if begun not in self._models:
                start = self._student(begun, model)
                self._models[begun] = self._train_stage(begun, start, baseline)
            model, _ = self._models[begun]
        return model

    def _student(self, stages: Sequence[PlannedStage], model: Any) -> Any:
        """The model that a stage starts from: a new student where a distillation names one."""
        current = stages[-1]
        if current.technique != "distill" or not current.config.student:
            return model
        config = backbones.BackboneConfig(
            name=current.config.student,
            weights="none",
            image_size=self._preprocessing.image_shape[0],
            batch_norm_momentum=self._config.backbone.batch_norm_momentum,
        )
        shape = self._preprocessing.image_shape
        if backbones.preprocessing(config, shape) == self._preprocessing:
            config = dataclasses.replace(config, weights="default")
        return backbones.build_classifier(
            config, classes=len(self._dataset.classes), image_shape=shape, seed=self._config.seed
        )

    def _train_stage(
        self, stages: tuple[PlannedStage, ...], model: Any, baseline: Any
    ) -> tuple[Any, CompressionReport]:
        current, defaults = stages[-1], self._config.stage_training
        config = dataclasses.replace(
            self._config.training,
            epochs=current.epochs or defaults.epochs,
            learning_rate=current.learning_rate or defaults.learning_rate,
            early_stopping_patience=0,
        )
        batches = training.image_batches(self._dataset, self._preprocessing, config)
        self._reporter.stage(current.technique, _settings(current.config))
        wrapped = compose.wrap(
            stages,
            model,
            teacher=baseline,
            steps_per_epoch=batches.steps_per_epoch,
            epochs=config.epochs,
        )
        name = self._stage_name("+".join(stage.technique for stage in stages))
        self._train(wrapped, batches, config, name=name, stages=stages)
        stripped = compose.strip(stages, wrapped)
        compose.verify(stages, stripped)
        found = current.module.report(model, stripped, current.config)
        self._stages[-1] = dataclasses.replace(self._stages[-1], report=found)
        treated = sum(layer.treated for layer in found.layers)
        self._reporter.note(
            f"{treated} of {len(found.layers)} layers with weights treated, verified"
        )
        return stripped, found

    def _stage_name(self, title: str) -> str:
        return f"{len(self._stages):02d}-{title}"

    def _train(
        self,
        model: Any,
        batches: training.Batches,
        config: TrainingConfig,
        *,
        name: str,
        stages: Sequence[PlannedStage] = (),
    ) -> None:
        """Trains one stage, or loads it where it is finished, and appends its record."""
        state_dir = self._folder.stage(name)
        done = state_dir / _DONE
        if done.exists():
            self._stages.append(results.from_record(StageResult, durable.read_json(done)))
            training.load_weights(model, state_dir / training.BEST)
            self._reporter.note(
                f"finished before, epoch {(self._stages[-1].best_epoch or 0) + 1} kept"
            )
            return
        with self._reporter.bar(name) as step:
            found = training.fit(
                model,
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
        settings: dict[str, Any] = {"training": dataclasses.asdict(config)}
        if not stages:
            settings["weights"] = backbones.weights_origin(self._config.backbone)
        else:
            settings["technique"] = _config_record(stages[-1].config)
        record = StageResult(
            name=name,
            technique=stages[-1].technique if stages else name.partition("-")[2],
            config=settings,
            history=found.history,
            best_epoch=found.best_epoch,
            seconds=found.seconds,
        )
        durable.write_json(done, dataclasses.asdict(record))
        (state_dir / training.CHECKPOINT).unlink(missing_ok=True)
        self._stages.append(record)
        self._reporter.note(f"epoch {found.best_epoch + 1} kept, best on validation")

    # Export.

    def _candidates(self, baseline: Any) -> list[_Candidate]:
        """Every file: the baseline and each finished recipe, in every format it is asked for."""
        formats = self._config.export.formats
        found = [_Candidate(f"{BASELINE}-{name}", baseline, name, ()) for name in formats]
        for title, plan in zip(self._config.titles, self._config.plans, strict=True):
            model = self._compressed(baseline, plan.stages)
            own = plan.formats or formats
            if plan.stages and plan.stages[-1].technique == "qat":
                # Its fake-quantization becomes integers in this format only.
                own = ("int8",)
            names = {item.name for item in found}
            found += [
                _Candidate(f"{title}-{name}", model, name, plan.stages)
                for name in own
                if f"{title}-{name}" not in names
            ]
        return found

    def _exported(
        self, candidates: Sequence[_Candidate]
    ) -> list[tuple[_Candidate, ArtifactResult]]:
        self._reporter.stage("export", ", ".join(item.name for item in candidates))
        images = self._preprocessing.apply(
            self._dataset.calibration.images[: self._config.export.calibration_size]
        )
        sample = self._dataset.validation.images[:_PARITY_EXAMPLES]
        validation = self._preprocessing.apply(sample)
        return [(item, self._export_one(item, images, validation)) for item in candidates]

    def _export_one(
        self, item: _Candidate, calibration: np.ndarray, validation: np.ndarray
    ) -> ArtifactResult:
        path = self._folder.artifact(item.name)
        record = path.with_suffix(".json")
        if path.exists() and record.exists():
            known: ArtifactResult = results.from_record(ArtifactResult, durable.read_json(record))
            if known.sha256 == Artifact.load(path).sha256:
                return known
        artifact = export.convert(
            item.model,
            item.format,
            calibration=calibration,
            metadata={
                "preprocessing": self._preprocessing,
                "labels": list(self._dataset.classes),
                "stages": [stage.technique for stage in item.stages],
            },
            sparse=self._config.export.sparse and item.format == "float32",
        )
        parity = export.parity(artifact, item.model, validation)
        export.require_parity(parity, item.format, name=item.name)
        self._verify_file(item, artifact)
        counts = artifact.distinct_weights().values()
        found = ArtifactResult(
            name=item.name,
            path=self._folder.relative(path),
            sha256=artifact.sha256,
            stages=tuple(stage.technique for stage in item.stages),
            format=item.format,
            size_bytes=artifact.size_bytes,
            gzip_size_bytes=artifact.gzip_size_bytes,
            **_cost(item.model),
            sparsity=artifact.sparsity(),
            integer_operators=artifact.integer_operators,
            operators=len(artifact.operators),
            parity=parity,
            distinct_weights=max((count.in_channel for count in counts), default=None),
        )
        artifact.save(path)
        durable.write_json(record, dataclasses.asdict(found))
        self._reporter.note(
            f"{item.name}: {found.size_bytes:,} bytes, same top class as the Keras model in "
            f"{parity.top1_agreement:.1%} of {parity.examples:,} validation images"
        )
        return found

    def _verify_file(self, item: _Candidate, artifact: Artifact) -> None:
        """Counts in the file what each stage of its recipe made."""
        for count, stage in enumerate(item.stages, start=1):
            _, found = self._models[item.stages[:count]]
            stage.module.verify_artifact(artifact, found, stage.config)

    # Evaluation and timing.

    def _evaluated(
        self, baseline: Any, artifacts: Sequence[tuple[_Candidate, ArtifactResult]]
    ) -> tuple[ArtifactResult, list[ArtifactResult]]:
        self._reporter.stage("evaluate", "every model and file on the whole test split")
        reference = self._predictions(
            BASELINE,
            lambda step: evaluate.predict_model(
                baseline, self._dataset, self._preprocessing, progress=step
            ),
        )
        first = ArtifactResult(name=BASELINE, format="keras", **_cost(baseline))
        first = self._scored(first, reference, reference)
        rows = []
        for _, row in artifacts:
            artifact = Artifact.load(self._folder.root / str(row.path))
            found = self._predictions(
                row.name,
                lambda step, artifact=artifact: evaluate.predict_artifact(
                    artifact, self._dataset, progress=step
                ),
            )
            rows.append(self._scored(row, found, reference))
        return first, rows

    def _predictions(self, name: str, predict: Any) -> Predictions:
        path = self._folder.predictions(name)
        if not path.exists():
            with self._reporter.bar(name) as step:
                predict(step).save(path)
        return Predictions.load(path)

    def _scored(
        self, row: ArtifactResult, found: Predictions, reference: Predictions
    ) -> ArtifactResult:
        versus = statistics.compare(found.outputs, reference.outputs, found.labels)
        interval = versus.accuracy_interval
        self._reporter.note(
            f"{row.name}: {versus.accuracy:.2%} ({interval.low:.2%} to {interval.high:.2%})"
        )
        row = dataclasses.replace(
            row,
            accuracy=versus.accuracy,
            accuracy_interval=interval,
            predictions=self._folder.relative(self._folder.predictions(row.name)),
        )
        if found is reference:
            return row
        return dataclasses.replace(
            row,
            difference=versus.difference,
            difference_interval=versus.difference_interval,
            p_value=versus.p_value,
        )

    def _timed(self, rows: Sequence[ArtifactResult]) -> list[ArtifactResult]:
        config = self._config.latency
        self._reporter.stage("time", f"{config.threads} thread, batch {config.batch}")
        path = self._folder.root / "latency.json"
        known = durable.read_json(path) if path.exists() else {}
        if {name: entry["sha256"] for name, entry in known.items()} != {
            row.name: row.sha256 for row in rows
        }:
            paths = {row.name: self._folder.root / str(row.path) for row in rows}
            with self._reporter.bar("latency") as step:
                samples = benchmark.measure_latency(
                    paths, config, progress=lambda done, total, _: step(done, total)
                )
            known = {
                row.name: {"sha256": row.sha256, **dataclasses.asdict(samples[row.name])}
                for row in rows
            }
            durable.write_json(path, known)
        return [self._with_latency(row, known[row.name]) for row in rows]

    def _with_latency(self, row: ArtifactResult, entry: dict[str, Any]) -> ArtifactResult:
        record = {name: value for name, value in entry.items() if name != "sha256"}
        samples = results.from_record(benchmark.LatencySamples, record)
        latency = benchmark.summarize(samples)
        self._reporter.note(f"{row.name}: {latency.p50:.3f} ms")
        return dataclasses.replace(
            row, latency_ms=(latency,), peak_memory_bytes=samples.peak_memory_bytes
        )

    def _evaluation_speed(self, rows: Sequence[ArtifactResult]) -> results.EvaluationSpeed | None:
        """Measured on the smallest integer file, the one that an evaluation is fastest on."""
        integer = [row for row in rows if row.format == "int8"]
        if not integer:
            return None
        path = self._folder.root / "evaluation_speed.json"
        row = min(integer, key=lambda row: row.size_bytes or 0)
        if not path.exists():
            artifact = Artifact.load(self._folder.root / str(row.path))
            speed = evaluate.evaluation_speed(artifact, self._dataset, name=row.name)
            durable.write_json(path, dataclasses.asdict(speed))
        found: results.EvaluationSpeed = results.from_record(
            results.EvaluationSpeed, durable.read_json(path)
        )
        return found

    def _record_seconds(self) -> float:
        """Wall time of the run over all sessions, kept in the folder."""
        path = self._folder.root / "seconds.json"
        before = durable.read_json(path) if path.exists() else 0.0
        total = before + self._watch.seconds
        durable.write_json(path, total)
        return total


def _cost(model: Any) -> dict[str, Any]:
    from tfcompress.graph import cost

    return {"parameters": cost.parameters(model), "macs": cost.macs(model)}


def _config_record(config: Any) -> dict[str, Any]:
    return {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name != "teacher"
    }


def _settings(config: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in _config_record(config).items() if value)
