"""What one image costs a model: parameters and multiply-accumulates, counted from its layers."""

from __future__ import annotations

from collections.abc import Iterator
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
    that much each time. Additions, pooling and activations are not counted.

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
    for node in _calls(model):
        for variable in {id(w): w for w in node.layer.weights if is_kernel(w)}.values():
            kernel = Kernel(plain_layer(node.layer), names[id(node.layer)], variable)
            key, positions = (kernel.name, kernel.part), _positions(node)
            before = found.get(key, 0)
            if before is None or positions is None:
                found[key] = None
            else:
                found[key] = before + int(np.prod(variable.shape)) * positions
    return found


def _calls(model: Any) -> Iterator[Any]:
    """Each call of a layer, those in models within the model included."""
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if hasattr(node.layer, "layers"):
                yield from _calls(node.layer)
            else:
                yield node


def _positions(node: Any) -> int | None:
    """How often a call applies the layer's kernels; None where the size is open."""
    layer = plain_layer(node.layer)
    by_input = isinstance(layer, keras.layers.RNN) or "Transpose" in type(layer).__name__
    shape = node.input_shapes if by_input else node.output_shapes
    while isinstance(shape[0], tuple | list):
        shape = shape[0]
    positions = shape[1:-1] if len(shape) > 2 else ()
    return None if None in positions else int(np.prod(positions))
