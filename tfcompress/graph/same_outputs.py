"""Refuses a model made from another one where the two compute different things.

The numbers are `agreement`'s: which inputs, how much two outputs may differ. Here the two models
may be of different Kerases, so each is given as a function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfcompress._keras import keras3, tf
from tfcompress.graph import agreement
from tfcompress.graph.kernels import leaf_layers
from tfcompress.graph.model_files import ModelError, first_line

Run = Callable[[Sequence[np.ndarray]], list[Any]]
"""Gives the outputs of a model in inference for an array for each of its inputs."""


MAX_ELEMENTS = 2**31
"""Of one tensor for one example: 8 GB in float32."""


def require_moderate(model: Any) -> None:
    """Refuses a model with a tensor that no memory could hold, before it is run.

    Args:
      model: functional or Sequential tf_keras model.

    Raises:
      ModelError: the message names the layer.
    """
    if not model.inputs:
        return
    for layer in leaf_layers(model):
        tensors = tf.nest.flatten([node.outputs for node in layer._inbound_nodes])
        for tensor in tensors:
            elements = math.prod(size or 1 for size in tensor.shape)
            if elements > MAX_ELEMENTS:
                raise ModelError(
                    f"The layer {layer.name!r} of {model.name!r} gives a tensor of shape "
                    f"{tuple(tensor.shape)}: {elements:,} values, more than fit into memory."
                )


def require_same_outputs(
    name: str,
    inputs: Sequence[np.ndarray],
    *,
    given: Run,
    made: Run,
    tolerance: float,
    first: Callable[[], str] = lambda: "",
) -> None:
    """Compares the outputs of two models.

    Args:
      name: the given model's.
      inputs: what both are run on.
      tolerance: how far they may differ, as `agreement.tolerance_for` gives it.
      given: runs the given model.
      made: runs the model that was made from it.
      first: names the first layer whose outputs differ, or nothing.

    Raises:
      ModelError: they differ by more than the tolerance, or one cannot be run.
    """
    try:
        expected, received = given(inputs), made(inputs)
    except Exception as error:  # whatever a backend raises
        raise ModelError(
            f"The model {name!r} cannot be computed here, so that its counterpart cannot be "
            f"compared with it: {first_line(error)}"
        ) from error
    worst = max(map(agreement.difference, expected, received), default=0.0)
    if worst > tolerance:
        where = first()
        raise ModelError(
            f"The counterpart of {name!r} computes other outputs: on random inputs they differ by "
            f"{worst:.2g} of the largest one, expected at most {tolerance:.2g}. "
            + (f"The first layer is {where}." if where else "No single layer accounts for it.")
        )


def run_keras2(model: Any, inputs: Sequence[np.ndarray], *, like: Any = None) -> list[Any]:
    """The outputs of a tf_keras model, as a flat list.

    Args:
      model: the model.
      inputs: an array for each of its inputs.
      like: a functional model with the same inputs, where this one has none on record.
    """
    structured = tf.nest.pack_sequence_as((like or model)._nested_inputs, list(inputs))
    return tf.nest.flatten(model(structured, training=False))


def run_keras3(model: Any, inputs: Sequence[np.ndarray], *, like: Any = None) -> list[Any]:
    """The outputs of a Keras 3 model on any backend, as a flat list of TensorFlow tensors.

    Args:
      model: the model.
      inputs: an array for each of its inputs.
      like: a functional model with the same inputs, where this one has none on record.
    """
    structured = keras3.tree.pack_sequence_as((like or model)._inputs_struct, list(inputs))
    flat = keras3.tree.flatten(model(structured, training=False))
    return [tf.convert_to_tensor(np.asarray(keras3.ops.convert_to_numpy(y))) for y in flat]
