"""What the rules of the integer form share while they rewrite one model.

Knows how a layer's parts are made once, and the two forms that several rules need: channels that
are multiplied and shifted, and an activation as operators of its own. Does not know which layer has
which form.

Importing this module imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfcompress._keras import keras
from tfcompress.graph.rebuild import Use
from tfcompress.techniques._integer_layers import AROUND_KERNELS, ConstantDepthwiseConv2D

AFFINE_RANKS = (2, 3, 4)
"""Of the tensors whose channels can be multiplied and shifted."""
FUSED_ACTIVATIONS = ("linear", "relu", "relu6")
"""What TFLite computes in the operator of a kernel."""
ONE_OPERATOR_ACTIVATIONS = ("sigmoid", "tanh", "softmax", "gelu")
"""What an activation's name becomes when it is applied as a layer of its own."""


@dataclass
class Rewriting:
    """What is known while one model is rewritten.

    Attributes:
      consumers: the calls that take each tensor of the model, by the tensor's `id`.
      skip: patterns of layers that stay in float.
      in_float: names of further ones.
      dense_per_channel: whether a Dense layer gets a weight range for each output.
      only_kernels: whether what multiplies by no weights stays in float.
      origin: for each layer that was made the layer that it stands for.
      passed_over: for each layer that stays in float the reason.
      weights: of layers that were made, to be set once the model is built.
      done: layers whose work another one does.
      ones: kernels of ones that were made.
      evened: for each tensor in float, by its `id`, itself with a factor for each channel.
    """

    consumers: Mapping[int, list[Any]]
    skip: str
    in_float: Collection[str]
    dense_per_channel: bool
    only_kernels: bool
    origin: dict[str, str] = field(default_factory=dict)
    passed_over: dict[str, str] = field(default_factory=dict)
    weights: list[tuple[Any, list[np.ndarray]]] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    ones: int = 0
    evened: dict[int, Any] = field(default_factory=dict)
    _parts: dict[tuple[int, str], Any] = field(default_factory=dict)

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

    def without_weights(self, layer: Any) -> bool:
        """Whether a layer stays in float because it multiplies by no weights."""
        if not self.only_kernels:
            return False
        if type(layer).__name__ == "Activation":
            return layer.activation.__name__ not in FUSED_ACTIVATIONS
        return type(layer).__name__ not in AROUND_KERNELS

    def only_use(self, use: Use) -> bool:
        """Whether the used layer is the only one that takes its input."""
        return len(self.consumers[id(use.inputs[0])]) == 1

    def as_image(self, use: Use, x: Any, suffix: str) -> Any:
        """The tensor with height and width: a sequence is an image of width 1."""
        if x.shape.rank == 4:
            return x
        # As many steps as there are: batches of texts are shorter in training.
        shape = (-1 if x.shape.rank == 3 else 1, 1, x.shape[-1])
        return self.part(use, suffix, keras.layers.Reshape, target_shape=shape)(x)

    def as_rank(self, use: Use, x: Any, suffix: str, *, rank: int) -> Any:
        """The inverse of `as_image`: a sequence, or of rank 2 its one step."""
        shape = (-1, x.shape[-1]) if rank == 3 else (x.shape[-1],)
        return self.part(use, suffix, keras.layers.Reshape, target_shape=shape)(x)

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
        rank, channels = x.shape.rank, x.shape[-1]
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
        return x if rank == 4 else self.as_rank(use, x, f"{suffix}_out", rank=rank)

    def activated(self, use: Use, function: Any, x: Any, *, suffix: str | None = None) -> Any:
        """Applies an activation, each of its operators as a layer."""
        name = getattr(function, "__name__", type(function).__name__)
        own = name if suffix is None else suffix
        layers = keras.layers
        if is_linear(function):
            return x
        if name in ("relu", "relu6"):
            limit = 6.0 if name == "relu6" else None
            return self.part(use, own, layers.ReLU, max_value=limit)(x)
        if name in ("swish", "silu"):
            gate = self.part(use, "sigmoid", layers.Activation, activation="sigmoid")(x)
            return self.part(use, own, layers.Multiply)([x, gate])
        if suffix is None and name not in ONE_OPERATOR_ACTIVATIONS:
            key = f"{use.layer.name}/activation"
            self.passed_over[key] = f"{name} has no integer form here"
        return self.part(use, own, layers.Activation, activation=function)(x)


def is_linear(function: Any) -> bool:
    """Whether an activation passes on what it is given."""
    return function is None or getattr(function, "__name__", "") == "linear"
