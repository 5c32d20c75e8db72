"""Holds ways of quantization side by side, on a model that was trained.

Takes the float baseline of a finished run and quantizes it without training (TFLite's converter,
ai-edge-quantizer, `ptq`) and with it (plain TF-MOT, `qat`), and judges the Keras model and the int8
file on the whole test split; those that are trained before any training, after some steps, after an
epoch. Knows which figures belong side by side. What each part does stands with the part.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress import (
    checkpoint,
    compose,
    durable,
    environment,
    evaluate,
    export,
    finished_run,
    recipe,
    statistics,
    training,
)
from tfcompress._keras import keras, tfmot
from tfcompress.artifact import Artifact
from tfcompress.config import shortened
from tfcompress.data.pipeline import steps_per_epoch
from tfcompress.finished_run import FinishedRun
from tfcompress.fraction_text import percent, points
from tfcompress.predictions import Predictions
from tfcompress.progress import Reporter
from tfcompress.registry import require
from tfcompress.results import Interval
from tfcompress.run_folder import RunFolder
from tfcompress.studies import ai_edge
from tfcompress.techniques import ptq, qat

TRAINED = ("tf-mot", "tfcompress")
"""Quantization-aware training, with plain TF-MOT and with this package."""

UNTRAINED = ("tflite", "ai-edge-quantizer", "ptq")
"""From calibration images alone: TFLite's converter, Google's package, and this one.

In the place of `"ptq"` may stand any recipe of it, such as `"ptq(growth=0.1)"`, and likewise one of
`qat`, which is trained."""

METHODS = (*UNTRAINED, *TRAINED)
RESULT = "quantization_study.json"


@dataclass(frozen=True)
class StudyConfig:
    """How both are trained.

    Attributes:
      steps: after how many steps they are judged, beside 0 and one epoch.
      learning_rate: highest one; it follows a cosine over the epoch.
      methods: of `METHODS`, or recipes of `ptq` or `qat`.
      seed: of order and augmentation.

    Raises:
      ValueError: a value outside its range, or an unknown method.
    """

    steps: int = 100
    learning_rate: float = 1e-4
    methods: tuple[str, ...] = TRAINED
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.methods:
            if _own_config(name) is None:
                require(name, METHODS, what="method")
        if "ai-edge-quantizer" in self.methods:
            ai_edge.require_installed()
        if self.steps < 1 or self.learning_rate <= 0:
            raise ValueError(
                "StudyConfig takes at least 1 step and a learning rate above 0. "
                f"Received: {self.steps} and {self.learning_rate}."
            )


@dataclass(frozen=True)
class Judged:
    """One model at one point of its training, on the test split.

    Attributes:
      method: as in the study's config.
      steps: of training so far.
      keras_accuracy: of the Keras model that the file was made from: fake-quantized, or of
        `"tflite"` and `"ai-edge-quantizer"` in float.
      file_accuracy: of the int8 file.
      file_interval: 95%, of the file's accuracy.
      difference: file minus float model, paired.
      difference_interval: 95%.
      agreement: fraction of images to which file and Keras model give the same class.
      size_bytes: of the file.
      max_steps: greatest difference of an output, in steps of the file's output scale.
      mean_steps: mean difference of an output, likewise.
      integer_operators: of the file.
      operators: of the file.
    """

    method: str
    steps: int
    keras_accuracy: float
    file_accuracy: float
    file_interval: Interval
    difference: float
    difference_interval: Interval
    agreement: float
    size_bytes: int
    max_steps: float
    mean_steps: float
    integer_operators: int
    operators: int


@dataclass(frozen=True)
class Study:
    """What was found for one baseline.

    Attributes:
      backbone: its name.
      float_accuracy: of the baseline.
      float_interval: 95%.
      examples: of the test split.
      config: of the study, JSON-ready.
      environment: see `environment.collect`.
      judged: by method and steps.
    """

    backbone: str
    float_accuracy: float
    float_interval: Interval
    examples: int
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    judged: tuple[Judged, ...]


def study(
    run_dir: str | os.PathLike[str],
    config: StudyConfig,
    output_dir: str | os.PathLike[str],
    *,
    reporter: Reporter | None = None,
) -> Study:
    """Judges quantization-aware training of a finished run's baseline, or goes on with it.

    Args:
      run_dir: folder of a finished run, for its settings, its baseline and its data.
      config: how to train.
      output_dir: where predictions, files and the result are kept; new, empty, or of the same
        study.
      reporter: told of the progress.

    Raises:
      FileNotFoundError: the run has no baseline model.
      ValueError: the folder belongs to something else, or the data are not those of the run.
    """
    source = finished_run.load(run_dir)
    source.require_images("The study of quantization")
    source.require_classes("The study of quantization")
    epoch = steps_per_epoch(source.dataset.train, source.training.batch_size)
    if any(map(_is_trained, config.methods)) and config.steps > epoch:
        raise ValueError(
            f"StudyConfig.steps must be at most an epoch, {epoch} steps. Received: {config.steps}."
        )
    folder = RunFolder(output_dir)
    settings = {
        "study": dataclasses.asdict(config) | {"methods": list(config.methods)},
        "baseline_sha256": source.baseline_sha256,
    }
    with folder.open_for(settings):
        job = _Study(source, folder, config, reporter or Reporter())
        found = job.carry_out(source.baseline)
        durable.write_json(folder.root / RESULT, dataclasses.asdict(found))
    return found


class _Study:
    def __init__(
        self, source: FinishedRun, folder: RunFolder, config: StudyConfig, reporter: Reporter
    ) -> None:
        self._folder = folder
        self._config = config
        self._reporter = reporter
        self._source = source
        self._dataset, self._preprocessing = source.dataset, source.preprocessing
        images = self._dataset.calibration.examples
        self._calibration = self._preprocessing.apply(images)

    def carry_out(self, baseline: Any) -> Study:
        reference = self._float(baseline)
        accuracy, interval = statistics.accuracy_with_interval(reference.outputs, reference.labels)
        judged: list[Judged] = []
        for method in self._config.methods:
            judged += self._judged(method, baseline, reference)
        return Study(
            backbone=self._source.name,
            float_accuracy=accuracy,
            float_interval=interval,
            examples=len(reference),
            config=dataclasses.asdict(self._config),
            environment=environment.collect(),
            judged=tuple(judged),
        )

    def _judged(self, method: str, baseline: Any, reference: Predictions) -> list[Judged]:
        record = self._folder.root / f"{shortened(_file_name(method))}.json"

        def make() -> _Kept:
            judge = self._trained if _is_trained(method) else self._untrained
            return _Kept(tuple(judge(method, baseline, reference)))

        return list(
            self._folder.kept(record, checkpoint.weights_sha256(baseline), _Kept, make).judged
        )

    def _untrained(self, method: str, baseline: Any, reference: Predictions) -> list[Judged]:
        self._reporter.stage(method, "quantize from calibration images, judge")
        images, metadata = self._calibration, {"preprocessing": self._preprocessing}
        model, config = baseline, _own_config(method)
        if config is not None:
            model = ptq.quantize(baseline, dataclasses.replace(config, calibration=images))
            artifact = export.convert(model, "int8", metadata=metadata)
        elif method == "tflite":
            artifact = export.convert(model, "int8", calibration=images, metadata=metadata)
        else:
            artifact = ai_edge.quantize(export.convert(model, "float32", metadata=metadata), images)
        return [self._judge_file(method, 0, model, artifact, reference)]

    def _trained(self, method: str, baseline: Any, reference: Predictions) -> list[Judged]:
        self._reporter.stage(method, "quantize, train an epoch, judge three times")
        model = _to_be_trained(method, baseline, self._calibration)
        config = self._source.fine_tuning(
            epochs=1, learning_rate=self._config.learning_rate, seed=self._config.seed
        )
        batches = training.image_batches(self._dataset, self._preprocessing, config)
        state_dir = self._folder.stage(shortened(_file_name(method)))
        midway = state_dir / f"step-{self._config.steps}.npz"
        begun = model.get_weights()
        found = [self._judge(method, 0, model, reference)]
        # Judging strips the model, which moves its biases.
        model.set_weights(begun)

        def keep(batch: int, logs: Any) -> None:
            if batch + 1 == self._config.steps:
                checkpoint.save_weights(model, midway)

        with self._reporter.bar(method) as step:
            training.fit(
                model,
                batches,
                config=config,
                state_dir=state_dir,
                callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=keep)],
                on_step=lambda done, total, _: step(done, total),
            )
        ended = model.get_weights()
        checkpoint.load_weights(model, midway)
        found.append(self._judge(method, self._config.steps, model, reference))
        model.set_weights(ended)
        return [*found, self._judge(method, batches.steps_per_epoch, model, reference)]

    def _judge(self, method: str, steps: int, model: Any, reference: Predictions) -> Judged:
        model = qat.strip(model)
        artifact = export.convert(model, "int8", metadata={"preprocessing": self._preprocessing})
        return self._judge_file(method, steps, model, artifact, reference)

    def _judge_file(
        self, method: str, steps: int, model: Any, artifact: Artifact, reference: Predictions
    ) -> Judged:
        ours = self._of_model(model)
        file = evaluate.predict_artifact(artifact, self._dataset)
        versus = statistics.compare(file.outputs, reference.outputs, file.labels)
        # Of a file that gives floats: the differences themselves.
        step = artifact.session().output_details.scale or 1.0
        distance = np.abs(file.outputs - ours.outputs) / step
        same = file.outputs.argmax(axis=1) == ours.outputs.argmax(axis=1)
        found = Judged(
            method=method,
            steps=steps,
            keras_accuracy=ours.accuracy,
            file_accuracy=file.accuracy,
            file_interval=versus.accuracy_interval,
            difference=versus.difference,
            difference_interval=versus.difference_interval,
            agreement=float(np.mean(same)),
            size_bytes=artifact.size_bytes,
            max_steps=float(distance.max()),
            mean_steps=float(distance.mean()),
            integer_operators=artifact.integer_operators,
            operators=len(artifact.operators),
        )
        self._reporter.note(
            f"{steps} steps: Keras {found.keras_accuracy:.2%}, file {found.file_accuracy:.2%}, "
            f"same class {found.agreement:.2%}"
        )
        return found

    def _of_model(self, model: Any) -> Predictions:
        return evaluate.predict_model(model, self._dataset, self._preprocessing)

    def _float(self, baseline: Any) -> Predictions:
        """What the baseline gives, asked once."""

        def make(path: Path) -> None:
            self._of_model(baseline).save(path)

        path = self._folder.predictions("float")
        self._folder.keep_file(path, self._source.baseline_sha256, make)
        return Predictions.load(path)


@dataclass(frozen=True)
class _Kept:
    """What one method gave."""

    judged: tuple[Judged, ...]


def _own_config(method: str) -> Any:
    """The config of a recipe of `ptq` or `qat`; None for another method."""
    if method.partition("(")[0] not in ("ptq", "qat"):
        return None
    # Nothing follows either of them.
    (stage,) = compose.plan(recipe.parse(method)).stages
    if stage.training:
        raise ValueError(
            f"The study trains for one epoch, at its own rate: write {stage.technique} without "
            f"{', '.join(stage.training)}. Received: {method!r}."
        )
    return stage.config


def _is_trained(method: str) -> bool:
    return method in TRAINED or isinstance(_own_config(method), qat.QATConfig)


def _file_name(method: str) -> str:
    return "".join(c if c.isalnum() or c in "-._" else "_" for c in method)


def _to_be_trained(method: str, model: Any, calibration: np.ndarray) -> Any:
    if method == "tf-mot":
        return tfmot.quantization.keras.quantize_model(model)
    config = dataclasses.replace(_own_config(method) or qat.QATConfig(), calibration=calibration)
    if config.growth:
        config = dataclasses.replace(config, in_float=qat.layers_in_float(model, config))
    return qat.wrap(model, config, steps_per_epoch=1, epochs=1)


def table_lines(found: Study) -> list[str]:
    """A Markdown table of a study."""
    low, high = found.float_interval.low, found.float_interval.high
    lines = [
        f"{found.backbone}, float: {found.float_accuracy:.2%} ({low:.2%} to {high:.2%}) on "
        f"{found.examples:,} test images.",
        "",
        "| method | steps | Keras model, % | int8 file, % | file minus float, points | "
        "same class, % | difference in output steps, mean / max | integer operators | bytes |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in found.judged:
        lines.append(
            f"| {row.method} | {row.steps} | {percent(row.keras_accuracy)} | "
            f"{percent(row.file_accuracy)} | {points(row.difference, row.difference_interval)} | "
            f"{percent(row.agreement)} | {row.mean_steps:.2f} / {row.max_steps:.0f} | "
            f"{row.integer_operators} of {row.operators} | {row.size_bytes:,} |"
        )
    return lines
