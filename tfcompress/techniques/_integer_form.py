"""Rewrites a model so that every layer is one operator of an integer TFLite file.

Where an integer file would need an intermediate result, the rewritten model has a layer that gives
it, so that its range can be learned: `swish` becomes a sigmoid and a product, a separable
convolution two convolutions, and whatever multiplies and shifts channels (BatchNormalization with
no convolution before it, Rescaling, Normalization) a 1x1 depthwise convolution, which TFLite
computes with a scale and an int32 bias for each channel. Outputs are unchanged. Knows which layers
have an integer form; does not know where ranges stand.

Importing this module imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfcompress._keras import keras, tf
from tfcompress.graph import connections
from tfcompress.graph.kernels import named
from tfcompress.graph.rebuild import Use, rebuild

KERNEL_LAYERS = ("Conv2D", "DepthwiseConv2D", "ConstantDepthwiseConv2D", "Dense")
# What an activation's name becomes when it is applied as a layer of its own.
_ONE_OPERATOR_ACTIVATIONS = ("sigmoid", "tanh", "softmax", "gelu")
_AFFINE_RANKS = (2, 3, 4)


@dataclass(frozen=True)
class IntegerForm:
    """A rewritten model.

    Attributes:
      model: flat functional model, in float32.
      origin: for each of its layers the layer of the given model that it stands for.
      passed_over: for each layer of the given model that stays in float the reason.
    """

    model: Any
    origin: Mapping[str, str]
    passed_over: Mapping[str, str]


CHOSEN = "kept in float: in integers it costs more accuracy than others of its size"
"""Why a layer stays in float that selective precision chose."""


def integer_form(
    model: Any,
    *,
    skip: str = "",
    in_float: Collection[str] = (),
    dense_per_channel: bool = False,
) -> IntegerForm:
    """Rewrites a model for integer arithmetic.

    Args:
      model: a model in the normal form; it stays as it is.
      skip: layer names or patterns, separated by `|`, that are kept as they are.
      in_float: names of further layers that are.
      dense_per_channel: make a Dense layer a 1x1 convolution. TFLite's converter takes a range for
        each output of the one and not of the other.
    """
    job = _Rewriting(connections.consumers(model), skip, in_float, dense_per_channel)
    rewritten = rebuild(model, job.replace)
    for layer, weights in job.weights:
        layer.set_weights(weights)
    return IntegerForm(rewritten, job.origin, job.passed_over)


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


@dataclass
class _Rewriting:
    """What is known while one model is rewritten."""

    consumers: Mapping[int, list[Any]]
    skip: str
    in_float: Collection[str]
    dense_per_channel: bool
    origin: dict[str, str] = field(default_factory=dict)
    passed_over: dict[str, str] = field(default_factory=dict)
    weights: list[tuple[Any, list[np.ndarray]]] = field(default_factory=list)
    _parts: dict[tuple[int, str], Any] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)
    _ones: int = 0

    def replace(self, use: Use) -> Any:
        """The outputs of one call, in integer form where there is one."""
        kind = type(use.layer).__name__
        if named(use.layer.name, self.skip):
            self.passed_over[use.layer.name] = f"named in skip={self.skip}"
            return use.again()
        if use.layer.name in self.in_float:
            self.passed_over[use.layer.name] = CHOSEN
            return use.again()
        rule = _RULES.get(kind)
        if rule is None:
            self.passed_over[use.layer.name] = f"{kind} has no integer form here"
            return use.again()
        outputs = rule(self, use)
        if outputs is None:
            self.passed_over.setdefault(
                use.layer.name, f"these settings of {kind} have no integer form here"
            )
            return use.again()
        return outputs

    def part(
        self,
        use: Use,
        suffix: str,
        kind: Callable[..., Any],
        *,
        weights: list[np.ndarray] | None = None,
        **config: Any,
    ) -> Any:
        """A layer that stands for (a part of) the used one, the same at each use of that."""
        key = id(use.layer), suffix
        if key not in self._parts:
            name = f"{use.layer.name}_{suffix}" if suffix else use.layer.name
            layer = kind(name=name, dtype="float32", **config)
            self.origin[name] = use.layer.name
            self._parts[key] = layer
            if weights is not None:
                self.weights.append((layer, weights))
        return self._parts[key]

    def only_use(self, use: Use) -> bool:
        """Whether the used layer is the only one that takes its input."""
        return len(self.consumers[id(use.inputs[0])]) == 1

    # Convolutions and matrix products.

    def kernel(self, use: Use) -> Any:
        layer = use.layer
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            return None
        if max(getattr(layer, "dilation_rate", (1,))) > 1:
            # TFLite's converter leaves several operators of it, for any size of batch.
            self.passed_over[layer.name] = "dilated: no single integer operator"
            return None
        if type(layer).__name__ == "Dense":
            rank = use.args[0].shape.rank
            units = self._units_of(use)
            if rank == 4 or ((self.dense_per_channel or units) and rank in _AFFINE_RANKS):
                return self._dense_as_convolution(use, units)
        if _linear(layer.activation) and layer.dtype_policy.name == "float32":
            return use.again()
        config = {k: v for k, v in layer.get_config().items() if k not in ("name", "dtype")}
        config["activation"] = None
        plain = self.part(use, "", type(layer), weights=layer.get_weights(), **config)
        return self.activated(use, layer.activation, plain(use.args[0]))

    def _units_of(self, use: Use) -> Any:
        """The Rescaling that alone takes what a linear layer gives, such as a regression's units.

        TFLite computes it in the layer's operator, with the same integers: a scale is free, an
        offset goes into the int32 bias. Its converter does so behind a convolution only.
        """
        takers = self.consumers[id(use.outputs)]
        if len(takers) != 1 or takers[0] is None or not _linear(use.layer.activation):
            return None
        taker = takers[0].layer
        fits = type(taker).__name__ == "Rescaling" and np.all(np.asarray(taker.scale) != 0)
        kept = named(taker.name, self.skip) or taker.name in self.in_float
        once = len(taker._inbound_nodes) == len(use.layer._inbound_nodes) == 1
        return taker if fits and once and not kept else None

    def _dense_as_convolution(self, use: Use, units: Any) -> Any:
        layer = use.layer
        kernel, *bias = layer.get_weights()
        x = self.as_image(use, use.args[0], "in")
        convolution = self.part(
            use,
            "",
            keras.layers.Conv2D,
            weights=[kernel[None, None], *bias],
            filters=layer.units,
            kernel_size=1,
            use_bias=layer.use_bias,
            trainable=layer.trainable,
        )
        x = convolution(x)
        if units is not None:
            self._done.add(units.name)
            self.origin[units.name] = units.name
            x = type(units).from_config({**units.get_config(), "dtype": "float32"})(x)
        if use.args[0].shape.rank != 4:
            shape = [*use.args[0].shape[1:-1], layer.units]
            x = self.part(use, "out", keras.layers.Reshape, target_shape=shape)(x)
        return self.activated(use, layer.activation, x)

    def as_image(self, use: Use, x: Any, suffix: str) -> Any:
        """The tensor with height and width: a sequence is an image of width 1."""
        if x.shape.rank == 4:
            return x
        steps = x.shape[1] if x.shape.rank == 3 else 1
        shape = (steps, 1, x.shape[-1])
        return self.part(use, suffix, keras.layers.Reshape, target_shape=shape)(x)

    def separable(self, use: Use) -> Any:
        layer = use.layer
        if layer.data_format != "channels_last" or max(layer.dilation_rate) > 1:
            return None
        depthwise, pointwise, *bias = layer.get_weights()
        shared = {"trainable": layer.trainable}
        spatial = self.part(
            use,
            "depthwise",
            keras.layers.DepthwiseConv2D,
            weights=[depthwise],
            kernel_size=layer.kernel_size,
            strides=layer.strides,
            padding=layer.padding,
            dilation_rate=layer.dilation_rate,
            depth_multiplier=layer.depth_multiplier,
            use_bias=False,
            **shared,
        )
        mixing = self.part(
            use,
            "",
            keras.layers.Conv2D,
            weights=[pointwise, *bias],
            filters=layer.filters,
            kernel_size=1,
            use_bias=layer.use_bias,
            **shared,
        )
        return self.activated(use, layer.activation, mixing(spatial(use.args[0])))

    # What multiplies and shifts channels.

    def affine(
        self,
        use: Use,
        x: Any,
        suffix: str,
        *,
        scale: Any,
        offset: Any = None,
        trainable: bool = False,
        then: Callable[[Any], Any] | None = None,
    ) -> Any:
        """Channels times `scale` plus `offset`, as a 1x1 depthwise convolution."""
        shape, channels = x.shape, x.shape[-1]
        flat = shape.rank != 4
        x = self.as_image(use, x, f"{suffix}_in")
        weights = [np.broadcast_to(np.asarray(scale, np.float32), [channels]).reshape(1, 1, -1, 1)]
        if offset is not None:
            weights.append(np.broadcast_to(np.asarray(offset, np.float32), [channels]))
        layer = self.part(
            use,
            suffix,
            keras.layers.DepthwiseConv2D if trainable else ConstantDepthwiseConv2D,
            weights=weights,
            kernel_size=1,
            use_bias=offset is not None,
        )
        x = layer(x)
        if then is not None:
            x = then(x)
        if flat:
            x = self.part(use, f"{suffix}_out", keras.layers.Reshape, target_shape=shape[1:])(x)
        return x

    def batch_normalization(self, use: Use) -> Any:
        layer, x = use.layer, use.args[0]
        if x.shape.rank not in _AFFINE_RANKS or _channel_axis(layer) not in (-1, x.shape.rank - 1):
            return None
        before = connections.producer(x)
        convolution = type(before).__name__ in ("Conv2D", "DepthwiseConv2D")
        if convolution and self.only_use(use) and _linear(before.activation):
            return use.again()
        config = {k: v for k, v in layer.get_config().items() if k not in ("name", "dtype")}
        config["axis"] = -1
        normal = self.part(use, "", type(layer), weights=layer.get_weights(), **config)
        # TFLite's converter keeps equal kernels as one tensor, and scales it by each of the
        # BatchNormalizations that follow: no two of these kernels of ones may be the same.
        self._ones += 1
        one = np.float32(1 + self._ones * 2.0**-23)
        return self.affine(
            use, x, "channels", scale=one, then=lambda x: normal(x, **dict(use.kwargs))
        )

    def rescaling(self, use: Use) -> Any:
        layer, x = use.layer, use.args[0]
        if layer.name in self._done:
            return x
        if x.shape.rank not in _AFFINE_RANKS or None in x.shape[1:] or not x.dtype.is_floating:
            return None
        scale, offset = np.asarray(layer.scale), np.asarray(layer.offset)
        return self.affine(use, x, "", scale=scale, offset=offset)

    def normalization(self, use: Use) -> Any:
        layer, x = use.layer, use.args[0]
        if x.shape.rank not in _AFFINE_RANKS or layer.invert or not x.dtype.is_floating:
            return None
        mean, variance = np.ravel(layer.mean), np.ravel(layer.variance)
        if mean.size not in (1, x.shape[-1]):
            return None
        scale = 1 / np.maximum(np.sqrt(variance), keras.backend.epsilon())
        return self.affine(use, x, "", scale=scale, offset=-mean * scale)

    def channel_scale(self, use: Use) -> Any:
        x = use.args[0]
        if x.shape.rank not in _AFFINE_RANKS:
            return None
        (gamma,) = use.layer.get_weights()
        return self.affine(use, x, "", scale=gamma, trainable=use.layer.trainable)

    def layer_normalization(self, use: Use) -> Any:
        layer, x = use.layer, use.args[0]
        axis = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
        if list(axis) not in ([-1], [x.shape.rank - 1]) or x.shape.rank not in _AFFINE_RANKS:
            return None
        layers = keras.layers
        mean = self.part(use, "mean", ChannelMean)(x)
        centred = self.part(use, "centred", layers.Subtract)([x, mean])
        squares = self.part(use, "squares", layers.Multiply)([centred, centred])
        variance = self.part(use, "variance", ChannelMean)(squares)
        shifted = self.part(use, "epsilon", Shift, amount=layer.epsilon)(variance)
        inverse = self.part(use, "rsqrt", Rsqrt)(shifted)
        normal = self.part(use, "normal", layers.Multiply)([centred, inverse])
        if not (layer.scale or layer.center):
            return normal
        weights = list(layer.get_weights())
        scale = weights.pop(0) if layer.scale else 1.0
        offset = weights.pop(0) if layer.center else None
        return self.affine(use, normal, "", scale=scale, offset=offset, trainable=layer.trainable)

    # Activations.

    def activated(self, use: Use, function: Any, x: Any, *, suffix: str | None = None) -> Any:
        """Applies an activation, each of its operators as a layer."""
        name = getattr(function, "__name__", type(function).__name__)
        own = name if suffix is None else suffix
        layers = keras.layers
        if _linear(function):
            return x
        if name in ("relu", "relu6"):
            limit = 6.0 if name == "relu6" else None
            return self.part(use, own, layers.ReLU, max_value=limit)(x)
        if name in ("swish", "silu"):
            gate = self.part(use, "sigmoid", layers.Activation, activation="sigmoid")(x)
            return self.part(use, own, layers.Multiply)([x, gate])
        if suffix is None and name not in _ONE_OPERATOR_ACTIVATIONS:
            key = f"{use.layer.name}/activation"
            self.passed_over[key] = f"{name} has no integer form here"
        return self.part(use, own, layers.Activation, activation=function)(x)

    def activation(self, use: Use) -> Any:
        function = use.layer.activation
        name = getattr(function, "__name__", "")
        known = name in ("relu", "relu6", "swish", "silu", *_ONE_OPERATOR_ACTIVATIONS)
        if not (known or _linear(function)):
            self.passed_over[use.layer.name] = f"activation {name} has no integer form here"
            return None
        return self.activated(use, function, use.args[0], suffix="")

    def relu(self, use: Use) -> Any:
        layer = use.layer
        plain = layer.threshold == 0 and layer.max_value in (None, 6)
        if plain and layer.negative_slope == 0:
            return use.again()
        if layer.threshold == 0 and layer.max_value is None:
            slope = float(layer.negative_slope)
            return self.part(use, "", keras.layers.LeakyReLU, alpha=slope)(use.args[0])
        return None

    def hard_sigmoid(self, use: Use) -> Any:
        """The clipping to [0, 1] is the saturation of the integers."""
        return self._gate(use, use.args[0], "")

    def hard_swish(self, use: Use) -> Any:
        x = use.args[0]
        gate = self._gate(use, x, "gate")
        return None if gate is None else self.part(use, "", keras.layers.Multiply)([x, gate])

    def _gate(self, use: Use, x: Any, suffix: str) -> Any:
        if x.shape.rank not in _AFFINE_RANKS or None in x.shape[1:]:
            return None
        line = self.affine(use, x, f"{suffix}line", scale=1 / 6, offset=0.5)
        return self.part(use, suffix, UnitClip)(line)

    # Of several tensors.

    def chained(self, use: Use) -> Any:
        """Pairs, from left to right: TFLite's sums and products take two operands."""
        first, *rest = use.args[0]
        for number, operand in enumerate(rest, start=1):
            suffix = "" if number == len(rest) else f"{number}"
            first = self.part(use, suffix, type(use.layer))([first, operand])
        return first

    def kept(self, use: Use) -> Any:
        """Has an integer form as it is."""
        return use.again()

    def spatial(self, use: Use) -> Any:
        layer = use.layer
        nearest = getattr(layer, "interpolation", "nearest") == "nearest"
        last = getattr(layer, "data_format", "channels_last") == "channels_last"
        return use.again() if nearest and last else None

    def average_pooling(self, use: Use) -> Any:
        """A convolution where a mean can lie halfway between two integers.

        TFLite keeps the steps of the input. Of an even number of integers the mean is often a half,
        which operators round in different ways.
        """
        layer, x = use.layer, use.args[0]
        if layer.data_format != "channels_last":
            return None
        window, strides = layer.pool_size, layer.strides
        size = x.shape[1:3]
        steps = zip(size, window, strides, strict=True)
        whole = layer.padding == "valid" or all(
            known and known % stride == 0 and stride >= side for known, side, stride in steps
        )
        count = window[0] * window[1]
        if count % 2 or not whole:
            return use.again()
        return self.part(
            use,
            "",
            ConstantDepthwiseConv2D,
            weights=[np.full([*window, x.shape[-1], 1], 1 / count, np.float32)],
            kernel_size=window,
            strides=strides,
            use_bias=False,
        )(x)

    def reduced(self, use: Use) -> Any:
        return use.again() if use.layer.kind in ("mean", "max") else None


class UnitClip(keras.layers.Layer):
    """Clips to [0, 1]."""

    def call(self, inputs: Any) -> Any:
        """Gives float of the shape of `inputs`."""
        return tf.clip_by_value(inputs, 0.0, 1.0)


def _linear(function: Any) -> bool:
    return function is None or getattr(function, "__name__", "") == "linear"


def _channel_axis(layer: Any) -> int:
    axis = layer.axis
    return int(axis[0] if isinstance(axis, list | tuple) and len(axis) == 1 else axis)


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
)
PASSES_ON = (*_IDENTITY_IN_INFERENCE, *_MOVES_VALUES, "InputLayer")
"""Layers whose outputs are values of their inputs, in the steps of their inputs."""

_RULES: Mapping[str, Callable[[_Rewriting, Use], Any]] = {
    **dict.fromkeys(PASSES_ON, _Rewriting.spatial),
    **dict.fromkeys(KERNEL_LAYERS, _Rewriting.kernel),
    "SeparableConv2D": _Rewriting.separable,
    "BatchNormalization": _Rewriting.batch_normalization,
    "Rescaling": _Rewriting.rescaling,
    "Normalization": _Rewriting.normalization,
    "ChannelScale": _Rewriting.channel_scale,
    "LayerNormalization": _Rewriting.layer_normalization,
    "Activation": _Rewriting.activation,
    "ReLU": _Rewriting.relu,
    "LeakyReLU": _Rewriting.kept,
    "PReLU": _Rewriting.kept,
    "Softmax": _Rewriting.kept,
    "HardSigmoid": _Rewriting.hard_sigmoid,
    "HardSwish": _Rewriting.hard_swish,
    "Add": _Rewriting.chained,
    "Subtract": _Rewriting.chained,
    "Multiply": _Rewriting.chained,
    "Concatenate": _Rewriting.kept,
    "AveragePooling2D": _Rewriting.average_pooling,
    "GlobalAveragePooling2D": _Rewriting.spatial,
    "Reduce": _Rewriting.reduced,
}
