"""Lets TensorFlow's converter see a Keras model in the operators that it can take, and in few.

Knows which layers are traced into others: loops of an open batch, and shapes that a call computes
although they are known. Does not know formats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tfcompress._keras import keras, tf
from tfcompress.graph.lengths import any_length


@contextmanager
def for_converter(model: keras.Model) -> Iterator[None]:
    """Within it a model can be traced for the converter, with any length of text.

    Args:
      model: functional, or one that holds such models.
    """
    with ExitStack() as stack:
        for setting in (any_length, _unrolled, _known_shapes):
            stack.enter_context(setting(model))
        yield


def _layers(model: keras.Model, kind: type) -> list[Any]:
    """Its layers of a kind, also within models and wrappers; each once."""
    found = (layer for owner in model.layers for layer in owner._flatten_layers())
    return list({id(layer): layer for layer in found if isinstance(layer, kind)}.values())


@contextmanager
def _unrolled(model: keras.Model) -> Iterator[None]:
    """Lets recurrent layers be traced step by step: the converter takes no loop of an open batch.

    The steps are those of the loop, in the same order.
    """
    # LSTM and GRU choose a loop of their own where a GPU could run it.
    settings = {"unroll": True, "_could_use_gpu_kernel": False}
    recurrent = _layers(model, keras.layers.RNN)
    places = [(layer, name) for layer in recurrent for name in settings if hasattr(layer, name)]
    before = [getattr(*place) for place in places]
    try:
        for layer, name in places:
            setattr(layer, name, settings[name])
        yield
    finally:
        for (layer, name), value in zip(places, before, strict=True):
            setattr(layer, name, value)


@contextmanager
def _known_shapes(model: keras.Model) -> Iterator[None]:
    """Lets `Reshape` layers be traced with a constant shape, but for the batch.

    Keras has each call read the batch and put the shape together: three operators more.
    """
    layers = _layers(model, keras.layers.Reshape)
    try:
        for layer in layers:
            vars(layer)["call"] = _reshape(layer)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("call", None)


def _reshape(layer: Any) -> Callable[[Any], Any]:
    def call(inputs: Any) -> Any:
        shape = layer.compute_output_shape(inputs.shape)[1:]
        if None in shape:
            return type(layer).call(layer, inputs)
        return tf.reshape(inputs, [-1, *shape])

    return call
