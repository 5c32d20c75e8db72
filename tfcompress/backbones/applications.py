"""Every network of `tf_keras.applications`, under Keras' own names, without its top.

Knows which preprocessing, widths and sizes go with which network and where Keras keeps their
ImageNet weights. The networks and the loading of those weights are Keras' own. Networks that bring
their own rescaling take raw pixels.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from tfcompress._keras import keras
from tfcompress.backbones import _weights
from tfcompress.backbones._pixels import pixels
from tfcompress.graph.normal_form import is_normal, normalize
from tfcompress.graph.rebuild import rebuild
from tfcompress.preprocessing import Preprocessing

if TYPE_CHECKING:
    from tf_keras import Model

    from tfcompress.backbones import BackboneConfig

_TO_UNIT = (
    "InceptionResNetV2",
    "InceptionV3",
    "MobileNet",
    "MobileNetV2",
    "NASNetLarge",
    "NASNetMobile",
    "ResNet101V2",
    "ResNet152V2",
    "ResNet50V2",
    "Xception",
)
_CAFFE = ("ResNet101", "ResNet152", "ResNet50", "VGG16", "VGG19")
_TORCH = ("DenseNet121", "DenseNet169", "DenseNet201")
_REGNET_SIZES = (2, 4, 6, 8, 16, 32, 40, 64, 80, 120, 160, 320)
_RAW = (
    *(f"ConvNeXt{size}" for size in ("Base", "Large", "Small", "Tiny", "XLarge")),
    *(f"EfficientNetB{size}" for size in range(8)),
    *(f"EfficientNetV2{size}" for size in ("B0", "B1", "B2", "B3", "L", "M", "S")),
    *(f"MobileNetV3{size}" for size in ("Large", "Small")),
    *(f"RegNet{kind}{size:03d}" for kind in "XY" for size in _REGNET_SIZES),
    *(f"ResNetRS{depth}" for depth in (101, 152, 200, 270, 350, 420, 50)),
)
_PIXELS = {
    **dict.fromkeys(_TO_UNIT, "symmetric"),
    **dict.fromkeys(_CAFFE, "caffe"),
    **dict.fromkeys(_TORCH, "torch"),
    **dict.fromkeys(_RAW, "raw"),
}

_PUBLISHED_WIDTHS = {
    "MobileNet": (0.25, 0.5, 0.75, 1.0),
    "MobileNetV2": (0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
    "MobileNetV3Large": (0.75, 1.0),
    "MobileNetV3Small": (0.75, 1.0),
}
_MINIMUM_SIZES = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}
# Keras loads these two's ImageNet weights at one size only.
_ONLY_SIZES = {"NASNetLarge": 331, "NASNetMobile": 224}
_SECONDS_WITHOUT_DATA = 20


def names() -> tuple[str, ...]:
    """Keras' names, such as `"MobileNetV2"`, sorted."""
    return tuple(sorted((*_TO_UNIT, *_CAFFE, *_TORCH, *_RAW)))


def default_image_shape(name: str) -> tuple[int, int, int]:
    """96 pixels, which small tasks transfer from well on a CPU, and ImageNet's own for NASNet."""
    size = _ONLY_SIZES.get(name, 96)
    return size, size, 3


def minimum_image_size(name: str) -> int:
    """Keras' own minimum: 32 pixels for most."""
    return _MINIMUM_SIZES.get(name, 32)


def channels(name: str) -> tuple[int, ...]:
    """RGB; grey images are repeated."""
    return (3,)


def weights(name: str) -> tuple[str, ...]:
    """ImageNet's, or random ones."""
    return ("imagenet", "none")


def widths(name: str, weights: str) -> tuple[float, ...]:
    """MobileNet's alpha, in all its versions; any where the weights are not ImageNet's."""
    if name not in _PUBLISHED_WIDTHS:
        return (1.0,)
    return _PUBLISHED_WIDTHS[name] if weights == "imagenet" else ()


def origin(name: str, weights: str) -> str:
    """Keras' host, or the folder where Keras keeps what it fetched."""
    return "ImageNet weights of tf_keras.applications"


def preprocessing(name: str, image_shape: tuple[int, int, int]) -> Preprocessing:
    """The same arithmetic as the network's `preprocess_input` in Keras."""
    return pixels(_PIXELS[name], image_shape)


def build_features(config: BackboneConfig, image_shape: tuple[int, int, int]) -> Model:
    """Builds a network without its top, ending in global average pooling.

    Args:
      config: `resolved_weights` is `"imagenet"`, `"none"` or a path.
      image_shape: (height, width, 3).

    Raises:
      ValueError: a size for which there are no ImageNet weights.
      WeightsError: Keras could not fetch the ImageNet weights (the message says where to put the
        file), or a file is damaged or does not fit.
    """
    named = config.resolved_weights if config.resolved_weights in weights(config.name) else "none"
    size = _ONLY_SIZES.get(config.name, image_shape[0])
    if named == "imagenet" and image_shape[0] != size:
        raise ValueError(
            f"{config.name} has ImageNet weights for images of {size} pixels only. "
            f"Received: image_size={image_shape[0]}. Take {size}, or pass weights=none."
        )
    arguments: dict[str, Any] = {
        "include_top": False,
        "pooling": "avg",
        "input_shape": image_shape,
        "weights": "imagenet" if named == "imagenet" else None,
    }
    if config.name in _PUBLISHED_WIDTHS:
        arguments["alpha"] = config.width
    with _bounded_fetch(config.name) if named == "imagenet" else nullcontext():
        model = getattr(keras.applications, config.name)(**arguments)
    if config.resolved_weights not in weights(config.name):
        # Files know layers by their own names, not by those of the models inside the model.
        model = rebuild(model) if _is_nested(model) else model
        _weights.load_into(model, config.resolved_weights)
    # Not checked at each call: the tests check the networks of all families.
    return model if is_normal(model) else normalize(model, check=False)


def _is_nested(model: Model) -> bool:
    return any(isinstance(layer, keras.Model) for layer in model.layers)


@contextmanager
def _bounded_fetch(name: str) -> Iterator[None]:
    """Bounds how long Keras waits for its host, and says where a file may be put instead."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SECONDS_WITHOUT_DATA)
    try:
        yield
    except Exception as error:
        # Keras raises a bare Exception, "URL fetch failure on ADDRESS: ...", when it cannot fetch.
        address = re.search(r"fetch failure on (\S+?):? ", f"{error} ")
        if address is None and not isinstance(error, OSError | ValueError | KeyError):
            raise
        file = address[1].rpartition("/")[2] if address else "the file that Keras keeps there"
        raise _weights.WeightsError(
            f"The ImageNet weights of {name} could not be fetched or read: {error}. Put {file} "
            "into ~/.keras/models/ (in place of a damaged one) and run again, or pass weights=none "
            "or the path of a weight file."
        ) from error
    finally:
        socket.setdefaulttimeout(before)
