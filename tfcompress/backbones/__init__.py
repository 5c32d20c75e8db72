"""Pretrained feature networks, and the classifiers built on them.

Knows the families of networks for images in this folder (one file each, found by the registry), and
that a run may start from a text encoder or a user's own model instead. Does not know data sets,
training or techniques.

A family is a module that holds what `Family` lists; a new one is a new file.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from tfcompress import durable, registry
from tfcompress._keras import keras
from tfcompress.backbones import _own_model, _texts
from tfcompress.backbones._heads import HEAD as HEAD
from tfcompress.backbones._heads import HEAD_DROPOUT as HEAD_DROPOUT
from tfcompress.backbones._heads import TRANSFER_MODES as TRANSFER_MODES
from tfcompress.backbones._heads import require_trainable as require_trainable
from tfcompress.backbones._heads import set_batch_norm_momentum, with_head
from tfcompress.backbones._heads import set_transfer_mode as set_transfer_mode
from tfcompress.backbones._heads import split_head as split_head
from tfcompress.backbones._own_model import ModelConfig as ModelConfig
from tfcompress.backbones._pixels import PIXELS as PIXELS
from tfcompress.backbones._pixels import pixels as pixels
from tfcompress.backbones._texts import TextConfig as TextConfig
from tfcompress.backbones._texts import TextNetwork as TextNetwork
from tfcompress.backbones._texts import is_text_name as is_text_name
from tfcompress.backbones._texts import text_names as text_names
from tfcompress.backbones._weights import WeightsError as WeightsError
from tfcompress.goals import CLASSIFICATION, Classes, Goal
from tfcompress.preprocessing import Preprocessing
from tfcompress.tokenization import Preparation
from tfcompress.tokenizer import TokenIds, Tokenizer

if TYPE_CHECKING:
    from tf_keras import Model

NO_HEAD = (
    "A network by name gets a new head for the task, whatever its weights, so that it has to be "
    "trained: use --transfer=full, fine_tune or linear_probe. To compress a trained classifier as "
    "it is, pass its file: --model=PATH --transfer=none."
)
WEIGHT_FILES = (".h5", ".keras", ".npz")


class Family(Protocol):
    """What a module of this folder holds.

    The contract, checked over every name by `tests/backbones/test_backbone_contract.py`:
    `build_features` returns a flat functional model (no model inside a model, one input, one output
    [batch, features], float32) that takes what `preprocessing` produces, and loads `config.weights`
    or raises.
    """

    def names(self) -> tuple[str, ...]:
        """The backbones of this family, known without importing TensorFlow."""

    def default_image_shape(self, name: str) -> tuple[int, int, int]:
        """(height, width, channels) taken when the config asks for no size."""

    def minimum_image_size(self, name: str) -> int:
        """The least height and width in pixels."""

    def channels(self, name: str) -> tuple[int, ...]:
        """The channel counts that the network can be built for; the first is the usual one."""

    def weights(self, name: str) -> tuple[str, ...]:
        """Weights known by name, the default first."""

    def widths(self, name: str, weights: str) -> tuple[float, ...]:
        """The widths that there are with those weights; empty where any above 0 will do."""

    def origin(self, name: str, weights: str) -> str:
        """In words, where weights known by name (other than `"none"`) come from."""

    def preprocessing(self, name: str, image_shape: tuple[int, int, int]) -> Preprocessing:
        """What the network was trained on, for the `image_shape` that the model takes."""

    def build_features(self, config: BackboneConfig, image_shape: tuple[int, int, int]) -> Model:
        """The network without a head; `config.weights` is a name of `weights` or a path."""


@dataclass(frozen=True)
class BackboneConfig:
    """Which feature network, with which weights.

    Attributes:
      name: one of `names()`, such as `"resnet8"` or `"MobileNetV2"`.
      weights: `"default"` (the family's: shipped, ImageNet's, or none), one of the family's names
        (`"imagenet"`, `"cifar10"`, `"none"` for random ones), or the path of a `.h5`, `.keras` or
        `.npz` file.
      image_size: height and width in pixels of the model's input; 0 takes the family's default.
      width: multiplies the channels where the family allows it (MobileNet's alpha), above 0.
      dropout: fraction of features dropped before the head in training, in [0, 1).
      batch_norm_momentum: momentum of every BatchNormalization, in (0, 1). Keras' MobileNetV2 has
        0.999, whose moving statistics lag after a short fine-tune: accurate on train, wrong on
        test.

    Raises:
      ValueError: a value out of its range, an unknown name (the known ones are listed), a size
        below the network's minimum, a weight file that does not exist or is of no known kind.

    Example:
      >>> BackboneConfig(name="lenet5").weights
      'default'
    """

    name: str = "resnet8"
    weights: str = "default"
    image_size: int = 0
    width: float = 1.0
    dropout: float = 0.0
    batch_norm_momentum: float = 0.9

    def __post_init__(self) -> None:
        family = load_family(self.name)
        self._check_weights(family.weights(self.name))
        minimum = family.minimum_image_size(self.name)
        if self.image_size != 0 and self.image_size < minimum:
            raise ValueError(
                f"BackboneConfig.image_size must be at least {minimum} pixels for {self.name}, or "
                f"0 for its default of {family.default_image_shape(self.name)[0]}. "
                f"Received: {self.image_size}."
            )
        if self.width <= 0:
            raise ValueError(f"BackboneConfig.width must be above 0. Received: {self.width}.")
        widths = family.widths(self.name, self.resolved_weights)
        if widths and self.width not in widths:
            raise ValueError(
                f"BackboneConfig.width must be one of {', '.join(map(str, widths))} for "
                f"{self.name} with weights={self.resolved_weights}. Received: {self.width}."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(
                f"BackboneConfig.dropout must be in [0, 1). Received: {self.dropout}. "
                "For 20% dropout pass 0.2."
            )
        if not 0 < self.batch_norm_momentum < 1:
            raise ValueError(
                "BackboneConfig.batch_norm_momentum must be in (0, 1). "
                f"Received: {self.batch_norm_momentum}."
            )

    def _check_weights(self, known: tuple[str, ...]) -> None:
        if self.weights == "default" or self.weights in known:
            return
        path = Path(self.weights).expanduser()
        if path.suffix not in WEIGHT_FILES:
            raise ValueError(
                f"BackboneConfig.weights must be default, {', '.join(known)} for {self.name}, or "
                f"the path of a file that ends in {', '.join(WEIGHT_FILES)}. "
                f"Received: {self.weights!r}."
            )
        if not path.is_file():
            raise ValueError(f"BackboneConfig.weights names no file. Received: {self.weights!r}.")

    @property
    def resolved_weights(self) -> str:
        """`weights`, with `"default"` replaced by what the family takes by default."""
        known = load_family(self.name).weights(self.name)
        return known[0] if self.weights == "default" else self.weights


class Source(Protocol):
    """What a run starts from: a network by name, a text encoder, or a user's model from a file."""

    def preprocessing(self, shape: tuple[int, ...]) -> Preparation:
        """What is done to raw examples of a shape before the model sees them."""

    def build_model(
        self, *, goal: Goal, image_shape: tuple[int, ...], seed: int, keep_head: bool
    ) -> Model:
        """A model as of `build_model`, or with the head that the source came with.

        Args:
          goal: what it is to say of an example.
          image_shape: (height, width, channels) of the raw images, or (length,) of token ids.
          seed: of the random weights.
          keep_head: whether the source's own head stays.

        Raises:
          ValueError: the own head does not fit the goal, or there is none.
        """

    def record(self, *, keep_head: bool) -> dict[str, Any]:
        """What a run's record should say about where the model comes from."""


def opened(
    config: BackboneConfig | ModelConfig | TextConfig, *, task: str = CLASSIFICATION
) -> Source:
    """What a config names, loaded where it is a file.

    Args:
      config: names a network, a text encoder or a file.
      task: of the data that the model is for, a key of `goals.GOALS`.

    Raises:
      ValueError: the file cannot be loaded, or is no model of images for such a task; an encoder's
        tokenizer is not to be had, or not its own.
    """
    if isinstance(config, TextConfig):
        return _texts.opened(config)
    if isinstance(config, ModelConfig):
        return _own_model.opened(config, task=task)
    return _Network(config)


@dataclass(frozen=True)
class _Network:
    """A network by name."""

    config: BackboneConfig

    def preprocessing(self, shape: tuple[int, ...]) -> Preprocessing:
        return preprocessing(self.config, _of_images(shape))

    def build_model(
        self, *, goal: Goal, image_shape: tuple[int, ...], seed: int, keep_head: bool
    ) -> Model:
        if keep_head:
            raise ValueError(f"{self.config.name} has no head of its own. {NO_HEAD}")
        shape = _of_images(image_shape)
        return build_model(self.config, goal=goal, image_shape=shape, seed=seed)

    def record(self, *, keep_head: bool) -> dict[str, Any]:
        return {"weights": weights_origin(self.config)}


def tokenizer_of(source: Source) -> Tokenizer | None:
    """The tokenizer of a source for texts; None of one for images."""
    return source.tokenizer if isinstance(source, TextNetwork) else None


def tokenize_of(source: Source) -> Callable[[Sequence[str]], TokenIds] | None:
    """What brings texts to a source that reads them; None of one for images."""
    return source.tokenize if isinstance(source, TextNetwork) else None


def _of_images(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise ValueError(
            f"A network for images takes (height, width, channels). Received: {shape}."
        )
    return shape[0], shape[1], shape[2]


def from_text(text: str, *, weights: str = "default", image_size: int = 0) -> BackboneConfig:
    """A backbone from a text such as `"MobileNet:0.25:96"`: a name, its width, the size of images.

    Args:
      text: NAME, NAME:WIDTH or NAME:WIDTH:SIZE.
      weights: as of `BackboneConfig`.
      image_size: where the text has none, in pixels; 0 for the family's default.

    Raises:
      ValueError: a text that is no such thing, or a network that there is not.

    Example:
      >>> from_text("MobileNet:0.25:96").width
      0.25
    """
    name, width, size, *rest = [*text.split(":"), "", ""]
    try:
        if any(rest):
            raise ValueError
        scale, pixels = float(width or 1), int(size or image_size)
    except ValueError:
        raise ValueError(
            f"A network is NAME, NAME:WIDTH or NAME:WIDTH:SIZE. Received: {text!r}."
        ) from None
    return BackboneConfig(name=name, weights=weights, width=scale, image_size=pixels)


def names() -> tuple[str, ...]:
    """Every known backbone, family by family. No TensorFlow is imported."""
    modules = (_module(family) for family in registry.names("backbones"))
    return tuple(name for module in modules for name in module.names())


def load_family(name: str) -> Family:
    """The family that a backbone belongs to.

    Raises:
      UnknownNameError: no family has the name; the known ones and the nearest are listed.
    """
    for family in registry.names("backbones"):
        if name in _module(family).names():
            return _module(family)
    known = {known.lower(): known for known in (*names(), *text_names())}
    near = difflib.get_close_matches(name.lower().replace("_", ""), known, n=1)
    hint = f" Did you mean {known[near[0]]}?" if near else ""
    raise registry.UnknownNameError(
        f"Unknown backbone: {name!r}.{hint} Known: {', '.join(names())}. "
        f"For texts: {', '.join(text_names())}."
    )


def _module(family: str) -> Family:
    return cast(Family, registry.load("backbones", family))


def weights_origin(config: BackboneConfig) -> str:
    """In words, where the weights come from: what a run's record should say.

    Raises:
      WeightsError: a package that holds them cannot be had.
    """
    if config.resolved_weights == "none":
        return "random"
    family = load_family(config.name)
    if config.resolved_weights in family.weights(config.name):
        return family.origin(config.name, config.resolved_weights)
    path = Path(config.resolved_weights).expanduser()
    return f"file {path}, SHA-256 {durable.sha256_of_file(path)}"


def with_new_head(model: Model, *, goal: Goal, seed: int) -> Model:
    """A model's backbone under a new head, for another task.

    Args:
      model: one of `build_classifier` or `build_model`, also one that was compressed since. The new
        one shares its layers but for the head.
      goal: what the new one is to say of an image.
      seed: of the head's random weights.

    Raises:
      ValueError: fewer than two classes, or the model does not end in a head.
    """
    features, _ = split_head(model)
    keras.utils.set_random_seed(seed)
    return with_head(features.input, features.output, goal=goal, dropout=0.0, name=model.name)


def model_image_shape(
    config: BackboneConfig, image_shape: tuple[int, int, int]
) -> tuple[int, int, int]:
    """The shape that the model takes for images of `image_shape`.

    Size comes from the config or the family. Channels follow the images where the family can be
    built for them, and are otherwise the family's (`Preprocessing` repeats grey or takes the luma).

    Args:
      config: the backbone.
      image_shape: (height, width, channels) of the raw images, or of the model's input.

    Raises:
      ValueError: `image_shape` is not (height, width, 1 or 3).
    """
    if len(image_shape) != 3 or image_shape[2] not in (1, 3):
        raise ValueError(
            "image_shape must be (height, width, channels) with 1 or 3 channels. "
            f"Received: {tuple(image_shape)}."
        )
    family = load_family(config.name)
    height, width, channels = family.default_image_shape(config.name)
    if config.image_size:
        height = width = config.image_size
    if image_shape[2] in family.channels(config.name):
        channels = image_shape[2]
    return height, width, channels


def preprocessing(config: BackboneConfig, image_shape: tuple[int, int, int]) -> Preprocessing:
    """What is done to raw images of `image_shape` before the backbone sees them.

    Args:
      config: the backbone.
      image_shape: (height, width, channels) of the raw images.
    """
    shape = model_image_shape(config, image_shape)
    return load_family(config.name).preprocessing(config.name, shape)


def build_classifier(
    config: BackboneConfig, *, classes: int, image_shape: tuple[int, int, int], seed: int = 0
) -> Model:
    """Builds a backbone with a new head for classes: see `build_model`.

    Args:
      config: the backbone, its weights, input size and dropout.
      classes: how many classes the head tells apart, at least 2.
      image_shape: (height, width, channels) of the raw images or of the model's input.
      seed: of the random weights; the same seed gives the same model.

    Raises:
      ValueError: fewer than two classes, or weights that do not fit the network.
    """
    goal = Classes.numbered(classes)
    return build_model(config, goal=goal, image_shape=image_shape, seed=seed)


def build_model(
    config: BackboneConfig, *, goal: Goal, image_shape: tuple[int, int, int], seed: int = 0
) -> Model:
    """Builds a backbone with a new head: one flat functional model.

    Sets the global random seeds of Python, numpy and TensorFlow, which Keras' initializers draw
    from.

    Args:
      config: the backbone, its weights, input size and dropout.
      goal: what the model is to say of an image.
      image_shape: (height, width, channels) of the raw images or of the model's input.
      seed: of the random weights; the same seed gives the same model.

    Returns:
      A model from float32 [batch, height, width, channels], as `preprocessing(config, image_shape)`
      makes it, to float32 logits [batch, classes] of a Dense layer called `"logits"`, or to float32
      values [batch, targets] in their units.

    Raises:
      ValueError: fewer than two classes, or weights that do not fit the network (what did not is
        listed).
    """
    keras.utils.set_random_seed(seed)
    shape = model_image_shape(config, image_shape)
    features = load_family(config.name).build_features(config, shape)
    model = with_head(
        features.input,
        features.output,
        goal=goal,
        dropout=config.dropout,
        name=config.name,
    )
    set_batch_norm_momentum(model, config.batch_norm_momentum)
    return model
