"""A residual network of depthwise-separable convolutions for small images, to be a student.

`ds_resnet` has a 3x3 convolution and nine depthwise-separable blocks of 32, 64 and 128 channels (2,
3 and 4 of them; the second and third kind begin with stride 2), each around a shortcut where it
keeps the shape: 80,778 trained parameters at width 1 with a 10-class head, about 97,100 bytes as a
minimal int8 file without the scales of biases. Knows the architecture only; there are no published
weights.

Reference: Howard et al. 2017, "MobileNets" (the blocks); He et al. 2016, "Deep residual learning
for image recognition" (the shortcuts, three stacks for 32x32 images).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfcompress._keras import keras
from tfcompress.backbones import _weights
from tfcompress.preprocessing import Preprocessing

if TYPE_CHECKING:
    from tf_keras import KerasTensor, Model

    from tfcompress.backbones import BackboneConfig

_STACKS = ((32, 2), (64, 3), (128, 4))
"""Channels and blocks of each stack."""
# Integer kernels take four channels at a time.
_STEP = 4


def names() -> tuple[str, ...]:
    """`("ds_resnet",)`."""
    return ("ds_resnet",)


def default_image_shape(name: str) -> tuple[int, int, int]:
    """CIFAR-10's own size."""
    return 32, 32, 3


def minimum_image_size(name: str) -> int:
    """4 pixels: two strides leave one."""
    return 4


def channels(name: str) -> tuple[int, ...]:
    """RGB, or grey where the images are."""
    return (3, 1)


def weights(name: str) -> tuple[str, ...]:
    """Random ones."""
    return ("none",)


def widths(name: str, weights: str) -> tuple[float, ...]:
    """Any: the channels are the multiples of 4 that are nearest to 32, 64, 128 times the width."""
    return ()


def origin(name: str, weights: str) -> str:
    """There are none to have."""
    return "no published weights"


def preprocessing(name: str, image_shape: tuple[int, int, int]) -> Preprocessing:
    """Pixels to [-1, 1]."""
    return Preprocessing(image_shape=image_shape, scale=(1 / 127.5,), offset=(-1.0,))


def build_features(config: BackboneConfig, image_shape: tuple[int, int, int]) -> Model:
    """Builds the network up to the mean of its channels.

    Args:
      config: `resolved_weights` is `"none"` or a path; `width` multiplies the channels.
      image_shape: (height, width, 1 or 3).

    Raises:
      WeightsError: a given file does not fit.
    """
    widths = [max(round(count * config.width / _STEP), 1) * _STEP for count, _ in _STACKS]
    inputs = keras.Input(image_shape, name="image")
    stem = keras.layers.Conv2D(widths[0], 3, padding="same", use_bias=False, name="conv")
    outputs = keras.layers.ReLU(name="conv_relu")(_normalized(stem(inputs), "conv"))
    for stack, (width, (_, blocks)) in enumerate(zip(widths, _STACKS, strict=True), start=1):
        for block in range(1, blocks + 1):
            stride = 2 if stack > 1 and block == 1 else 1
            outputs = _block(outputs, width, stride=stride, name=f"stack{stack}_block{block}")
    outputs = keras.layers.GlobalAveragePooling2D(name="pool")(outputs)
    model = keras.Model(inputs, outputs, name=config.name)
    if config.resolved_weights != "none":
        _weights.load_into(model, config.resolved_weights)
    return model


def _block(inputs: KerasTensor, width: int, *, stride: int, name: str) -> KerasTensor:
    spatial = keras.layers.DepthwiseConv2D(
        3, strides=stride, padding="same", use_bias=False, name=f"{name}_depthwise"
    )
    outputs = _normalized(spatial(inputs), f"{name}_depthwise")
    outputs = keras.layers.ReLU(name=f"{name}_depthwise_relu")(outputs)
    mixing = keras.layers.Conv2D(width, 1, use_bias=False, name=f"{name}_pointwise")
    outputs = _normalized(mixing(outputs), f"{name}_pointwise")
    if outputs.shape == inputs.shape:
        outputs = keras.layers.Add(name=f"{name}_add")([inputs, outputs])
    return keras.layers.ReLU(name=f"{name}_relu")(outputs)


def _normalized(inputs: KerasTensor, name: str) -> KerasTensor:
    return keras.layers.BatchNormalization(name=f"{name}_bn")(inputs)
