"""What one image costs a model: parameters and multiply-accumulates, counted from its layers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tfcompress._keras import keras
from tfcompress.graph.kernels import (
    Kernel,
    is_kernel,
    kernels,
    leaf_layers,
    named_layers,
    plain_layer,
)


def parameters(model: Any) -> int:
    """Number of weights, trainable and not, without the bookkeeping of quantization wrappers."""
    layers = [plain_layer(layer) for layer in leaf_layers(model) if not hasattr(layer, "quantizer")]
    weights = [weight for layer in layers for weight in layer.weights]
    # A quantization wrapper takes the kernels from its layer.
    weights += [kernel.variable for kernel in kernels(model)]
    return sum(int(np.prod(weight.shape)) for weight in {id(w): w for w in weights}.values())


def macs(model: Any) -> int:
    """Multiply-accumulates of one image, in convolutions and matrix products.

    A convolution costs its kernel's elements times its output positions (a transposed one: input
    positions), a dense layer its kernel's elements times the positions it is applied at, a
    recurrent one its kernels' elements times the steps. A layer that is called more than once costs
    that much each time. Additions, pooling, activations and products of two activations, as in
    attention, are not counted.

    Args:
      model: a Keras model with static image shape.

    Raises:
      ValueError: the size of an input is open.
    """
    counts = macs_by_kernel(model)
    total = sum(count for count in counts.values() if count is not None)
    if None in counts.values():
        raise ValueError(
            f"The multiply-accumulates of {model.name!r} depend on the size of its input, which is "
            f"open: {list(model.inputs[0].shape)}. Build it for one size."
        )
    return total


def macs_by_kernel(model: Any) -> dict[tuple[str, str], int | None]:
    """`macs` of each kernel, by the names of layer and weight, such as `("conv1", "kernel")`.

    None stands where they depend on an input's size that is open.
    """
    names = {id(layer): name for name, layer in named_layers(model).items()}
    found: dict[tuple[str, str], int | None] = {}
    for node in calls(model):
        for variable in {id(w): w for w in node.layer.weights if is_kernel(w)}.values():
            kernel = Kernel(plain_layer(node.layer), names[id(node.layer)], variable)
            key, positions = (kernel.name, kernel.part), _positions(node, kernel)
            before = found.get(key, 0)
            if before is None or positions is None:
                found[key] = None
            else:
                found[key] = before + int(np.prod(variable.shape)) * positions
    return found


def calls(model: Any) -> Iterator[Any]:
    """Yields each call of a layer, those in models within the model included.

    A call has a `layer`, `input_shapes` and `output_shapes`.
    """
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if getattr(node.layer, "_is_graph_network", False):
                yield from calls(node.layer)
            else:
                yield node


def _positions(node: Any, kernel: Kernel) -> int | None:
    """How often a call applies a kernel; None where the size is open."""
    layer, layers = kernel.layer, keras.layers
    # The axis of time is one more of the axes that the layer within goes along.
    layer = layer.layer if isinstance(layer, layers.TimeDistributed) else layer
    if isinstance(layer, layers.MultiHeadAttention):
        values = kernel.part.startswith(("key", "value"))
        return _product(node.keras_inputs[min(int(values), len(node.keras_inputs) - 1)].shape[1:-1])
    given, output = _first(node.input_shapes), _first(node.output_shapes)
    if isinstance(layer, layers.EinsumDense):
        _, inner, outer = re.split(",|->", layer.equation)
        axes = zip(inner, kernel.variable.shape, strict=True)
        elements = _product(output[1:])
        return elements and elements // math.prod(size for name, size in axes if name in outer)
    if "ConvLSTM" in type(layer).__name__:
        return _product([given[1], *output[2 - len(given) : -1]])
    if "LocallyConnected" in type(layer).__name__:
        return 1
    by_input = isinstance(layer, layers.RNN | layers.Bidirectional) or "Transpose" in kernel.kind
    shape = given if by_input else output
    channels_first = getattr(layer, "data_format", None) == "channels_first"
    return _product(shape[2:] if channels_first else shape[1:-1])


def _first(shapes: Any) -> Sequence[int | None]:
    while isinstance(shapes[0], tuple | list):
        shapes = shapes[0]
    return shapes


def _product(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return math.prod(known) if len(known) == len(sizes) else None
