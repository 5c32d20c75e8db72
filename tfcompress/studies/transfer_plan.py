"""Which trials a study of compression in transfer learning consists of, and in which order.

    config = TransferConfig(pairs=(Pair(BackboneConfig("resnet8"), "mnist"),))
    trials(config)

Knows the questions and the trials that answer them. Does not know how a trial is carried out.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tfcompress import backbones, compose, data, recipe
from tfcompress.backbones import BackboneConfig
from tfcompress.config import StageTrainingConfig, shortened
from tfcompress.data import DataConfig
from tfcompress.graph import kernels
from tfcompress.planned_stages import PlannedStage
from tfcompress.registry import require
from tfcompress.training import TrainingConfig
from tfcompress.transfer import DOWNSTREAM, FULL, LINEAR_PROBE, NONE, UPSTREAM, Trial

PARTS = ("a", "b", "c", "d")
"""(a) which order, (b) which regime, (c) which target, (d) how many frozen layers."""

REGIMES = (LINEAR_PROBE, FULL)
_FROZEN_OF = {FULL: 0.0, LINEAR_PROBE: 1.0}
TECHNIQUES = ("prune_channels", "factorize", "prune", "cluster")
"""What can be done to pretrained weights with no images, and still be trained for a task."""


@dataclass(frozen=True)
class TransferSettings:
    """What all trials of a study have in common.

    Attributes:
      epochs: of the layers, over the target's training images, at least 2, in every order alike.
      compression_epochs: of `epochs`, those that a compression after the transfer takes, in [1,
        epochs).
      probe_epochs: of a new head alone, on images that were encoded once, at least 1. A linear
        probe ends there; every other transfer begins there, since a random head would spoil the
        layers below it in the first steps.
      max_train: training images of the target; 0 for all.
      validation_fraction: of the published training split, from which the epoch is chosen.
      batch_size: images in a step.
      learning_rate: highest one of the transfer. A compression after it, and one upstream, take
        `StageTrainingConfig.FACTOR` times that.
      upstream_epochs: of each stage of an upstream compression that is trained.
      upstream_max_train: images that it is trained on; 0 for all.

    Raises:
      ValueError: a value outside its range.
    """

    epochs: int = 4
    compression_epochs: int = 2
    probe_epochs: int = 30
    max_train: int = 4000
    validation_fraction: float = 0.02
    batch_size: int = 64
    learning_rate: float = 1e-3
    upstream_epochs: int = 3
    upstream_max_train: int = 10000

    def __post_init__(self) -> None:
        if not 1 <= self.compression_epochs < self.epochs:
            raise ValueError(
                "TransferSettings.compression_epochs are part of epochs: at least 1, and less. "
                f"Received: {self.compression_epochs} of {self.epochs}. Both orders see the same "
                "number of images."
            )
        for name in ("probe_epochs", "upstream_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"TransferSettings.{name} must be at least 1. Received: {getattr(self, name)}."
                )
        # These two know the other ranges.
        self.training(seed=0)
        self.data("mnist_sample", seed=0)
        DataConfig(max_train=self.upstream_max_train)

    def training(self, *, seed: int, epochs: int = 0, compressing: bool = False) -> TrainingConfig:
        """How a model is trained.

        Args:
          seed: of the order.
          epochs: 0 for those of a transfer.
          compressing: at the lower rate of a stage.
        """
        rate = self.learning_rate * (StageTrainingConfig.FACTOR if compressing else 1.0)
        return TrainingConfig(
            epochs=epochs or self.epochs, batch_size=self.batch_size, learning_rate=rate, seed=seed
        )

    def data(self, name: str, *, seed: int) -> DataConfig:
        """The target's data set, with the training images of a seed."""
        return DataConfig(
            name=name,
            max_train=self.max_train,
            validation_fraction=self.validation_fraction,
            seed=seed,
        )

    def upstream_data(self, name: str) -> DataConfig:
        """The data set that an upstream compression is trained on: the same for every seed."""
        return DataConfig(
            name=name,
            max_train=self.upstream_max_train,
            validation_fraction=self.validation_fraction,
        )


@dataclass(frozen=True)
class Pair:
    """A backbone and the task that it is brought to.

    Attributes:
      backbone: with pretrained weights.
      target: a data set.
      upstream: the data set that an upstream compression is trained on; "" for none.

    Raises:
      ValueError: random weights, an unknown data set, or a task that the weights are of.
    """

    backbone: BackboneConfig
    target: str
    upstream: str = ""

    def __post_init__(self) -> None:
        weights = self.backbone.resolved_weights
        if weights == NONE:
            raise ValueError(
                f"A transfer needs pretrained weights. Received: {self.backbone.name} with none. "
                "Take a backbone that has some, such as resnet8 or MobileNet."
            )
        for name in filter(None, (self.target, self.upstream)):
            data.require_images(DataConfig(name=name), what="The study of transfers")
        if self.target in (weights, self.upstream):
            raise ValueError(
                f"{self.backbone.name} was trained on {self.target} already: no transfer. "
                "Take another target, or write BACKBONE@DATASET for the pairs that are wanted."
            )

    @property
    def label(self) -> str:
        """The backbone's name, width and image size, and its weights where not the usual."""
        backbone, family = self.backbone, backbones.load_family(self.backbone.name)
        width = "" if backbone.width == 1 else f" {backbone.width:g}"
        size = backbone.image_size or family.default_image_shape(backbone.name)[0]
        usual = family.weights(backbone.name)[0]
        weights = backbone.resolved_weights
        told = "" if weights == usual else f", {weights}"
        return f"{backbone.name}{width}, {size} px{told}"


@dataclass(frozen=True)
class TransferConfig:
    """Which trials there are. All but `settings` may grow from session to session.

    Attributes:
      pairs: of backbone and target.
      compressions: recipes of `TECHNIQUES`.
      seeds: of the transfer, each once.
      parts: of `PARTS`.
      regimes: of `REGIMES`, for parts b and c.
      frozen: fractions for part d.
      frozen_compressions: what part d is asked of: `NONE` and any of `compressions`.
      settings: what all trials have in common.

    Raises:
      ValueError: nothing to do, something twice, an unknown name, or a recipe that has no place
        before a transfer.
    """

    pairs: tuple[Pair, ...]
    compressions: tuple[str, ...] = ("prune(0.8)", "cluster(16)", "prune_channels(0.5)")
    seeds: tuple[int, ...] = (0, 1, 2)
    parts: tuple[str, ...] = PARTS
    regimes: tuple[str, ...] = REGIMES
    frozen: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    frozen_compressions: tuple[str, ...] = (NONE, "prune(0.8)")
    settings: TransferSettings = field(default_factory=TransferSettings)

    def __post_init__(self) -> None:
        for name in ("compressions", "frozen_compressions"):
            texts = tuple(_checked(text, self.settings) for text in getattr(self, name))
            object.__setattr__(self, name, texts)
        for part in self.parts:
            require(part, PARTS, what="part")
        for regime in self.regimes:
            require(regime, REGIMES, what="regime")
        for name in ("pairs", "seeds", "parts", "compressions", "regimes", "frozen"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(
                    f"TransferConfig.{name} takes one or more, each once. Received: {list(values)}."
                )
        names = [f"{pair.label}, on {pair.target}" for pair in self.pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"TransferConfig.pairs name a backbone and target twice: {'; '.join(twice)}. Give "
                "each pair once."
            )
        if min(self.seeds) < 0:
            raise ValueError(f"Seeds are 0 or more. Received: {list(self.seeds)}.")
        if NONE in self.compressions:
            raise ValueError(
                "TransferConfig.compressions are held against none, which is always there. "
                "Leave it out."
            )
        others = [x for x in self.frozen_compressions if x not in (NONE, *self.compressions)]
        if others and "d" in self.parts:
            raise ValueError(
                "TransferConfig.frozen_compressions are none or among the compressions "
                f"({', '.join(self.compressions)}). Received: {', '.join(others)}."
            )
        for value in self.frozen:
            if not (math.isfinite(value) and 0 <= value <= 1):
                raise ValueError(
                    f"TransferConfig.frozen are fractions in [0, 1]. Received: {value}. "
                    "For 50% pass 0.5."
                )


def _checked(text: str, settings: TransferSettings) -> str:
    """A recipe in its usual spelling."""
    if text == NONE:
        return text
    parsed = recipe.parse(text)
    plan = compose.plan(parsed)
    stages = plan.stages
    others = [s.technique for s in stages if s.technique not in TECHNIQUES]
    if others or plan.formats or not stages:
        named = ", ".join([*others, *plan.formats]) or "nothing"
        raise ValueError(
            f"The compression {text!r} has no place before a transfer: {named}. Take "
            f"{', '.join(TECHNIQUES)}, or several of them joined by +."
        )
    if not all(map(compose.is_prepared, stages)):
        raise ValueError(
            f"The compression {text!r} needs what only a run finds out first. Leave out allocation "
            "and max_drop."
        )
    if own := {name for stage in stages for name in stage.training}:
        raise ValueError(
            f"The compression {text!r} says how it is trained. Leave out {', '.join(sorted(own))}: "
            "all trials of a study are trained alike."
        )
    if settings.compression_epochs % len(stages):
        raise ValueError(
            f"The compression {text!r} shares {settings.compression_epochs} epochs among "
            f"{len(stages)} stages. Take compression_epochs that are a multiple."
        )
    return str(parsed)


def file_name(trial: Trial) -> str:
    """A trial in letters of a file name."""
    frozen, seed = f"frozen-{trial.frozen:g}", f"seed-{trial.seed}"
    parts = [trial.backbone, trial.target, trial.compression, trial.order, frozen, trial.upstream]
    text = "_".join([part for part in parts if part] + [seed])
    return shortened(re.sub("-+_", "_", re.sub(r"[^\w.+]+", "-", text)))


def stages_of(compression: str) -> tuple[PlannedStage, ...]:
    """The stages of a recipe, which leave the head as it is; none for `NONE`.

    A head is of the task: what is compressed before the transfer has none yet. After it, it stays
    whole too, so that both orders treat the same layers.
    """
    found = []
    for stage in compose.plan(recipe.parse(compression)).stages:
        skip = kernels.SEPARATOR.join(filter(None, (stage.config.skip, backbones.HEAD)))
        config = dataclasses.replace(stage.config, skip=skip)
        found.append(dataclasses.replace(stage, config=config))
    return tuple(found)


def trials(config: TransferConfig) -> tuple[Trial, ...]:
    """All trials, each once, seed after seed: what is done of a study can be read at any time.

    All seeds of parts a, b and c come before those of part d, which is the longest.
    """
    found = [
        trial
        for part in (_of_orders_and_regimes, _of_frozen)
        for seed in config.seeds
        for pair in config.pairs
        for trial in part(config, pair, seed)
    ]
    return tuple(dict.fromkeys(found))


def _of_orders_and_regimes(config: TransferConfig, pair: Pair, seed: int) -> Iterator[Trial]:
    by_regime = {"b", "c"} & {*config.parts}
    fractions = {_FROZEN_OF[regime] for regime in config.regimes if by_regime}
    if "a" in config.parts:
        fractions.add(0.0)
    for frozen in sorted(fractions, reverse=True):
        yield _trial(pair, seed, frozen=frozen)
        for compression in config.compressions:
            yield _trial(pair, seed, compression, UPSTREAM, frozen=frozen)
    if "a" in config.parts:
        for compression in config.compressions:
            yield _trial(pair, seed, compression, DOWNSTREAM)


def _of_frozen(config: TransferConfig, pair: Pair, seed: int) -> Iterator[Trial]:
    if "d" in config.parts:
        for compression in config.frozen_compressions:
            order = NONE if compression == NONE else UPSTREAM
            for frozen in config.frozen:
                yield _trial(pair, seed, compression, order, frozen=frozen)


def _trial(
    pair: Pair, seed: int, compression: str = NONE, order: str = NONE, *, frozen: float = 0.0
) -> Trial:
    upstream = pair.upstream if order == UPSTREAM else ""
    return Trial(pair.label, pair.target, seed, compression, order, frozen, upstream)


def pairs(
    backbone_texts: Sequence[str],
    targets: Sequence[str],
    *,
    upstream: Sequence[str] = (),
    image_size: int = 0,
) -> tuple[Pair, ...]:
    """Pairs from texts such as `"MobileNet:0.25:64"` or, for one target, `"resnet8@mnist"`.

    Args:
      backbone_texts: NAME, NAME:WIDTH or NAME:WIDTH:SIZE; with @DATASET for that target alone.
      targets: data sets of the backbones that name none.
      upstream: NAME=DATASET for what a backbone's upstream compression is trained on.
      image_size: of backbones that name no size; 0 for each one's default.

    Raises:
      ValueError: a text that is no such thing, or a backbone or data set that there is not.
    """
    chosen = dict(_upstream(text) for text in upstream)
    found = []
    for text in backbone_texts:
        named, _, target = text.partition("@")
        backbone = backbones.from_text(named, image_size=image_size)
        for one in (target,) if target else targets:
            found.append(Pair(backbone, one, chosen.get(backbone.name, "")))
    unused = sorted(set(chosen) - {pair.backbone.name for pair in found})
    if unused:
        raise ValueError(
            f"--upstream names a backbone that is none of the study's: {', '.join(unused)}."
        )
    return tuple(found)


def _upstream(text: str) -> tuple[str, str]:
    name, equals, dataset = text.partition("=")
    if not (name and equals and dataset):
        raise ValueError(
            f"--upstream takes BACKBONE=DATASET, such as resnet8=cifar10. Received: {text!r}."
        )
    return name, dataset
