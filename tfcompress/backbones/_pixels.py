"""The usual ways in which pixels are brought to what a network was trained on, by name."""

from __future__ import annotations

from tfcompress.preprocessing import Preprocessing
from tfcompress.registry import require

PIXELS = {
    "raw": "as they are, 0 to 255 (the model rescales them itself)",
    "unit": "divided by 255, 0 to 1",
    "symmetric": "-1 to 1 (MobileNet, Inception, ResNetV2 of Keras)",
    "lite": "less 127, divided by 128 (EfficientNet-Lite)",
    "caffe": "BGR less ImageNet's mean (VGG, ResNet of Keras)",
    "torch": "0 to 1, then ImageNet's mean and deviation taken off (DenseNet of Keras)",
}

# ImageNet's mean and deviation of each channel, which the networks from Caffe (BGR, in pixels) and
# from PyTorch (RGB, of pixels in [0, 1]) were trained with: tf_keras.applications.imagenet_utils.
_CAFFE_MEAN = (103.939, 116.779, 123.68)
_TORCH_MEAN = (0.485, 0.456, 0.406)
_TORCH_DEVIATION = (0.229, 0.224, 0.225)


def pixels(kind: str, image_shape: tuple[int, int, int]) -> Preprocessing:
    """The preprocessing of a name of `PIXELS`.

    Args:
      kind: the name.
      image_shape: (height, width, channels) that the model takes.

    Raises:
      UnknownNameError: no such name.
      ValueError: `caffe` or `torch` for grey images.

    Example:
      >>> pixels("symmetric", (8, 8, 3)).offset
      (-1.0,)
    """
    require(kind, tuple(PIXELS), what="preprocessing")
    if kind in ("caffe", "torch") and image_shape[2] != 3:
        raise ValueError(
            f"The preprocessing {kind!r} is one of three colours. "
            f"Received: a model for images of {list(image_shape)}. "
            "Take raw, unit, symmetric or lite."
        )
    if kind == "unit":
        return Preprocessing(image_shape, scale=(1 / 255,))
    if kind == "symmetric":
        return Preprocessing(image_shape, scale=(1 / 127.5,), offset=(-1.0,))
    if kind == "lite":
        return Preprocessing(image_shape, scale=(1 / 128,), offset=(-127 / 128,))
    if kind == "caffe":
        offset = tuple(-mean for mean in _CAFFE_MEAN)
        return Preprocessing(image_shape, offset=offset, channel_order="bgr")
    if kind == "torch":
        pairs = list(zip(_TORCH_MEAN, _TORCH_DEVIATION, strict=True))
        return Preprocessing(
            image_shape,
            scale=tuple(1 / (255 * deviation) for _, deviation in pairs),
            offset=tuple(-mean / deviation for mean, deviation in pairs),
        )
    return Preprocessing(image_shape)
