"""All settings of a run as one frozen record, checked before any work. No TensorFlow here.

Knows which parts a run has and how they are written to `config.json`. What each part means stands
with the part.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tfcompress import backbones, compose, data, durable, planned_stages, recipe
from tfcompress.backbones import BackboneConfig, ModelConfig, TextConfig
from tfcompress.benchmark import LatencyConfig
from tfcompress.compose import Plan
from tfcompress.data import DataConfig, pipeline
from tfcompress.export import ExportConfig
from tfcompress.registry import require
from tfcompress.techniques import distill
from tfcompress.techniques.distill import DistillationConfig
from tfcompress.training import TrainingConfig

BASELINE = "baseline"
KEPT = "none"
"""The transfer mode in which a model is taken as it is, with its own head."""


@dataclass(frozen=True)
class TransferConfig:
    """How a pretrained backbone is brought to the task.

    Attributes:
      mode: `"full"` trains every layer, `"fine_tune"` the head and the last layers before it,
        `"linear_probe"` the head alone, on images that were encoded once; `"none"` trains nothing
        and keeps the head, of a user's own model that was trained for the task.
      last_layers: layers with weights that `"fine_tune"` trains before the head, at least 1 there
        and 0 elsewhere.
      head_epochs: epochs in which the new head is trained on encoded images before other layers
        are; 0 for none. A linear probe takes its epochs from the training settings instead.

    Raises:
      ValueError: an unknown mode, or counts that do not go with it.
    """

    mode: str = "full"
    last_layers: int = 0
    head_epochs: int = 0

    def __post_init__(self) -> None:
        require(self.mode, (*backbones.TRANSFER_MODES, KEPT), what="transfer mode")
        if self.mode == "fine_tune" and self.last_layers < 1:
            raise ValueError(
                "TransferConfig.last_layers must be at least 1 for fine_tune. "
                f"Received: {self.last_layers}. For the head alone use linear_probe."
            )
        if self.mode != "fine_tune" and self.last_layers:
            raise ValueError(
                f"TransferConfig.last_layers belongs to fine_tune. Received: {self.last_layers} "
                f"with {self.mode}."
            )
        no_other = self.mode in ("linear_probe", KEPT)
        if self.head_epochs < 0 or (no_other and self.head_epochs):
            raise ValueError(
                "TransferConfig.head_epochs must be at least 0, and 0 for linear_probe, whose "
                "epochs are those of the training, and for none, which trains nothing. "
                f"Received: {self.head_epochs} with {self.mode}."
            )


@dataclass(frozen=True)
class StageTrainingConfig:
    """How the stages of a recipe are trained, where they do not say so themselves.

    Every layer is trained in a stage, with the optimizer, batch size and augmentation of the
    baseline.

    Attributes:
      epochs: of each stage, at least 1.
      learning_rate: highest one of each stage, above 0; None for `FACTOR` times the baseline's.

    Raises:
      ValueError: a value outside its range.
    """

    epochs: int = 3
    learning_rate: float | None = None

    FACTOR: ClassVar[float] = 0.3

    def __post_init__(self) -> None:
        rate = 1.0 if self.learning_rate is None else self.learning_rate
        if self.epochs < 1 or not 0 < rate < math.inf:
            raise ValueError(
                "StageTrainingConfig takes at least 1 epoch and a finite learning rate above 0. "
                f"Received: epochs {self.epochs}, learning_rate {self.learning_rate}."
            )


@dataclass(frozen=True)
class RunConfig:
    """One run of the main job.

    Attributes:
      data: the data set.
      backbone: the network and its pretrained weights, a text encoder, or a user's own model file.
      transfer: how it is brought to the task.
      training: of the baseline.
      recipes: text forms of what is done to it, each started from the same baseline; none for the
        baseline alone. Stages that two recipes begin with are trained once.
      stage_training: of the recipe's stages.
      export: which files are made.
      latency: how they are timed.
      seed: of the initial weights.
      tensorboard: write TensorBoard logs into the run folder.

    Raises:
      ValueError: a recipe that cannot be carried out, export formats that do not go with it, a loss
        that the task of the data does not have, or a network for images with texts, or the other
        way round.
    """

    data: DataConfig = field(default_factory=DataConfig)
    backbone: BackboneConfig | ModelConfig | TextConfig = field(default_factory=BackboneConfig)
    transfer: TransferConfig = field(default_factory=TransferConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    recipes: tuple[str, ...] = ()
    stage_training: StageTrainingConfig = field(default_factory=StageTrainingConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    latency: LatencyConfig = field(default_factory=LatencyConfig)
    seed: int = 0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        texts = (str(recipe.parse(text)) for text in self.recipes)
        object.__setattr__(self, "recipes", tuple(dict.fromkeys(text for text in texts if text)))
        data.check(self.data)
        self._require_task()
        self._require_examples()
        if self.tensorboard and importlib.util.find_spec("tensorboard") is None:
            raise ValueError(
                "TensorBoard logs need the package tensorboard, which is not installed. "
                "Run: pip install tensorboard, or leave --tensorboard out."
            )
        for plan in self.plans:
            for stage in plan.stages[:1]:
                if stage.technique == "distill" and stage.config.student:
                    self._require_student(stage.config)
        if self.transfer.mode == KEPT and not isinstance(self.backbone, ModelConfig):
            raise ValueError(
                f"--transfer=none with the backbone {self.backbone.name}. {backbones.NO_HEAD}"
            )
        if self.transfer.mode == "linear_probe" and self.backbone.resolved_weights == "none":
            raise ValueError(
                "A linear probe trains the head alone, which needs pretrained weights. "
                f"Received: backbone {self.backbone.name} with weights none. "
                "Use --transfer=full, or weights."
            )

    def _require_student(self, config: DistillationConfig) -> None:
        """Refuses a student that there is not, or that does not read what its teacher reads."""
        is_made = config.student == distill.ENCODER
        reads_texts = is_made or backbones.is_text_name(config.student)
        given = "texts" if isinstance(self.backbone, TextConfig) else "images"
        if reads_texts != (given == "texts"):
            raise ValueError(
                f"distill(student={config.student}) brings a student that takes "
                f"{'texts' if reads_texts else 'images'}. Received: {given}. For images name a "
                f"network such as ds_cnn, for texts {distill.ENCODER}, a smaller one of the "
                "teacher's kind, with student_layers or student_width, or one of "
                f"{', '.join(backbones.text_names())}. Or leave the student out."
            )
        if not isinstance(self.backbone, TextConfig):
            backbones.load_family(config.student)
        elif is_made:
            layers, width = config.student_layers, config.student_width
            try:
                self.backbone.smaller(layers=layers, width=width)
            except ValueError as error:
                raise ValueError(
                    f"distill with student_layers={layers}, student_width={width:g}: {error}"
                ) from error
        elif config.student_width != 1 or config.student_image_size:
            raise ValueError(
                f"distill(student={config.student}) has the sizes that it was published with. "
                f"Received: student_width {config.student_width:g}, student_image_size "
                f"{config.student_image_size}. Leave them out."
            )
        else:
            self.backbone.named(config.student)

    def _require_task(self) -> None:
        """Refuses what no task of the data set has, as far as its task is known."""
        possible = data.tasks(self.data)
        if len(possible) == 1:
            self.training.require_task(possible[0])
            for plan in self.plans:
                compose.require_task(plan.stages, possible[0])

    def _require_examples(self) -> None:
        """Refuses images where the network reads texts, and texts where it reads images."""
        texts, reads_texts = data.is_text(self.data), isinstance(self.backbone, TextConfig)
        if texts and not reads_texts:
            raise ValueError(
                f"Data set {self.data.name!r} is of texts. Received: {self.backbone.name}, which "
                f"takes images. Pass --backbone={backbones.text_names()[0]} or another of "
                f"{', '.join(backbones.text_names())}."
            )
        if reads_texts and not texts:
            raise ValueError(
                f"{self.backbone.name} reads texts. Received: data set {self.data.name!r}, of "
                "images. Pass --dataset=text:FILE, or a data set of texts of TFDS with --task=text."
            )
        if not texts:
            for plan in self.plans:
                compose.require_images(plan.stages)
            return
        pipeline.require_plain(self.training.augmentation)
        shorter: tuple[int, ...] = getattr(self.backbone, "shorter_lengths", ())
        for length in shorter:
            self.latency.at_length(length)

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The recipes with their techniques' configs."""
        return tuple(compose.plan(recipe.parse(text)) for text in self.recipes)

    @property
    def titles(self) -> tuple[str, ...]:
        """A short name for each recipe: its techniques, with arguments where those do not tell.

        Recipes that differ in their export formats alone share one; others never do.
        """
        plans = self.plans
        plain = ["+".join(compose.techniques(plan.stages)) or BASELINE for plan in plans]
        titles: dict[tuple[planned_stages.PlannedStage, ...], str] = {}
        for plan, short in zip(plans, plain, strict=True):
            if plan.stages in titles:
                continue
            alike = {
                other.stages: recipe.parse(own).stages[: len(compose.techniques(other.stages))]
                for own, other, name in zip(self.recipes, plans, plain, strict=True)
                if name == short
            }
            own_stages = _without_shared(alike[plan.stages], list(alike.values()))
            title = short if len(alike) == 1 else "+".join(map(_title, own_stages))
            # Signs that no file name can hold may have been all that told two of them apart.
            title = shortened(title)
            same = sum(item.partition("~")[0] == title for item in titles.values())
            titles[plan.stages] = f"{title}~{same + 1}" if same else title
        return tuple(titles[plan.stages] for plan in plans)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready record."""
        record: dict[str, Any] = plain(dataclasses.asdict(self))
        return record


def shortened(name: str, *, limit: int = 120) -> str:
    """A name that a file system takes: a long one ends in a checksum of the whole.

    Example:
      >>> shortened("prune-0.8"), len(shortened("x" * 500))
      ('prune-0.8', 120)
    """
    if len(name) <= limit:
        return name
    return f"{name[: limit - 9]}-{durable.sha256(name.encode())[:8]}"


def _without_shared(
    stages: tuple[recipe.Stage, ...], alike: list[tuple[recipe.Stage, ...]]
) -> list[recipe.Stage]:
    """The stages without the arguments that all alike ones have."""
    found = []
    for index, stage in enumerate(stages):
        same = [other[index] for other in alike]
        options = [o for o in stage.options if not all(o in other.options for other in same)]
        positional = stage.positional
        if all(other.positional == positional for other in same):
            positional = ()
        found.append(recipe.Stage(stage.technique, positional, tuple(options)))
    return found


def _title(stage: recipe.Stage) -> str:
    """A stage in letters of a file name: `prune(0.8, end=0.5)` as `prune-0.8-end-0.5`."""
    text = str(stage).replace(", ", "-").replace("=", "-").replace("(", "-").rstrip(")")
    return "".join(c if c.isalnum() or c in "-._" else "_" for c in text)


def plain(value: Any) -> Any:
    """A record as JSON gives it back: lists for tuples."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
