"""The moving statistics of batch normalization, taken anew from images.

After a short training, or after weights were changed, the moving averages lag behind what the
layers see: accurate in training, wrong in inference. Knows nothing of techniques.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from tfcompress._keras import keras, tf
from tfcompress.graph.kernels import leaf_layers

_BATCH = 64


def reestimate(model: Any, images: np.ndarray) -> int:
    """Sets the moving statistics of every BatchNormalization to those of images, in place.

    Each becomes the mean over batches of 64 of the batch's own mean and variance; the other layers
    compute as in inference. Weights that a training changes stay as they are.

    Args:
      model: any Keras model of one input.
      images: what it takes, float32 [n, ...]; some hundred.

    Returns:
      How many layers were given new statistics.

    Raises:
      ValueError: no images.

    Reference:
      Wu, Johnson: Rethinking "batch" in BatchNorm, 2021 (precise statistics).
    """
    if not len(images):
        raise ValueError("reestimate needs images. Received: none.")
    layers = [x for x in leaf_layers(model) if isinstance(x, keras.layers.BatchNormalization)]
    # A rest would weigh as much as a whole batch.
    whole = max(len(images) // _BATCH, 1) * _BATCH
    with _learning(layers):
        for number, start in enumerate(range(0, min(whole, len(images)), _BATCH)):
            for layer in layers:
                layer.momentum = number / (number + 1)
            model(tf.constant(images[start : start + _BATCH]), training=False)
    return len(layers)


def _in_training(call: Any, inputs: Any, training: Any = None, **kwargs: Any) -> Any:
    del training
    return call(inputs, training=True, **kwargs)


@contextmanager
def _learning(layers: Sequence[Any]) -> Iterator[None]:
    """Lets layers take statistics in what is called within, eagerly."""
    before = [(layer.momentum, layer.call, layer.trainable) for layer in layers]
    try:
        for layer in layers:
            # One that is frozen would not.
            layer.trainable = True
            layer.call = partial(_in_training, layer.call)
        yield
    finally:
        for layer, (momentum, call, trainable) in zip(layers, before, strict=True):
            layer.momentum, layer.call, layer.trainable = momentum, call, trainable
