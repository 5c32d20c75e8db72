"""The layers of the integer form: which kinds there are, and those that Keras lacks.

Knows nothing of ranges.

Importing this module imports TensorFlow.
"""

from __future__ import annotations

from typing import Any

from tfcompress._keras import keras, tf

KERNEL_LAYERS = ("Conv2D", "DepthwiseConv2D", "ConstantDepthwiseConv2D", "Dense")
"""What multiplies by a kernel, as one operator."""
_IDENTITY_IN_INFERENCE = (
    "Dropout",
    "SpatialDropout2D",
    "GaussianNoise",
    "GaussianDropout",
    "ActivityRegularization",
    "RandomFlip",
    "RandomRotation",
    "RandomZoom",
    "RandomTranslation",
    "RandomContrast",
    "RandomBrightness",
    "RandomCrop",
)
_MOVES_VALUES = (
    "Flatten",
    "Reshape",
    "Permute",
    "ZeroPadding2D",
    "Cropping2D",
    "MaxPooling2D",
    "GlobalMaxPooling2D",
    "UpSampling2D",
    "RepeatVector",
    "Slice",
)
PASSES_ON = (*_IDENTITY_IN_INFERENCE, *_MOVES_VALUES, "InputLayer")
"""Layers whose outputs are values of their inputs, in the steps of their inputs."""
AROUND_KERNELS = (
    *PASSES_ON,
    *KERNEL_LAYERS,
    "SeparableConv2D",
    "BatchNormalization",
    "Activation",
    "ReLU",
    "LeakyReLU",
    "PReLU",
    "Embedding",
    "PositionIds",
    "TokenMask",
)
"""What is computed in integers where kernels alone are: they, and what goes with them."""


class ConstantDepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """A depthwise convolution whose weights no training changes."""

    constant = True

    def build(self, input_shape: Any) -> None:
        """Makes the weights."""
        super().build(input_shape)
        # In place: Keras sorts by a variable's own flag what is assigned.
        self._non_trainable_weights.extend(self._trainable_weights)
        self._trainable_weights.clear()


class Shift(keras.layers.Layer):
    """Adds a constant.

    Args:
      amount: what is added.
    """

    def __init__(self, amount: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.amount = amount

    def call(self, inputs: Any) -> Any:
        """The shifted tensor."""
        return inputs + tf.constant(self.amount, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "amount": self.amount}


class Rsqrt(keras.layers.Layer):
    """One over the square root."""

    def call(self, inputs: Any) -> Any:
        """Gives float of the shape of `inputs`."""
        return tf.math.rsqrt(inputs)


class ChannelMean(keras.layers.Layer):
    """Mean over the last axis, which stays with size 1."""

    def call(self, inputs: Any) -> Any:
        """Gives float [..., 1]."""
        return tf.reduce_mean(inputs, axis=-1, keepdims=True)


class UnitClip(keras.layers.Layer):
    """Clips to [0, 1]."""

    def call(self, inputs: Any) -> Any:
        """Gives float of the shape of `inputs`."""
        return tf.clip_by_value(inputs, 0.0, 1.0)


class ChannelFactor(keras.layers.Layer):
    """Multiplies each channel (the last axis) by a number that no training changes, at first 1."""

    def build(self, input_shape: Any) -> None:
        """Makes the numbers."""
        shape = (input_shape[-1],)
        self.factor = self.add_weight("factor", shape=shape, initializer="ones", trainable=False)
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Gives float of the shape of `inputs`."""
        return inputs * self.factor


class FoldedFactor(ChannelFactor):
    """A factor of what a convolution gives, which the file computes in its operator."""
