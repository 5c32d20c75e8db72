"""What a run leaves behind, as frozen dataclasses and as `results.json`.

Knows the fields, their units and the schema version. Absent is `None`, never a made-up number. Does
not know how a figure was measured or how it is shown. No TensorFlow here.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfcompress import durable, records
from tfcompress.layer_coverage import Coverage
from tfcompress.level_search import LevelTrial

SCHEMA_VERSION = 1
FILE_NAME = "results.json"


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval.

    Attributes:
      low: lower end, in the unit of the estimate.
      high: upper end.
      confidence: a fraction, 0.95 by default.
      method: how it was computed, such as `"wilson"` or `"paired_bootstrap"`.
    """

    low: float
    high: float
    confidence: float = 0.95
    method: str = ""


@dataclass(frozen=True)
class Latency:
    """Time of one call on a batch, in milliseconds.

    Attributes:
      p50: median over the rounds of their medians, which `interval` is of and ratios are made of.
        Rounds may hold different counts of samples: each counts once.
      p90: 90th percentile of all raw samples of all rounds.
      runtime: what executed the model, such as `"litert_cpu"`.
      threads: processor threads given to the runtime.
      batch: images in one call.
      samples: raw samples of all rounds.
      round_p50: the median of each round (each a process of its own), for the spread.
      first_call: the cold first call of the first round.
      load: reading the file and building the interpreter, first round.
      p99: 99th percentile; None of fewer than 100 samples.
      interquartile: between the 25th and the 75th percentile, in milliseconds.
      spread: from the lowest to the highest median of a round, as a fraction of their median.
      interval: of `p50`, from the medians of the rounds.
      prepare: importing the runtime, and converting the file where it does, first round.
      joules: energy of one call, of the devices that worked for it, idle power included.
      finite_outputs: whether no output of the first call was NaN or infinite.
      steady: False where the figures above say nothing, and are shown by no report without this
        mark; None where that cannot be judged.
      reason: why it is not steady, or cannot be judged.
      mean: time of all measured calls by their count; None in records of earlier versions.
    """

    p50: float
    p90: float
    runtime: str
    threads: int
    batch: int
    samples: int
    round_p50: tuple[float, ...] = ()
    first_call: float | None = None
    load: float | None = None
    p99: float | None = None
    interquartile: float | None = None
    spread: float | None = None
    interval: Interval | None = None
    prepare: float | None = None
    joules: float | None = None
    finite_outputs: bool | None = None
    steady: bool | None = None
    reason: str | None = None
    mean: float | None = None

    @property
    def images_per_second(self) -> float:
        """Throughput of the calls that were measured: their images by the sum of their times.

        By the median in records of earlier versions, which have no mean.
        """
        return 1000 * self.batch / (self.p50 if self.mean is None else self.mean)


@dataclass(frozen=True)
class Parity:
    """How far an artifact's outputs lie from those of the Keras model that it was made from.

    Attributes:
      examples: images compared, from the validation split.
      top1_agreement: fraction of the images with the same most likely class; None for values.
      max_difference: greatest absolute difference of a raw output.
      mean_difference: mean absolute difference of the raw outputs.
      output_scale: quantization step of the artifact's output; None for a float output.
      relative_difference: of values, the mean absolute difference in standard deviations of the
        Keras model's outputs over the images; None for classes.
      length: tokens of each text, where the file takes several and this is one of the shorter ones.
    """

    examples: int
    top1_agreement: float | None
    max_difference: float
    mean_difference: float
    output_scale: float | None = None
    relative_difference: float | None = None
    length: int | None = None


@dataclass(frozen=True)
class LayerReport:
    """What a technique did to one layer.

    Attributes:
      name: the layer's name in the Keras model.
      kind: the layer's class name.
      parameters: count of its trainable weights' elements.
      treated: whether the technique acted on it.
      reason: why it was skipped; where it was treated in part, what was left out and why.
      kernel_parameters: elements of its kernels, afterwards, and of its table where the technique
        treats tables; None for a layer without one.
      sparsity: fraction of zeros in its kernels, afterwards.
      distinct_weights: distinct values in its kernels, afterwards.
      detail: what was done to it, where that differs from layer to layer: `"rank 12 of 64"`.
    """

    name: str
    kind: str
    parameters: int
    treated: bool
    reason: str = ""
    kernel_parameters: int | None = None
    sparsity: float | None = None
    distinct_weights: int | None = None
    detail: str = ""


@dataclass(frozen=True)
class CompressionReport:
    """Layer by layer, what a technique treated and what it skipped and why."""

    technique: str
    layers: tuple[LayerReport, ...]


@dataclass(frozen=True)
class StageResult:
    """One trained stage of a run: the baseline or a technique of the recipe.

    Attributes:
      name: folder name under `stages/`, such as `"01-prune"`.
      technique: `"baseline"` or the technique's name.
      config: the stage's settings, JSON-ready.
      history: for each epoch the Keras metrics (`loss`, `accuracy`, `val_loss`, `val_accuracy`; of
        values `mean_absolute_error` and `val_mean_absolute_error`), `learning_rate`, `seconds`
        (wall time, validation included), `examples` (trained on), `peak_memory_bytes` (greatest
        resident size of the process within the epoch) and `energy_joules` (of the processors and
        GPUs that count it); the last two only where they can be measured.
      best_epoch: 0-based epoch whose weights were kept, chosen on validation; None where nothing
        was trained.
      seconds: wall time of the stage, over all sessions.
      after: name of the stage that it went on from; None for the first, and for one of an earlier
        version.
      report: what was treated; None for the baseline.
      levels: of a stage that searched for how far it may go, every level that was tried, in order;
        `history` is that of the one kept. Empty for other stages.
    """

    name: str
    technique: str
    config: Mapping[str, Any]
    history: tuple[Mapping[str, float], ...] = ()
    best_epoch: int | None = None
    seconds: float | None = None
    after: str | None = None
    report: CompressionReport | None = None
    levels: tuple[LevelTrial, ...] = ()


@dataclass(frozen=True)
class MinimalStep:
    """One step towards the minimal form of a file.

    Attributes:
      name: such as `"names"`; `"layout"` is the compact writing itself.
      saved_bytes: by how many bytes the step made the file smaller; 0 where it was not taken.
      refused: why the file cannot take the step; empty where it can.
      note: what else there is to tell, such as what was dropped.
    """

    name: str
    saved_bytes: int = 0
    refused: str = ""
    note: str = ""


@dataclass(frozen=True)
class Metric:
    """One figure of how well a model does its task on the test split, where it is no accuracy.

    Attributes:
      name: such as `"mean_absolute_error"`.
      value: of this model.
      interval: of `value`.
      difference: `value` minus the baseline's, paired by image; None for the baseline itself.
      difference_interval: of `difference`.
      p_value: of no difference, two-sided.
    """

    name: str
    value: float
    interval: Interval | None = None
    difference: float | None = None
    difference_interval: Interval | None = None
    p_value: float | None = None


@dataclass(frozen=True)
class ArtifactResult:
    """One row of the result table: an exported file, or the Keras model it is compared with.

    Attributes:
      name: unique in the run, such as `"baseline-float32"` or `"prune+qat-int8"`.
      path: relative to the run folder; None for a Keras model.
      sha256: of the file's bytes.
      stages: techniques applied, in order; empty for the baseline.
      model: name of the Keras model that a file is made from: the baseline or one of `models`.
      format: export format, such as `"int8"`.
      size_bytes: of the file.
      gzip_size_bytes: of the file after gzip at level 9.
      parameters: weights of the Keras model, trainable and not.
      macs: multiply-accumulates of one image.
      sparsity: fraction of zeros among the weights of convolutions and matrix products in the file.
      integer_operators: operators whose inputs and outputs are all integer.
      operators: all operators of the file.
      accuracy: fraction right on the test split; None for a regression.
      accuracy_interval: of `accuracy`.
      difference: `accuracy` minus the baseline's, paired by image.
      difference_interval: of `difference`.
      parity: against the Keras model, on validation.
      shorter_parity: the same at each shorter length that the file takes texts of.
      latency_ms: one entry for each measured setting.
      peak_memory_bytes: peak resident size of the process that ran it, at batch 1.
      predictions: path of its stored outputs on the test split, relative to the run folder.
      validation_predictions: path of those on the validation split, for what has to be fitted.
      p_value: McNemar's exact test of the paired difference to the baseline.
      gained: test images that it has right and the baseline wrong.
      lost: test images that it has wrong and the baseline right.
      distinct_weights: for each weight tensor, the largest count of distinct values within one
        channel.
      minimal_steps: what made the file minimal, in order; None for a file as it was exported.
      metrics: of a regression `mean_absolute_error`, `root_mean_squared_error` and `r_squared`, the
        first two in the unit of the target; empty for a classification.
    """

    name: str
    path: str | None = None
    sha256: str | None = None
    stages: tuple[str, ...] = ()
    model: str | None = None
    format: str | None = None
    size_bytes: int | None = None
    gzip_size_bytes: int | None = None
    parameters: int | None = None
    macs: int | None = None
    sparsity: float | None = None
    integer_operators: int | None = None
    operators: int | None = None
    accuracy: float | None = None
    accuracy_interval: Interval | None = None
    difference: float | None = None
    difference_interval: Interval | None = None
    parity: Parity | None = None
    latency_ms: tuple[Latency, ...] = ()
    peak_memory_bytes: int | None = None
    predictions: str | None = None
    validation_predictions: str | None = None
    p_value: float | None = None
    gained: int | None = None
    lost: int | None = None
    distinct_weights: int | None = None
    minimal_steps: tuple[MinimalStep, ...] | None = None
    metrics: tuple[Metric, ...] = ()
    shorter_parity: tuple[Parity, ...] = ()


@dataclass(frozen=True)
class DataResult:
    """Which data a run used.

    Attributes:
      name: as asked for.
      source: where it came from, such as `"prepared"`, `"download"`, `"registry"`, `"sample"`.
      classes: label names in label order; empty for a regression.
      split_sizes: examples in `train`, `validation`, `calibration`, `test`.
      targets: names of the values of a regression; empty for a classification.
      example: what one example is called in a sentence, such as `"image"` or `"text"`.
      published_validation: whether `validation` is as published, not carved from train.
      test_by_length: of files that take texts of several lengths, how many test texts each is the
        shortest for.

    Example:
      >>> DataResult("glue/sst2", "prepared", ("0", "1"), {"test": 872}, example="text").examples
      'texts'
    """

    name: str
    source: str
    classes: tuple[str, ...]
    split_sizes: Mapping[str, int]
    targets: tuple[str, ...] = ()
    example: str = "image"
    published_validation: bool = False
    test_by_length: Mapping[str, int] = field(default_factory=dict)

    @property
    def examples(self) -> str:
        """What several examples are called in a sentence."""
        return f"{self.example}s"


@dataclass(frozen=True)
class EvaluationSpeed:
    """Images a second through the same file, batched and one at a time.

    Attributes:
      artifact: name of the file.
      batched: images a second in the evaluation of the test split.
      single: images a second of a loop over single images.
      batch: images in one batched call.
    """

    artifact: str
    batched: float
    single: float
    batch: int


@dataclass(frozen=True)
class GivenUp:
    """A recipe that goes further than the trained model allows, or makes nothing of it smaller.

    Attributes:
      recipe: its text, as it was asked for.
      reason: a sentence or more.
      levels: all that were tried, where one was searched for.
    """

    recipe: str
    reason: str
    levels: tuple[LevelTrial, ...] = ()


@dataclass(frozen=True)
class Results:
    """Everything a report is rendered from; `results.json` in a run folder.

    Attributes:
      config: the run's settings.
      environment: versions, processor, threads, commit.
      data: which data was used.
      baseline: the trained, uncompressed classifier, as a Keras model.
      artifacts: the exported files.
      models: the Keras model at the end of each recipe, which its files are made from.
      stages: training of the baseline and of each technique.
      evaluation_speed: batched against single evaluation.
      seconds: wall time of the run, over all sessions.
      coverage: which layers the techniques of the recipes treat: of the baseline, and of each
        student that a distillation puts in its place.
      given_up: the recipes that left no model, and so no files.
      schema_version: changes when a field changes meaning.
    """

    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    data: DataResult
    baseline: ArtifactResult
    artifacts: tuple[ArtifactResult, ...]
    models: tuple[ArtifactResult, ...] = ()
    stages: tuple[StageResult, ...] = ()
    evaluation_speed: EvaluationSpeed | None = None
    seconds: float | None = None
    coverage: tuple[Coverage, ...] = ()
    given_up: tuple[GivenUp, ...] = ()
    schema_version: int = field(default=SCHEMA_VERSION)


def save(results: Results, run_dir: str | os.PathLike[str]) -> Path:
    """Writes `results.json` into a run folder, whole or not at all, and returns its path."""
    path = Path(run_dir) / FILE_NAME
    durable.write_json(path, dataclasses.asdict(results))
    return path


def load(run_dir: str | os.PathLike[str]) -> Results:
    """Reads the results of a run folder.

    Raises:
      FileNotFoundError: the folder holds no `results.json`.
      ValueError: the file is truncated, of another schema version or lacks a field.
    """
    path = Path(run_dir) / FILE_NAME
    found: Results = records.read(Results, path, version=SCHEMA_VERSION, of="run")
    return found
