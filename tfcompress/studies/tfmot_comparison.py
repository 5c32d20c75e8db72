"""Holds the files of a finished run beside those of TF-MOT's collaborative optimization.

Takes the run's float baseline through TF-MOT's own steps, with the same data and optimizer, judges
the files on the whole test split, and times them together with the run's. Knows which figures
belong side by side. What TF-MOT does stands in `tfmot_recipes`; to give it as many epochs as the
run's stages had is the caller's part.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcompress import (
    benchmark,
    durable,
    environment,
    evaluate,
    export,
    finished_run,
    results,
    stage_state,
    statistics,
    training,
)
from tfcompress.artifact import Artifact
from tfcompress.benchmark import LatencyConfig
from tfcompress.checkpoint import weights_sha256
from tfcompress.config import BASELINE, plain
from tfcompress.finished_run import FinishedRun
from tfcompress.fraction_text import percent, points
from tfcompress.graph.rebuild import copied
from tfcompress.minimal import minimize_or_keep
from tfcompress.predictions import Predictions
from tfcompress.progress import Reporter, listener
from tfcompress.registry import require
from tfcompress.results import Interval, Latency
from tfcompress.run_folder import RunFolder
from tfcompress.studies.tfmot_recipes import RECIPES, Step, steps

RESULT = "tfmot_comparison.json"
PLAIN = f"{BASELINE}-int8"
"""The run's file that latency times size is compared with: quantized after training."""


@dataclass(frozen=True)
class ComparisonConfig:
    """How TF-MOT's steps are carried out.

    Attributes:
      recipes: of `tfmot_recipes.RECIPES`.
      sparsity: of each kernel, in (0, 1).
      clusters: distinct values of each kernel, at least 2.
      epochs: of each step.
      learning_rate: highest one of each step.
      latency: how all files are timed.
      seed: of order and augmentation.

    Raises:
      ValueError: a value outside its range, or an unknown recipe.
    """

    recipes: tuple[str, ...] = tuple(RECIPES)
    sparsity: float = 0.5
    clusters: int = 16
    epochs: int = 3
    learning_rate: float = 3e-4
    latency: LatencyConfig = dataclasses.field(default_factory=LatencyConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.recipes:
            require(name, tuple(RECIPES), what="recipe of TF-MOT")
        if not 0 < self.sparsity < 1 or self.clusters < 2:
            raise ValueError(
                "ComparisonConfig takes a sparsity in (0, 1) and at least 2 clusters. "
                f"Received: {self.sparsity} and {self.clusters}."
            )
        if self.epochs < 1 or self.learning_rate <= 0:
            raise ValueError(
                "ComparisonConfig takes at least 1 epoch and a learning rate above 0. "
                f"Received: {self.epochs} and {self.learning_rate}."
            )


@dataclass(frozen=True)
class ComparedFile:
    """One file.

    Attributes:
      name: of the run's artifact, or TF-MOT's recipe.
      accuracy: on the whole test split.
      accuracy_interval: 95%.
      difference: to the float baseline, paired.
      difference_interval: 95%.
      size_bytes: as stored.
      gzip_size_bytes: after gzip.
      sparsity: fraction of zeros in its kernels.
      latency_ms: of one image.
    """

    name: str
    accuracy: float
    accuracy_interval: Interval
    difference: float
    difference_interval: Interval
    size_bytes: int
    gzip_size_bytes: int
    sparsity: float
    latency_ms: Latency


@dataclass(frozen=True)
class Comparison:
    """What was found.

    Attributes:
      network: the run's backbone.
      examples: of the test split.
      baseline_accuracy: of the float Keras model.
      files: the run's, then TF-MOT's.
      config: JSON-ready.
      environment: see `environment.collect`.
    """

    network: str
    examples: int
    baseline_accuracy: float
    files: tuple[ComparedFile, ...]
    config: Mapping[str, Any]
    environment: Mapping[str, Any]


def compare(
    run_dir: str | os.PathLike[str],
    config: ComparisonConfig,
    output_dir: str | os.PathLike[str],
    *,
    reporter: Reporter | None = None,
) -> Comparison:
    """Carries TF-MOT's recipes out on a finished run's baseline, or goes on with it.

    Args:
      run_dir: folder of a finished run with a `baseline-int8` file.
      config: how.
      output_dir: where stages, files and the result are kept; new, empty, or of the same study.
      reporter: told of the progress.

    Raises:
      FileNotFoundError: the run has no baseline model.
      ValueError: the folder belongs to something else, or the data are not those of the run.
    """
    source = finished_run.load(run_dir)
    source.require_images("The comparison with TF-MOT")
    source.require_classes("The comparison with TF-MOT")
    folder = RunFolder(output_dir)
    settings = {
        "comparison": plain(dataclasses.asdict(config)),
        "baseline_sha256": source.baseline_sha256,
    }
    with folder.open_for(settings):
        job = _Comparing(source, RunFolder(run_dir), folder, config, reporter or Reporter())
        found = job.carry_out()
        durable.write_json(folder.root / RESULT, dataclasses.asdict(found))
    return found


class _Comparing:
    def __init__(
        self,
        source: FinishedRun,
        run: RunFolder,
        folder: RunFolder,
        config: ComparisonConfig,
        reporter: Reporter,
    ) -> None:
        self._source = source
        self._run = run
        self._folder = folder
        self._config = config
        self._reporter = reporter

    def carry_out(self) -> Comparison:
        rows = results.load(self._run.root).artifacts
        paths = {row.name: self._run.root / str(row.path) for row in rows}
        answers = {name: Predictions.load(self._run.predictions(name)) for name in paths}
        for recipe in self._config.recipes:
            paths[recipe] = self._made(recipe)
            answers[recipe] = self._predicted(recipe, Artifact.load(paths[recipe]))
        reference = Predictions.load(self._run.predictions(BASELINE))
        self._reporter.stage("time", ", ".join(paths))
        with self._reporter.bar("latency") as step:
            samples = benchmark.measure_latency(
                paths, self._config.latency, progress=lambda done, total, _: step(done, total)
            )
        return Comparison(
            network=self._source.name,
            examples=len(reference),
            baseline_accuracy=reference.accuracy,
            files=tuple(
                _row(name, Artifact.load(path), answers[name], reference, samples[name])
                for name, path in paths.items()
            ),
            config=plain(dataclasses.asdict(self._config)),
            environment=environment.collect(),
        )

    def _made(self, recipe: str) -> Path:
        """The int8 file of a recipe; recipes that begin alike share what is trained for both.

        With the run's labels, and minimal where its files are, so that bytes are counted alike.
        """
        path = self._folder.artifact(_file_name(recipe))

        def make(path: Path) -> None:
            model = self._source.baseline
            own = steps(recipe, sparsity=self._config.sparsity, clusters=self._config.clusters)
            for count, step in enumerate(own, start=1):
                done = "-".join(one.name for one in own[:count])
                model = self._trained(recipe, done, step, model)
            metadata = {
                "preprocessing": self._source.preprocessing,
                "labels": list(self._source.dataset.classes),
            }
            artifact = export.convert(model, "int8", metadata=metadata)
            config = self._source.export
            if config.minimal:
                artifact = minimize_or_keep(
                    artifact, bias_scales=config.bias_scales, sparse=config.sparse
                ).artifact
            artifact.save(path)

        self._folder.keep_file(path, weights_sha256(self._source.baseline), make)
        return path

    def _trained(self, recipe: str, done: str, step: Step, model: Any) -> Any:
        """The model after one step more; `done` names the steps up to this one."""
        config = self._source.fine_tuning(
            epochs=self._config.epochs,
            learning_rate=self._config.learning_rate,
            seed=self._config.seed,
        )
        self._reporter.stage(recipe, f"{step.name}, {config.epochs} epochs")
        batches = training.image_batches(self._source.dataset, self._source.preprocessing, config)
        # TF-MOT's wrappers hold, or empty, the layers that they are given.
        wrapped = step.wrap(copied(model))
        state_dir = self._folder.stage(done)
        stage_state.begin(state_dir, started_from=weights_sha256(model))
        with self._reporter.bar(step.name) as told:
            training.fit(
                wrapped,
                batches,
                config=config,
                state_dir=state_dir,
                callbacks=step.callbacks(),
                on_step=listener(told),
                on_epoch=lambda epoch, found: self._reporter.epoch(epoch, config.epochs, found),
            )
        return step.strip(wrapped)

    def _predicted(self, recipe: str, artifact: Artifact) -> Predictions:
        def make(path: Path) -> None:
            evaluate.predict_artifact(artifact, self._source.dataset).save(path)

        path = self._folder.predictions(_file_name(recipe))
        self._folder.keep_file(path, artifact.sha256, make)
        return Predictions.load(path)


def _file_name(recipe: str) -> str:
    return recipe.replace(" ", "-")


def _row(
    name: str,
    artifact: Artifact,
    found: Predictions,
    reference: Predictions,
    samples: benchmark.LatencySamples,
) -> ComparedFile:
    versus = statistics.compare(found.outputs, reference.outputs, found.labels)
    return ComparedFile(
        name=name,
        accuracy=versus.accuracy,
        accuracy_interval=versus.accuracy_interval,
        difference=versus.difference,
        difference_interval=versus.difference_interval,
        size_bytes=artifact.size_bytes,
        gzip_size_bytes=artifact.gzip_size_bytes,
        sparsity=artifact.sparsity(),
        latency_ms=benchmark.summarize(samples),
    )


def table_lines(found: Comparison) -> list[str]:
    """A Markdown table; latency times gzipped bytes is held against that of the plain int8 file."""
    whole = [_product(row) for row in found.files if row.name == PLAIN]
    lines = [
        f"{found.network}, float: {found.baseline_accuracy:.2%} on {found.examples:,} test images.",
        "",
        "| file | stored, bytes | gzipped, bytes | accuracy, % (95% interval) | "
        "difference, points | zeros, % | latency, ms, p50 | latency x gzipped, of plain int8 |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in found.files:
        share = f"{_product(row) / whole[0]:.2f}" if whole else ""
        lines.append(
            f"| {row.name} | {row.size_bytes:,} | {row.gzip_size_bytes:,} | "
            f"{percent(row.accuracy, row.accuracy_interval)} | "
            f"{points(row.difference, row.difference_interval)} | "
            f"{percent(row.sparsity, digits=1)} | {row.latency_ms.p50:.3f} | {share} |"
        )
    return lines


def _product(row: ComparedFile) -> float:
    return row.latency_ms.p50 * row.gzip_size_bytes
