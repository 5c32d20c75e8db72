"""ResNet-8, MLPerf Tiny's image classification network: 78,666 parameters with a 10-class head.

Knows the architecture and the weights that the package ships, trained by this project on CIFAR-10.
Does not know how they were trained.

Reference: mlcommons/tiny, benchmark/training/image_classification/keras_model.py
  (`resnet_v1_eembc`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tfcompress import packaged_files
from tfcompress._keras import keras
from tfcompress.backbones import _weights
from tfcompress.preprocessing import Preprocessing

if TYPE_CHECKING:
    from tf_keras import KerasTensor, Model

    from tfcompress.backbones import BackboneConfig

SHIPPED = Path(__file__).parent / "weights" / "resnet8_cifar10.npz"
SHIPPED_SHA256 = "d9a48c085930dfc1b22bf4d3651c6631eded8e20762d1ffdecf89daa3d9ffbec"
"""Of the shipped file; `python -m tfcompress.backbones.resnet8 MODEL.keras` writes a new one."""

_STACKS = (16, 32, 64)
_L2 = 1e-4


def names() -> tuple[str, ...]:
    """`("resnet8",)`."""
    return ("resnet8",)


def default_image_shape(name: str) -> tuple[int, int, int]:
    """CIFAR-10's own size."""
    return 32, 32, 3


def minimum_image_size(name: str) -> int:
    """8 pixels: two stacks halve the image, which leaves 2x2."""
    return 8


def channels(name: str) -> tuple[int, ...]:
    """RGB; grey images are repeated."""
    return (3,)


def weights(name: str) -> tuple[str, ...]:
    """The shipped ones, or random ones."""
    return ("cifar10", "none")


def widths(name: str, weights: str) -> tuple[float, ...]:
    """The published width only."""
    return (1.0,)


def origin(name: str, weights: str) -> str:
    """The package itself."""
    return f"shipped with tfcompress, SHA-256 {SHIPPED_SHA256}"


def preprocessing(name: str, image_shape: tuple[int, int, int]) -> Preprocessing:
    """Pixels to [-1, 1]."""
    return Preprocessing(image_shape=image_shape, scale=(1 / 127.5,), offset=(-1.0,))


def build_features(config: BackboneConfig, image_shape: tuple[int, int, int]) -> Model:
    """Builds the network up to the pooled 64 features.

    Args:
      config: `resolved_weights` is `"cifar10"`, `"none"` or a path.
      image_shape: (height, width, 3).

    Raises:
      WeightsError: the shipped file is absent or changed, or a given file does not fit.
    """
    inputs = keras.Input(image_shape, name="image")
    outputs = _batch_norm_relu(_convolution(inputs, 16, 3, 1, "conv1"), "conv1")
    for index, width in enumerate(_STACKS, start=1):
        outputs = _stack(outputs, width, stride=1 if index == 1 else 2, name=f"stack{index}")
    outputs = keras.layers.GlobalAveragePooling2D(name="pool")(outputs)
    model = keras.Model(inputs, outputs, name="resnet8")
    if config.resolved_weights == "cifar10":
        packaged_files.require_sha256(SHIPPED, SHIPPED_SHA256, what="the shipped ResNet-8 weights")
        _weights.load_into(model, SHIPPED)
    elif config.resolved_weights != "none":
        _weights.load_into(model, config.resolved_weights)
    return model


def _stack(inputs: KerasTensor, width: int, *, stride: int, name: str) -> KerasTensor:
    outputs = _batch_norm_relu(
        _convolution(inputs, width, 3, stride, f"{name}_conv1"), f"{name}_conv1"
    )
    outputs = _convolution(outputs, width, 3, 1, f"{name}_conv2")
    outputs = keras.layers.BatchNormalization(name=f"{name}_conv2_bn")(outputs)
    shortcut = inputs
    if stride != 1:
        shortcut = _convolution(inputs, width, 1, stride, f"{name}_shortcut")
    outputs = keras.layers.Add(name=f"{name}_add")([shortcut, outputs])
    return keras.layers.ReLU(name=f"{name}_relu")(outputs)


def _convolution(
    inputs: KerasTensor, width: int, kernel: int, stride: int, name: str
) -> KerasTensor:
    return keras.layers.Conv2D(
        width,
        kernel,
        strides=stride,
        padding="same",
        kernel_initializer="he_normal",
        kernel_regularizer=keras.regularizers.L2(_L2),
        name=name,
    )(inputs)


def _batch_norm_relu(inputs: KerasTensor, name: str) -> KerasTensor:
    outputs = keras.layers.BatchNormalization(name=f"{name}_bn")(inputs)
    return keras.layers.ReLU(name=f"{name}_relu")(outputs)


def write_shipped(classifier: Model, path: str | Path = SHIPPED) -> str:
    """Writes the file that the package ships from a trained classifier, without its head.

    Args:
      classifier: a trained `resnet8` classifier of any number of classes.
      path: where to; the package's own place by default.

    Returns:
      The SHA-256 to put in `SHIPPED_SHA256`.

    Raises:
      WeightsError: the classifier lacks a layer of ResNet-8 or one has another shape.
    """
    from tfcompress.backbones import BackboneConfig, split_head

    features, _ = split_head(classifier)
    plain = build_features(BackboneConfig(weights="none"), default_image_shape("resnet8"))
    values = _weights.of_model(features)
    _weights.assign(plain, values, source=f"the classifier {classifier.name!r}")
    return _weights.write(path, values)


if __name__ == "__main__":
    import sys

    print(write_shipped(keras.models.load_model(sys.argv[1], compile=False)))
