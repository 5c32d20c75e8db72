"""What one image costs a model: parameters and multiply-accumulates, counted from its layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfcompress.graph.kernels import kernels


def parameters(model: Any) -> int:
    """Number of weights, trainable and not, without the bookkeeping of quantization wrappers."""
    total = 0
    for layer in model.layers:
        inner = getattr(layer, "layer", layer)
        total += sum(int(np.prod(weight.shape)) for weight in inner.weights)
    return total


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
