"""What one example costs a model: parameters and multiply-accumulates, counted from its layers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
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
    """Multiply-accumulates of one example, in convolutions and matrix products.

    A convolution costs its kernel's elements times its output positions (a transposed one: input
    positions), a dense layer its kernel's elements times the positions it is applied at, a
    recurrent one its kernels' elements times the steps, a product of two activations, as in
    attention, its output's elements times the length of the sums. A layer that is called more than
    once costs that much each time. Additions, pooling and activations are not counted.

    Args:
      model: a Keras model with inputs of a fixed size.

    Raises:
      ValueError: the size of an input is open.
    """
    counts = [*macs_by_kernel(model).values(), *macs_of_products(model).values()]
    total = sum(count for count in counts if count is not None)
    if None in counts:
        raise ValueError(
            f"The multiply-accumulates of {model.name!r} depend on the size of its input, which is "
            f"open: {list(model.inputs[0].shape)}. Build it for one size."
        )
    return total


def macs_by_kernel(model: Any) -> dict[tuple[str, str], int | None]:
    """Those of each kernel, by the names of layer and weight, such as `("conv1", "kernel")`.

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


def macs_of_products(model: Any) -> dict[str, int | None]:
    """Those of products of two activations, by the name of the layer that multiplies.

    None stands where they depend on an input's size that is open.
    """
    names = {id(layer): name for name, layer in named_layers(model).items()}
    found: dict[str, int | None] = {}
    for node in calls(model):
        shapes = [tuple(tensor.shape)[1:] for tensor in node.keras_inputs]
        count = product_macs(node.layer, shapes)
        if count != 0:
            name = names[id(node.layer)]
            before = found.get(name, 0)
            found[name] = None if before is None or count is None else before + count
    return found


def product_macs(layer: Any, shapes: Sequence[Sequence[int | None]]) -> int | None:
    """Multiply-accumulates of one call between what it is given; 0 of a layer that multiplies none.

    Args:
      layer: any layer.
      shapes: of its inputs, without the batch.

    Returns:
      their number; None where it depends on a size that is open.
    """
    layers, kind = keras.layers, type(layer).__name__
    if kind == "MatMul":
        first, second = shapes
        rows, inner = (-1, -2) if layer.transpose_a else (-2, -1)
        columns = -2 if layer.transpose_b else -1
        # A matrix that serves several others is multiplied with each of them.
        others = [_wider(*pair) for pair in _aligned(first[:-2], second[:-2])]
        return _product([*others, first[rows], first[inner], second[columns]])
    if isinstance(layer, layers.Dot):
        first, second = shapes
        axis = layer.axes if isinstance(layer.axes, int) else layer.axes[1]
        rest = [size for place, size in enumerate(second, 1) if place != axis % (len(second) + 1)]
        return _product([*first, *rest])
    if isinstance(layer, layers.MultiHeadAttention):
        query, value = shapes[0], shapes[min(1, len(shapes) - 1)]
        attended = [value[axis - 1] for axis in layer._attention_axes]
        width = layer._key_dim + layer._value_dim
        return _product([layer._num_heads, *query[:-1], *attended, width])
    if isinstance(layer, layers.Attention | layers.AdditiveAttention):
        query, value = shapes[:2]
        # Additive scores are sums; of the other ones the width of a query is the length.
        scored = query[-1] if isinstance(layer, layers.Attention) else 0
        width = None if scored is None or value[-1] is None else scored + value[-1]
        return _product([*query[:-1], value[-2], width])
    return 0


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


def _aligned(
    first: Sequence[int | None], second: Sequence[int | None]
) -> Iterator[tuple[int | None, int | None]]:
    """The axes of two shapes from the last on, 1 for those that one has not."""
    return zip_longest(reversed(first), reversed(second), fillvalue=1)


def _wider(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else max(first, second)


def _product(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return math.prod(known) if len(known) == len(sizes) else None
