"""Which layer gives a tensor, and which layers take it.

Knows how Keras records a functional model. Does not change anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tfcompress._keras import tf


def nodes(model: Any) -> Iterator[Any]:
    """Yields every call of a layer of a flat functional model, each after those it depends on."""
    for depth in sorted(model._nodes_by_depth, reverse=True):
        yield from model._nodes_by_depth[depth]


def consumers(model: Any) -> dict[int, list[Any]]:
    """The calls of layers that take each tensor, by the tensor's `id`.

    A call stands there once for each time that it takes the tensor; None stands for the model's
    outputs. A call has a `layer`, `keras_inputs` and `outputs`.

    Args:
      model: flat functional model.
    """
    found: dict[int, list[Any]] = {}
    for node in nodes(model):
        for tensor in [] if node.is_input else node.keras_inputs:
            found.setdefault(id(tensor), []).append(node)
    for tensor in tf.nest.flatten(model.outputs):
        found.setdefault(id(tensor), []).append(None)
    return found


def producer(tensor: Any) -> Any:
    """The layer that gave a tensor."""
    return tensor._keras_history.layer
