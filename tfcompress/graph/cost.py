"""What one image costs a model: parameters and multiply-accumulates, counted from its layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfcompress.graph.kernels import kernels, leaf_layers


def parameters(model: Any) -> int:
    """Number of weights, trainable and not, without the bookkeeping of quantization wrappers."""
    layers = [_plain(layer) for layer in leaf_layers(model) if not hasattr(layer, "quantizer")]
    weights = [weight for layer in layers for weight in layer.weights]
    # A quantization wrapper takes the kernels from its layer.
    weights += [kernel.variable for kernel in kernels(model)]
    return sum(int(np.prod(weight.shape)) for weight in {id(w): w for w in weights}.values())


def _plain(layer: Any) -> Any:
    return getattr(layer, "layer", layer)


def macs(model: Any) -> int:
    """Multiply-accumulates of one image, in convolutions and matrix products.

    A convolution costs its kernel's elements times its output positions, a dense layer its kernel's
    elements (times the positions it is applied at). Additions, pooling and activations are not
    counted.

    Args:
      model: a Keras model with static image shape.
    """
    total = 0
    for kernel in kernels(model):
        output = kernel.layer.output_shape
        positions = int(np.prod(output[1:-1])) if len(output) > 2 else 1
        total += int(np.prod(kernel.variable.shape)) * positions
    return total
