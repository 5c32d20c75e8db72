"""Whether two models compute the same, on random inputs, and if not, which layer is the first.

Does not know what was rewritten, or why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcompress._keras import keras, tf
from tfcompress.graph.kernels import leaf_layers
from tfcompress.graph.rebuild import Use

TOLERANCE = 1e-4
"""Of the largest output of an example, where two float32 models count as computing the same.

Rounding to float32 changes a value by up to 6e-8 of itself. Most replaced layers compute the very
same; some multiply by 1 / c instead of dividing by c, and threads add up in any order. Through the
deepest networks such errors grow to some 1e-5. A layer that computes something else shows at 1e-2.
"""
_HALF_TOLERANCES = {"float16": 1e-2, "bfloat16": 5e-2}
# Below this, what is left of a saturated sigmoid or softmax says nothing.
_LEAST = 1e-6

_BATCH = 2
_IMAGE_SIZE = 96
_SEQUENCE_LENGTH = 16
# Whether inputs are pixels or were scaled cannot be known: one example of each.
_RANGES = ((-1.0, 1.0), (0.0, 255.0))


@dataclass(frozen=True)
class Step:
    """What took the place of one call of a layer.

    Attributes:
      use: the call, on tensors of the new model.
      outputs: the tensors that the new model has for what it gave.
    """

    use: Use
    outputs: Any


def random_inputs(model: Any, *, seed: int = 0) -> list[np.ndarray]:
    """Random arrays for the inputs of a model, a batch of two where the batch is open.

    Floating-point values are drawn from [-1, 1] in the first example and from [0, 255] in the
    second, bytes from 0 to 255, and other integers, and whatever an embedding takes, from 0 and 1,
    which any embedding has. Open lengths are 96 in images and 16 in sequences.
    """
    generator = np.random.default_rng(seed)
    looked_up = _looked_up(model)
    return [_random(generator, tensor, whole=id(tensor) in looked_up) for tensor in model.inputs]


def _looked_up(model: Any) -> set[int]:
    """The ids of inputs that stand for rows of a table, in Keras 3 often as floats."""
    return {
        id(tensor)
        for layer in leaf_layers(model)
        if isinstance(layer, keras.layers.Embedding | keras.layers.CategoryEncoding)
        for node in layer._inbound_nodes
        for tensor in node.keras_inputs
    }


def disagreement(model: Any, other: Any, steps: Sequence[Step]) -> str:
    """Compares the outputs of two models on random inputs.

    Args:
      model: the model that was given.
      other: the model that shall compute the same, with the same inputs.
      steps: how it came about; where the outputs differ, the first layer is sought here.

    Returns:
      Nothing where they agree, else a sentence that begins with "computes".
    """
    inputs = random_inputs(model)
    expected = _outputs(model, inputs)
    tolerance = tolerance_for(model)
    worst = max(map(difference, expected, _outputs(other, inputs)), default=0.0)
    if worst <= tolerance:
        return ""
    if max(map(difference, expected, _outputs(model, inputs))) > 0:
        return (
            "computes outputs that cannot be compared: those of the given model differ from call "
            "to call. Pass check=False if it is meant to be random in inference."
        )
    first = _first_difference(other, inputs, steps, tolerance=tolerance)
    where = f"The first layer is {first}." if first else "No single layer accounts for it."
    return (
        f"computes other outputs: on random inputs they differ by {worst:.2g} of the largest one, "
        f"expected at most {tolerance:.2g}. {where} Pass check=False to have it all the same."
    )


def tolerance_for(model: Any) -> float:
    """How far outputs may differ that should be the same, as a part of the largest one."""
    return max(_tolerance_of(layer.compute_dtype) for layer in leaf_layers(model))


def difference(expected: Any, received: Any) -> float:
    """The largest difference of two tensors in an example, as a part of the largest value in it.

    Infinite where they differ in shape, in type, or in where they are not finite.
    """
    if expected.shape != received.shape or expected.dtype != received.dtype:
        return float("inf")
    first, second = (np.asarray(value).astype(np.float64) for value in (expected, received))
    if first.size == 0:
        return 0.0
    if not expected.dtype.is_floating:
        return 0.0 if np.array_equal(first, second) else float("inf")
    finite = np.isfinite(first)
    if not np.array_equal(first[~finite], second[~finite], equal_nan=True):
        return float("inf")
    first, second = (np.where(finite, value, 0.0) for value in (first, second))
    rows = first.reshape(len(first), -1) if first.ndim else first.reshape(1, 1)
    largest = np.maximum(np.abs(rows).max(axis=1), _LEAST / TOLERANCE)
    differences = np.abs(rows - second.reshape(rows.shape)).max(axis=1)
    return float((differences / largest).max())


def _random(generator: np.random.Generator, tensor: Any, *, whole: bool) -> np.ndarray:
    length = _IMAGE_SIZE if len(tensor.shape) > 3 else _SEQUENCE_LENGTH
    shape = [tensor.shape[0] or _BATCH, *(size or length for size in tensor.shape[1:])]
    if whole:
        return generator.integers(0, 2, shape).astype(tensor.dtype.as_numpy_dtype)
    if tensor.dtype.is_floating:
        bounds = [_RANGES[index % len(_RANGES)] for index in range(shape[0])]
        rows = [generator.uniform(*pair, shape[1:]) for pair in bounds]
        return np.stack(rows).astype(tensor.dtype.as_numpy_dtype)
    most = 256 if tensor.dtype.size == 1 and tensor.dtype.is_integer else 2
    return generator.integers(0, most, shape).astype(tensor.dtype.as_numpy_dtype)


def _outputs(model: Any, inputs: list[np.ndarray]) -> list[Any]:
    structured = tf.nest.pack_sequence_as(model._nested_inputs, inputs)
    return tf.nest.flatten(model(structured, training=False))


def _tolerance_of(dtype: str) -> float:
    return _HALF_TOLERANCES.get(dtype, TOLERANCE)


def _first_difference(
    other: Any, inputs: list[np.ndarray], steps: Sequence[Step], *, tolerance: float
) -> str:
    """The first layer whose own outputs are not those of what took its place, on its inputs."""
    tensors = {
        id(tensor): tensor
        for step in steps
        for tensor in tf.nest.flatten((step.use.args, dict(step.use.kwargs), step.outputs))
        if tf.is_tensor(tensor) and keras.backend.is_keras_tensor(tensor)
    }
    probe = keras.Model(other.inputs, list(tensors.values()))
    values = dict(zip(tensors, _outputs(probe, inputs), strict=True))

    def known(structure: Any) -> Any:
        return tf.nest.map_structure(lambda item: values.get(id(item), item), structure)

    for step in steps:
        use = step.use
        expected = use.layer(*known(use.args), **known(dict(use.kwargs)))
        pairs = zip(tf.nest.flatten(expected), tf.nest.flatten(known(step.outputs)), strict=True)
        if any(tf.is_tensor(b) and difference(a, b) > tolerance for a, b in pairs):
            return f"{use.layer.name!r} ({type(use.layer).__name__})"
    return ""
