"""The two LeNets that papers on compressing MNIST report.

`lenet5` is Caffe's: 431,080 parameters on 28x28x1 with a 10-class head, the size that Deep
Compression and its successors count from. `lenet_300_100` has two Dense layers and 266,610
parameters. Knows the architectures only; there are no published weights.

Reference: BVLC/caffe, examples/mnist/lenet_train_test.prototxt; LeCun et al. 1998, "Gradient-based
learning applied to document recognition"; Han et al. 2015, "Learning both weights and connections
for efficient neural networks", table 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfcompress._keras import keras
from tfcompress.backbones import _weights
from tfcompress.preprocessing import Preprocessing

if TYPE_CHECKING:
    from tf_keras import KerasTensor, Model

    from tfcompress.backbones import BackboneConfig


def names() -> tuple[str, ...]:
    """`("lenet5", "lenet_300_100")`."""
    return ("lenet5", "lenet_300_100")


def default_image_shape(name: str) -> tuple[int, int, int]:
    """MNIST's own size."""
    return 28, 28, 1


def minimum_image_size(name: str) -> int:
    """16 pixels for LeNet-5, whose unpadded convolutions and poolings then leave one; else any."""
    return 16 if name == "lenet5" else 1


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
    """Builds the network up to its 500 (LeNet-5) or 100 features.

    Args:
      config: `resolved_weights` is `"none"` or a path.
      image_shape: (height, width, 1 or 3).

    Raises:
      WeightsError: a given file does not fit.
    """
    inputs = keras.Input(image_shape, name="image")
    outputs = {"lenet5": _lenet5, "lenet_300_100": _lenet_300_100}[config.name](inputs)
    model = keras.Model(inputs, outputs, name=config.name)
    if config.resolved_weights != "none":
        _weights.load_into(model, config.resolved_weights)
    return model


def _lenet5(inputs: KerasTensor) -> KerasTensor:
    outputs = keras.layers.Conv2D(20, 5, name="conv1")(inputs)
    outputs = keras.layers.MaxPooling2D(2, name="pool1")(outputs)
    outputs = keras.layers.Conv2D(50, 5, name="conv2")(outputs)
    outputs = keras.layers.MaxPooling2D(2, name="pool2")(outputs)
    outputs = keras.layers.Flatten(name="flatten")(outputs)
    return keras.layers.Dense(500, activation="relu", name="dense1")(outputs)


def _lenet_300_100(inputs: KerasTensor) -> KerasTensor:
    outputs = keras.layers.Flatten(name="flatten")(inputs)
    outputs = keras.layers.Dense(300, activation="relu", name="dense1")(outputs)
    return keras.layers.Dense(100, activation="relu", name="dense2")(outputs)
