"""LeNet-300-100: two Dense layers, the smallest network that papers on pruning report.

266,610 parameters on 28x28x1 with a 10-class head. Knows the architecture only; there are no
published weights.

Reference: LeCun et al. 1998, "Gradient-based learning applied to document recognition", and Han et
al. 2015, "Learning both weights and connections for efficient neural networks", table 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfcompress._keras import keras
from tfcompress.backbones import _weights
from tfcompress.preprocessing import Preprocessing

if TYPE_CHECKING:
    from tf_keras import Model

    from tfcompress.backbones import BackboneConfig


def names() -> tuple[str, ...]:
    """`("lenet_300_100",)`."""
    return ("lenet_300_100",)


def default_image_shape(name: str) -> tuple[int, int, int]:
    """MNIST's own size."""
    return 28, 28, 1


def minimum_image_size(name: str) -> int:
    """Any size: there is no convolution."""
    return 1


def channels(name: str) -> tuple[int, ...]:
    """Grey, or RGB where the images are."""
    return (1, 3)


def weights(name: str) -> tuple[str, ...]:
    """Random ones."""
    return ("none",)


def widths(name: str, weights: str) -> tuple[float, ...]:
    """The published width only."""
    return (1.0,)


def origin(name: str, weights: str) -> str:
    """There are none to have."""
    return "no published weights"


def preprocessing(name: str, image_shape: tuple[int, int, int]) -> Preprocessing:
    """Pixels to [0, 1), Caffe's scale of 1/256, as for LeNet-5."""
    return Preprocessing(image_shape=image_shape, scale=(1 / 256,))


def build_features(config: BackboneConfig, image_shape: tuple[int, int, int]) -> Model:
    """Builds the network up to its 100 features.

    Args:
      config: `resolved_weights` is `"none"` or a path.
      image_shape: (height, width, 1 or 3).

    Raises:
      WeightsError: a given file does not fit.
    """
    inputs = keras.Input(image_shape, name="image")
    outputs = keras.layers.Flatten(name="flatten")(inputs)
    outputs = keras.layers.Dense(300, activation="relu", name="dense1")(outputs)
    outputs = keras.layers.Dense(100, activation="relu", name="dense2")(outputs)
    model = keras.Model(inputs, outputs, name="lenet_300_100")
    if config.resolved_weights != "none":
        _weights.load_into(model, config.resolved_weights)
    return model
