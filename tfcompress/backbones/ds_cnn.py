"""A small network of depthwise-separable convolutions, to be the student of a larger one.

`ds_cnn` has a 3x3 convolution of stride 2, three depthwise-separable blocks, the second of stride
2, and the mean over what is left: 5,002 trained parameters at width 1 on 28x28x1 with a 10-class
head. Every layer has the same number of channels, so that an int8 file of it repeats itself and a
minimal one is small. Knows the architecture only; there are no published weights.

Reference: Zhang et al. 2017, "Hello Edge: keyword spotting on microcontrollers" (DS-CNN, on audio);
Howard et al. 2017, "MobileNets".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfcompress._keras import keras
from tfcompress.backbones import _weights
from tfcompress.preprocessing import Preprocessing

if TYPE_CHECKING:
    from tf_keras import KerasTensor, Model

    from tfcompress.backbones import BackboneConfig

_CHANNELS = 32
# Integer kernels take four channels at a time.
_STEP = 4
_BLOCK_STRIDES = (1, 2, 1)


def names() -> tuple[str, ...]:
    """`("ds_cnn",)`."""
    return ("ds_cnn",)


def default_image_shape(name: str) -> tuple[int, int, int]:
    """MNIST's own size."""
    return 28, 28, 1


def minimum_image_size(name: str) -> int:
    """Any: padding keeps a pixel."""
    return 1


def channels(name: str) -> tuple[int, ...]:
    """Grey, or RGB where the images are."""
    return (1, 3)


def weights(name: str) -> tuple[str, ...]:
    """Random ones."""
    return ("none",)


def widths(name: str, weights: str) -> tuple[float, ...]:
    """Any: the channels are the multiple of 4 that is nearest to 32 times the width."""
    return ()


def origin(name: str, weights: str) -> str:
    """There are none to have."""
    return "no published weights"


def preprocessing(name: str, image_shape: tuple[int, int, int]) -> Preprocessing:
    """Pixels to [0, 1), as `lenet5`, whose student it can be."""
    return Preprocessing(image_shape=image_shape, scale=(1 / 256,))


def build_features(config: BackboneConfig, image_shape: tuple[int, int, int]) -> Model:
    """Builds the network up to the mean of its channels.

    Args:
      config: `resolved_weights` is `"none"` or a path; `width` sets the channels.
      image_shape: (height, width, 1 or 3).

    Raises:
      WeightsError: a given file does not fit.
    """
    filters = max(round(_CHANNELS * config.width / _STEP), 1) * _STEP
    layers = keras.layers
    inputs = keras.Input(image_shape, name="image")
    stem = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False, name="conv")
    outputs = _batch_norm_relu(stem(inputs), "conv")
    for number, stride in enumerate(_BLOCK_STRIDES, start=1):
        spatial = layers.DepthwiseConv2D(
            3, strides=stride, padding="same", use_bias=False, name=f"block{number}_depthwise"
        )
        outputs = _batch_norm_relu(spatial(outputs), f"block{number}_depthwise")
        mixing = layers.Conv2D(filters, 1, use_bias=False, name=f"block{number}_pointwise")
        outputs = _batch_norm_relu(mixing(outputs), f"block{number}_pointwise")
    outputs = layers.GlobalAveragePooling2D(name="pool")(outputs)
    model = keras.Model(inputs, outputs, name=config.name)
    if config.resolved_weights != "none":
        _weights.load_into(model, config.resolved_weights)
    return model


def _batch_norm_relu(inputs: KerasTensor, name: str) -> KerasTensor:
    outputs = keras.layers.BatchNormalization(name=f"{name}_bn")(inputs)
    return keras.layers.ReLU(name=f"{name}_relu")(outputs)
