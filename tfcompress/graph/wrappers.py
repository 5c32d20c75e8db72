"""Takes a model that TF-MOT has wrapped back to plain layers.

Knows TF-MOT's wrappers for pruning, clustering and quantization, and which of them can be taken off
without a loss. Does not know our own techniques.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tfcompress._keras import keras, tfmot
from tfcompress.graph.kernels import leaf_layers, plain_layer, require_finite
from tfcompress.graph.rebuild import copied, require_functional

_PRUNED = "PruneLowMagnitude"
_CLUSTERED = "ClusterWeights"
_ANNOTATED = "QuantizeAnnotate"
_QUANTIZED = ("QuantizeWrapper", "QuantizeLayer")


def is_wrapped(model: Any) -> bool:
    """Whether TF-MOT has wrapped layers of a model."""
    return any(plain_layer(layer) is not layer for layer in leaf_layers(model))


def plain_copy(model: Any, *, technique: str) -> Any:
    """A copy with layers and weights of its own, without TF-MOT's wrappers.

    What `prune_low_magnitude` and `cluster_weights` made stays in the weights: zeros and equal
    values. Annotations of `quantize_annotate_layer` are dropped.

    Args:
      model: functional or sequential model, wrapped or not; it stays as it is.
      technique: who asks, for the message.

    Raises:
      ValueError: `quantize_model` or `quantize_apply` made the model, TF-MOT cannot take its own
        wrappers off, the model is a subclassed one, or weights are NaN or infinite.
    """
    require_functional(model)
    require_finite(model, what=technique)
    layers = list(leaf_layers(model))
    quantized = next((layer for layer in layers if _is(layer, *_QUANTIZED)), None)
    if quantized is not None:
        raise ValueError(
            f"{technique} cannot start from a quantized model: its layer {quantized.name} emulates "
            "int8. Give it the model that was quantized, and quantize what comes out."
        )
    if any(_is(layer, _PRUNED, _CLUSTERED) for layer in layers):
        model = _stripped(model, technique=technique)
    if any(_is(layer, _ANNOTATED) for layer in layers):
        return _without_annotations(model)
    return copied(model)


def _is(layer: Any, *kinds: str) -> bool:
    """Whether a class of TF-MOT's of such a name is among a layer's classes."""
    return plain_layer(layer) is not layer and any(k.__name__ in kinds for k in type(layer).__mro__)


def _stripped(model: Any, *, technique: str) -> Any:
    try:
        with _calls_kept(model):
            stripped = tfmot.sparsity.keras.strip_pruning(model)
            stripped = tfmot.clustering.keras.strip_clustering(stripped)
            return copied(stripped)
    except (ValueError, AttributeError, TypeError) as error:
        # Seen with cluster_weights on a MultiHeadAttention: its kernels lose an axis.
        raise ValueError(
            f"{technique} cannot take TF-MOT's wrappers off this model: {error} "
            "Give it the model as it was before they were put on."
        ) from error


@contextmanager
def _calls_kept(model: Any) -> Iterator[None]:
    """Lets a model's layers forget where they are called meanwhile.

    TF-MOT's strip builds a model of the very same layers, and a layer that was called twice has no
    `output` of its own any more.
    """
    layers = {
        id(part): part for layer in leaf_layers(model) for part in (layer, plain_layer(layer))
    }
    before = [
        (calls, list(calls))
        for layer in layers.values()
        for calls in (layer._inbound_nodes, layer._outbound_nodes)
    ]
    try:
        yield
    finally:
        for calls, kept in before:
            calls[:] = kept


def _without_annotations(model: Any) -> Any:
    def plain(layer: Any) -> Any:
        if isinstance(layer, keras.Model):
            return keras.models.clone_model(layer, clone_function=plain)
        inner = plain_layer(layer)
        return type(inner).from_config(inner.get_config())

    copy = keras.models.clone_model(model, clone_function=plain)
    copy.set_weights(model.get_weights())
    return copy
