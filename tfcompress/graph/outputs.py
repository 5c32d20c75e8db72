"""What a model's outputs come from: logits, units, or an activation that made others of them.

Knows how to look behind layers that pass values on. Does not know losses.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfcompress.graph.kernels import plain_layer

_KEEP_VALUES = ("Dropout", "Flatten", "Identity", "Quantize", "Reshape")


def final_activation(model: Any) -> str:
    """Name of the activation that a functional model's output comes from; `"linear"` for none."""
    tensor = model.outputs[0]
    while True:
        layer, index, _ = tensor._keras_history
        layer, node = plain_layer(layer), layer._inbound_nodes[index]
        if getattr(layer, "_is_graph_network", False):
            return final_activation(layer)
        found = _activation(layer)
        passes = type(layer).__name__ in _KEEP_VALUES or (
            found == "linear" and type(layer).__name__ == "Activation"
        )
        if not passes or node.is_input:
            return found
        tensor = node.keras_inputs[0]


def unit_scale(model: Any) -> np.ndarray:
    """What one unit inside a model is of its outputs: the scale of a Rescaling at its end, else 1.

    Returns:
      float32 [outputs] or [].
    """
    layer = plain_layer(model.outputs[0]._keras_history.layer)
    scale = layer.scale if type(layer).__name__ == "Rescaling" else 1.0
    return np.asarray(scale, np.float32)


def _activation(layer: Any) -> str:
    if type(layer).__name__ == "Softmax":
        return "softmax"
    if type(layer).__name__ == "TFOpLambda":
        return str(layer.function.__name__)
    activation = getattr(layer, "activation", None)
    # A quantized layer holds its activation in a wrapper.
    activation = getattr(activation, "activation", activation)
    return "linear" if activation is None else getattr(activation, "__name__", "other")
