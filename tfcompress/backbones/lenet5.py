"""LeNet-5 as Caffe defines it, the network that papers on compressing MNIST report.

431,080 parameters on 28x28x1 with a 10-class head: the size that Deep Compression and its
successors count from. Knows the architecture only; there are no published weights.

Reference: BVLC/caffe, examples/mnist/lenet_train_test.prototxt.
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
    """`("lenet5",)`."""
    return ("lenet5",)


def default_image_shape(name: str) -> tuple[int, int, int]:
    """MNIST's own size."""
    return 28, 28, 1


def minimum_image_size(name: str) -> int:
    """16 pixels: the two unpadded convolutions and poolings leave one."""
    return 16


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
    """Pixels to [0, 1), Caffe's scale of 1/256."""
    return Preprocessing(image_shape=image_shape, scale=(1 / 256,))


def build_features(config: BackboneConfig, image_shape: tuple[int, int, int]) -> Model:
    """Builds the network up to its 500 features.

    Args:
      config: `resolved_weights` is `"none"` or a path.
      image_shape: (height, width, 1 or 3).

    Raises:
      WeightsError: a given file does not fit.
    """
    inputs = keras.Input(image_shape, name="image")
    outputs = keras.layers.Conv2D(20, 5, name="conv1")(inputs)
    outputs = keras.layers.MaxPooling2D(2, name="pool1")(outputs)
    outputs = keras.layers.Conv2D(50, 5, name="conv2")(outputs)
    outputs = keras.layers.MaxPooling2D(2, name="pool2")(outputs)
    outputs = keras.layers.Flatten(name="flatten")(outputs)
    outputs = keras.layers.Dense(500, activation="relu", name="dense1")(outputs)
    model = keras.Model(inputs, outputs, name="lenet5")
    if config.resolved_weights != "none":
        _weights.load_into(model, config.resolved_weights)
    return model
