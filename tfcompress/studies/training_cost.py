"""What training under a technique costs beside plain training: time and memory, in one run.

    found = measure(TrainingCostConfig(methods=("prune(0.5)", "qat")), "runs/training_cost")
    print(*table_lines(found), sep=os.linesep)

Every method trains the same network on the same images, each in a process of its own, and the
methods take turns, round by round. Knows what is timed. What a technique does stands with it.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tfcompress import (
    backbones,
    benchmark,
    compose,
    data,
    durable,
    environment,
    planned_stages,
    recipe,
    resource_use,
    training,
)
from tfcompress.backbones import BackboneConfig
from tfcompress.config import plain
from tfcompress.data import DataConfig
from tfcompress.run_folder import RunFolder
from tfcompress.training import TrainingConfig

PLAIN = "plain"
"""The method that all others are compared with: no technique, `compile` and `fit` of Keras."""

OWN = "plain, by tfcompress"
"""No technique either, by `training.fit`, which trains under each of ours."""

TFMOT = ("tf-mot prune", "tf-mot cluster", "tf-mot qat")
"""TF-MOT's own wrappers, measured alone."""

_OURS = (
    "prune(0.5)",
    "cluster(16)",
    "qat",
    "distill",
    "prune_channels(0.5)",
    "factorize(energy=0.9)",
)
_TIMEOUT_SECONDS = 3600.0
RESULT = "training_cost.json"
TURNS = "turns"
"""The folder of what each process measured."""


@dataclass(frozen=True)
class TrainingCostConfig:
    """What is measured.

    Attributes:
      methods: recipes of one technique, such as `"prune(0.5)"`, names of `TFMOT`, or `OWN`.
      data: whose training images are used.
      backbone: the network.
      batch_size: images in a step.
      epochs: of each training, at least 2: the first one, in which everything is traced, apart.
      rounds: processes for each method.
      seed: of weights and order.

    Raises:
      ValueError: a value outside its range, or a method that is none.
    """

    methods: tuple[str, ...] = (OWN, *_OURS, *TFMOT)
    data: DataConfig = field(default_factory=lambda: DataConfig(name="cifar10_sample"))
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    batch_size: int = 32
    epochs: int = 3
    rounds: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        data.require_images(self.data, what="The cost of training")
        for method in self.methods:
            own = [] if method in (*TFMOT, OWN) else _stages(method)
            if not all(map(compose.is_prepared, own)):
                raise ValueError(
                    f"The method {method!r} needs what only a run finds out first. Leave out "
                    "growth, allocation, views and max_drop."
                )
            if said := {name for stage in own for name in stage.training}:
                raise ValueError(
                    "All methods are trained alike, as plain training is. Leave out "
                    f"{', '.join(sorted(said))}. Received: {method!r}."
                )
            if method not in (*TFMOT, OWN) and len(own) != 1:
                raise ValueError(
                    f"A method is a recipe of one technique that trains, such as prune(0.5), or "
                    f"one of {', '.join(TFMOT)}. Received: {method!r}."
                )
        if self.epochs < 2 or self.rounds < 1 or self.batch_size < 1:
            raise ValueError(
                "TrainingCostConfig takes at least 2 epochs, 1 round and a batch of 1. "
                f"Received: {self.epochs}, {self.rounds} and {self.batch_size}."
            )


def _stages(method: str) -> list[planned_stages.PlannedStage]:
    return [s for s in compose.plan(recipe.parse(method)).stages if planned_stages.is_trained(s)]


@dataclass(frozen=True)
class MethodCost:
    """One method's cost.

    Attributes:
      method: its name; `PLAIN` for training with no technique.
      wrap_seconds: of each round, before the training begins.
      first_epoch_seconds: of each round, with all tracing.
      step_ms: of each round, the median time of a step after the first epoch.
      peak_memory_bytes: of each round, the greatest resident size of its process.
    """

    method: str
    wrap_seconds: tuple[float, ...]
    first_epoch_seconds: tuple[float, ...]
    step_ms: tuple[float, ...]
    peak_memory_bytes: tuple[int, ...]

    @property
    def start_seconds(self) -> tuple[float, ...]:
        """Of each round, wrapping and first epoch together."""
        return tuple(map(sum, zip(self.wrap_seconds, self.first_epoch_seconds, strict=True)))


@dataclass(frozen=True)
class TrainingCost:
    """What was found.

    Attributes:
      network: its name, width, image size and batch.
      steps_per_epoch: of the training.
      methods: plain training first.
      config: JSON-ready.
      environment: see `environment.collect`.
    """

    network: str
    steps_per_epoch: int
    methods: tuple[MethodCost, ...]
    config: Mapping[str, Any]
    environment: Mapping[str, Any]


@dataclass(frozen=True)
class _Reply:
    """What one process measured; see `MethodCost`."""

    wrap_seconds: float
    first_epoch_seconds: float
    step_ms: float
    peak_memory_bytes: int
    steps_per_epoch: int
    image_size: int


def measure(
    config: TrainingCostConfig,
    output_dir: str | os.PathLike[str],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> TrainingCost:
    """Trains with each method in turn and measures it, or goes on with an interrupted measurement.

    Args:
      config: what to measure.
      output_dir: where what each process measured, and the result, are kept; new, empty, or of the
        same measurement.
      progress: called with the count of finished processes, and of all.

    Raises:
      MeasurementError: a process failed; the message names the method.
      RunFolderError: the folder belongs to something else.
    """
    folder = RunFolder(output_dir)
    with folder.open_for({"training_cost": plain(dataclasses.asdict(config))}):
        found = _measured(config, folder, progress or (lambda done, total: None))
        durable.write_json(folder.root / RESULT, dataclasses.asdict(found))
    return found


def _measured(
    config: TrainingCostConfig, folder: RunFolder, progress: Callable[[int, int], None]
) -> TrainingCost:
    methods = (PLAIN, *config.methods)
    replies: dict[str, list[_Reply]] = {method: [] for method in methods}
    turns = [method for _ in range(config.rounds) for method in methods]
    for done, method in enumerate(turns, start=1):
        request = {**dataclasses.asdict(config), "method": method}
        path = folder.root / TURNS / f"{done:03}.json"
        replies[method].append(folder.kept(path, method, _Reply, partial(_asked, request)))
        progress(done, len(turns))
    first = replies[PLAIN][0]
    width = "" if config.backbone.width == 1 else f" {config.backbone.width:g}"
    return TrainingCost(
        network=(
            f"{config.backbone.name}{width}, {first.image_size} px, batch {config.batch_size}"
        ),
        steps_per_epoch=first.steps_per_epoch,
        methods=tuple(_cost(method, answers) for method, answers in replies.items()),
        config=plain(dataclasses.asdict(config)),
        environment=environment.collect(),
    )


def _asked(request: Mapping[str, Any]) -> _Reply:
    try:
        return _Reply(**benchmark.run_in_process(request, _TIMEOUT_SECONDS, module=__name__))
    except benchmark.MeasurementError as error:
        method = request["method"]
        raise benchmark.MeasurementError(f"Training with {method} failed: {error}") from error


def _cost(method: str, replies: Sequence[_Reply]) -> MethodCost:
    return MethodCost(
        method=method,
        wrap_seconds=tuple(reply.wrap_seconds for reply in replies),
        first_epoch_seconds=tuple(reply.first_epoch_seconds for reply in replies),
        step_ms=tuple(reply.step_ms for reply in replies),
        peak_memory_bytes=tuple(reply.peak_memory_bytes for reply in replies),
    )


def table_lines(found: TrainingCost) -> list[str]:
    """A Markdown table: medians over the rounds, and how many times that of plain training.

    A factor is the median, and the range, of those of the rounds: what was measured one after the
    other is compared, since a machine is not as fast at all times.
    """
    plain_cost = found.methods[0]
    lines = [
        f"{found.network}, {found.steps_per_epoch} steps an epoch, "
        f"{len(plain_cost.step_ms)} rounds.",
        "",
        "| method | wrapping, s | first epoch, s | times plain | with wrapping, times plain | "
        "step, ms | times plain | peak memory, MiB | times plain |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in found.methods:
        cells = [
            f"{statistics.median(row.wrap_seconds):.1f}",
            f"{statistics.median(row.first_epoch_seconds):.1f}",
            _times(row.first_epoch_seconds, plain_cost.first_epoch_seconds),
            _times(row.start_seconds, plain_cost.start_seconds),
            f"{statistics.median(row.step_ms):.1f}",
            _times(row.step_ms, plain_cost.step_ms),
            f"{statistics.median(row.peak_memory_bytes) / 2**20:,.0f}",
            _times(row.peak_memory_bytes, plain_cost.peak_memory_bytes),
        ]
        lines.append(f"| {row.method} | {' | '.join(cells)} |")
    return lines


def _times(own: Sequence[float], plain_ones: Sequence[float]) -> str:
    """The median factor of the rounds, and their range where there are several."""
    ratios = [one / other for one, other in zip(own, plain_ones, strict=True)]
    middle = f"{statistics.median(ratios):.2f}"
    return middle if len(ratios) == 1 else f"{middle} ({min(ratios):.2f} to {max(ratios):.2f})"


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Trains with one method in this process.

    Args:
      request: the fields of `TrainingCostConfig`, and `method`.

    Returns:
      `wrap_seconds`, `first_epoch_seconds`, `step_ms`, `peak_memory_bytes`, `steps_per_epoch` and
      `image_size`.
    """
    backbone = BackboneConfig(**request["backbone"])
    dataset = data.load(DataConfig(**request["data"]))
    preprocessing = backbones.preprocessing(backbone, dataset.image_shape)
    config = TrainingConfig(
        epochs=request["epochs"], batch_size=request["batch_size"], seed=request["seed"]
    )
    batches = training.image_batches(dataset, preprocessing, config)
    model = backbones.build_model(
        backbone,
        goal=dataset.goal,
        image_shape=dataset.image_shape,
        seed=request["seed"],
    )
    calibration = preprocessing.apply(dataset.calibration.examples)
    started = time.perf_counter()
    wrapped, callbacks = _wrapped(request["method"], model, calibration, batches, config)
    begun = time.perf_counter()
    ends: list[float] = []
    settings: dict[str, Any] = {
        "config": config,
        "callbacks": callbacks,
        "on_step": lambda done, total, metrics: ends.append(time.perf_counter()),
    }
    if request["method"] in (PLAIN, *TFMOT):
        training.fit_by_keras(wrapped, batches, **settings)
    else:
        with tempfile.TemporaryDirectory() as folder:
            training.fit(wrapped, batches, state_dir=folder, **settings)
    per_epoch = batches.steps_per_epoch
    # Between two epochs stand the validation and the checkpoint, which are not timed.
    steps = [
        1e3 * (end - start)
        for number, (start, end) in enumerate(itertools.pairwise(ends), start=1)
        if number > per_epoch and number % per_epoch
    ]
    return {
        "wrap_seconds": begun - started,
        "first_epoch_seconds": ends[per_epoch - 1] - begun,
        "step_ms": statistics.median(steps),
        "peak_memory_bytes": resource_use.peak_memory_bytes(),
        "steps_per_epoch": per_epoch,
        "image_size": preprocessing.image_shape[0],
    }


def _wrapped(
    method: str, model: Any, calibration: Any, batches: training.Batches, config: TrainingConfig
) -> tuple[Any, list[Any]]:
    """The model to be trained, and the callbacks that its training needs."""
    if method in (PLAIN, OWN):
        return model, []
    if method in TFMOT:
        return _wrapped_by_tfmot(method, model)
    (stage,) = _stages(method)
    supplied = {"teacher": model, "calibration": calibration}
    wrapped = compose.wrap(
        [stage],
        model,
        supplied=supplied,
        steps_per_epoch=batches.steps_per_epoch,
        epochs=config.epochs,
    )
    return wrapped, compose.callbacks([stage])


def _wrapped_by_tfmot(method: str, model: Any) -> tuple[Any, list[Any]]:
    from tfcompress._keras import tfmot

    if method == "tf-mot qat":
        return tfmot.quantization.keras.quantize_model(model), []
    if method == "tf-mot cluster":
        linear = tfmot.clustering.keras.CentroidInitialization.LINEAR
        clustered = tfmot.clustering.keras.cluster_weights(
            model, number_of_clusters=16, cluster_centroids_init=linear
        )
        return clustered, []
    pruning = tfmot.sparsity.keras
    schedule = pruning.ConstantSparsity(0.5, begin_step=0, frequency=1)
    pruned = pruning.prune_low_magnitude(model, pruning_schedule=schedule)
    return pruned, [pruning.UpdatePruningStep()]


if __name__ == "__main__":
    benchmark.serve(answer)
