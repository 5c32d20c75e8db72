"""Pretrained feature networks, and the classifiers built on them.

Knows the families in this folder (one file each, found by the registry), how a head is attached,
how a classifier is split and which of its layers a transfer mode trains. Does not know data sets,
training or techniques.

A family is a module that holds what `Family` lists; a new one is a new file.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from tfcompress import durable, registry
from tfcompress._keras import keras
from tfcompress.backbones._weights import WeightsError as WeightsError
from tfcompress.preprocessing import Preprocessing

if TYPE_CHECKING:
    from tf_keras import Model
    from tf_keras.layers import Layer

HEAD = "logits"
HEAD_DROPOUT = "logits_dropout"
TRANSFER_MODES = ("linear_probe", "fine_tune", "full")
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
    known = {known.lower(): known for known in names()}
    near = difflib.get_close_matches(name.lower().replace("_", ""), known, n=1)
    hint = f" Did you mean {known[near[0]]}?" if near else ""
    raise registry.UnknownNameError(
        f"Unknown backbone: {name!r}.{hint} Known: {', '.join(known.values())}."
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
    """Builds a backbone with a new head: one flat functional model.

    Sets the global random seeds of Python, numpy and TensorFlow, which Keras' initializers draw
    from.

    Args:
      config: the backbone, its weights, input size and dropout.
      classes: how many classes the head tells apart, at least 2.
      image_shape: (height, width, channels) of the raw images or of the model's input.
      seed: of the random weights; the same seed gives the same model.

    Returns:
      A model from float32 [batch, height, width, channels], as `preprocessing(config, image_shape)`
      makes it, to float32 logits [batch, classes]; its last layer is a Dense called `"logits"`.

    Raises:
      ValueError: fewer than two classes, or weights that do not fit the network (what did not is
        listed).
    """
    if classes < 2:
        raise ValueError(f"A classifier needs at least 2 classes. Received: {classes}.")
    keras.utils.set_random_seed(seed)
    shape = model_image_shape(config, image_shape)
    features = load_family(config.name).build_features(config, shape)
    outputs = features.output
    if config.dropout > 0:
        outputs = keras.layers.Dropout(config.dropout, name=HEAD_DROPOUT)(outputs)
    outputs = keras.layers.Dense(classes, name=HEAD, dtype="float32")(outputs)
    model = keras.Model(features.input, outputs, name=config.name)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = config.batch_norm_momentum
    return model


def split_head(model: Model) -> tuple[Model, Model]:
    """Splits a classifier in two models that share its layers: features, and head.

    Encode a data set once with the first, train the second on the codes, and the classifier is
    trained.

    Args:
      model: a classifier of `build_classifier`.

    Returns:
      The features model (images to float32 [batch, features]) and the head model (features to
      logits).

    Raises:
      ValueError: the model does not end in a Dense layer called `"logits"`.
    """
    head = model.layers[-1]
    if head.name != HEAD or not isinstance(head, keras.layers.Dense):
        raise ValueError(
            f"split_head takes a classifier whose last layer is a Dense called {HEAD!r}, as "
            f"build_classifier makes it. Received: {type(head).__name__} called {head.name!r}."
        )
    layers = [head]
    if model.layers[-2].name == HEAD_DROPOUT:
        layers.insert(0, model.layers[-2])
    features = keras.Model(model.input, layers[0].input, name=f"{model.name}_features")
    inputs = keras.Input(features.output_shape[1:], name="features")
    outputs = inputs
    for layer in layers:
        outputs = layer(outputs)
    return features, keras.Model(inputs, outputs, name=f"{model.name}_head")


def set_transfer_mode(model: Model, mode: str, *, last_layers: int = 0) -> None:
    """Freezes and unfreezes a classifier's layers. Compile the model after it, not before.

    A frozen BatchNormalization also keeps its moving statistics and runs as in inference (Keras
    does so).

    Args:
      model: a classifier; its head is the layer called `"logits"`, else the last layer with
        weights.
      mode: `"linear_probe"` trains the head alone, `"fine_tune"` the head and the last layers
        before it, `"full"` everything.
      last_layers: for `"fine_tune"`, how many layers before the head are trained, counted over the
        layers that have weights; at least 1.

    Raises:
      UnknownNameError: no such mode.
      ValueError: `last_layers` is out of range or given to another mode, or the model has no layer
        to train.
    """
    registry.require(mode, TRANSFER_MODES, what="transfer mode")
    weighted = [layer for layer in model.layers if layer.weights]
    if not weighted:
        raise ValueError(
            f"The model {model.name!r} has no trainable layer: none of its {len(model.layers)} "
            "layers has weights. Pass a model that ends in a Dense or convolution layer."
        )
    head = _head(weighted)
    before = [layer for layer in weighted if layer is not head]
    _check_last_layers(mode, last_layers, len(before))
    trained = {"linear_probe": [], "fine_tune": before[len(before) - last_layers :], "full": before}
    model.trainable = True
    for layer in before:
        layer.trainable = any(layer is other for other in trained[mode])
    require_trainable(model)


def require_trainable(model: Model) -> None:
    """Raises ValueError when no layer of the model would be trained by `fit`."""
    if not model.trainable_weights:
        raise ValueError(
            f"The model {model.name!r} has no trainable layer: all {len(model.layers)} of its "
            "layers are frozen or have no weights. Set layer.trainable = True on those to be "
            f"trained, or choose a transfer mode: {', '.join(TRANSFER_MODES)}."
        )


def _check_last_layers(mode: str, last_layers: int, available: int) -> None:
    if mode != "fine_tune":
        if last_layers != 0:
            raise ValueError(
                "last_layers belongs to the transfer mode fine_tune. "
                f"Received: {last_layers} with {mode}."
            )
    elif not 1 <= last_layers <= available:
        raise ValueError(
            f"last_layers must be in [1, {available}] for fine_tune: this backbone has {available} "
            f"layers with weights. Received: {last_layers}. To train all of them choose full."
        )


def _head(weighted: list[Layer]) -> Layer:
    return next((layer for layer in weighted if layer.name == HEAD), weighted[-1])
