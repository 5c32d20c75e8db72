"""How much each unit of channels matters to a model: from its weights, or from gradients.

Knows the criteria. Does not choose what is removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfcompress._keras import keras, tf
from tfcompress.graph.channels import CONSUMES, PRODUCES, ChannelGraph, Slot
from tfcompress.graph.kernels import is_kernel, weight_name
from tfcompress.graph.outputs import final_activation, unit_scale
from tfcompress.graph.rebuild import in_float32
from tfcompress.techniques._calibration import require_calibration

_BATCH = 32


def importance(model: Any, graph: ChannelGraph, criterion: str, *, examples: Any) -> np.ndarray:
    """Rates every unit of channels.

    Args:
      model: flat functional model.
      graph: its channels.
      criterion: one of `CRITERIA`.
      examples: inputs and targets, for `"taylor"`.

    Returns:
      float64 [units], at least 0; NaN for units of which the criterion says nothing.
    """
    return CRITERIA[criterion](model, graph, examples)


def _by_norm(order: int) -> Callable[[Any, ChannelGraph, Any], np.ndarray]:
    def rated(model: Any, graph: ChannelGraph, examples: Any) -> np.ndarray:
        del examples
        norms = []
        for slot, weight in _weights(model, graph):
            if slot.role == PRODUCES and is_kernel(weight):
                rows = np.moveaxis(weight.numpy(), slot.axis, 0).reshape(len(slot.units), -1)
                norms.append((slot, np.linalg.norm(rows.astype(np.float64), ord=order, axis=1)))
        return _mean_by_unit(graph, norms)

    return rated


def _by_scale(model: Any, graph: ChannelGraph, examples: Any) -> np.ndarray:
    del examples
    scales = [
        (slot, np.abs(weight.numpy().astype(np.float64)))
        for slot, weight in _weights(model, graph)
        if weight_name(weight) == "gamma"
        and isinstance(model.get_layer(slot.layer), keras.layers.BatchNormalization)
    ]
    return _mean_by_unit(graph, scales)


def _by_taylor(model: Any, graph: ChannelGraph, examples: Any) -> np.ndarray:
    """The squared first-order change of the loss if all weights that make the unit were zero.

    Of a head, if all weights that take what it gives were: without query and key it would attend to
    all alike, which tells nothing. In float32, also of a model in half precision, whose small
    gradients would be zero.

    Reference:
      Michel, Levy, Neubig: Are sixteen heads really better than one?, NeurIPS 2019.
    """
    model = in_float32(model)
    by_what_is_taken = _heads_that_kernels_take(graph)
    pairs = [
        (slot, weight)
        for slot, weight in _weights(model, graph)
        if weight.trainable and (by_what_is_taken[slot.units] != slot.zeroes).any()
    ]
    total, batches = np.zeros(graph.count), 0
    for gradients in _gradients(model, [weight for _, weight in pairs], examples):
        change = np.zeros(graph.count)
        for (slot, weight), gradient in zip(pairs, gradients, strict=True):
            product = np.moveaxis(weight.numpy() * gradient, slot.axis, 0)
            sums = product.reshape(len(slot.units), -1).sum(axis=1)
            sums *= by_what_is_taken[slot.units] != slot.zeroes
            change += np.bincount(slot.units, weights=sums, minlength=graph.count)
        total, batches = total + change**2, batches + 1
    return total / max(batches, 1)


def _heads_that_kernels_take(graph: ChannelGraph) -> np.ndarray:
    """Which units they are, bool [units]."""
    taken = np.zeros(graph.count, bool)
    for slot in graph.slots:
        taken[slot.units] |= slot.role == CONSUMES
    return taken & np.isin(np.arange(graph.count), list(graph.heads))


def _gradients(model: Any, weights: list[Any], examples: Any) -> Iterator[list[np.ndarray]]:
    inputs, targets = map(np.asarray, examples)
    if np.issubdtype(targets.dtype, np.integer):
        logits = final_activation(model) != "softmax"
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    else:
        # Values weigh alike, whatever their units.
        scale, squares = unit_scale(model), keras.losses.MeanSquaredError()

        def loss(wanted: Any, outputs: Any) -> Any:
            return squares(tf.cast(wanted, tf.float32) / scale, outputs / scale)

    @tf.function
    def gradients(batch: Any, wanted: Any) -> Any:
        with tf.GradientTape() as tape:
            lost = loss(wanted, model(batch, training=False))
        found = tape.gradient(lost, weights, unconnected_gradients="zero")
        return [tf.cast(tf.convert_to_tensor(gradient), tf.float32) for gradient in found]

    for start in range(0, len(inputs), _BATCH):
        batch = slice(start, start + _BATCH)
        found = gradients(tf.constant(inputs[batch]), tf.constant(targets[batch]))
        yield [gradient.numpy() for gradient in found]


def require_examples(examples: Any, model: Any) -> None:
    """Refuses examples that a loss cannot be computed of.

    Args:
      examples: inputs and targets.
      model: of one input and one output.

    Raises:
      ValueError: no pair of them, or of other shapes or types.
    """
    what = "ChannelPruningConfig.examples"
    if not (isinstance(examples, tuple | list) and len(examples) == 2):
        raise ValueError(
            f"{what} must be a pair, inputs and targets. Received: {type(examples).__name__}."
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            f"prune_channels(importance=taylor) takes a model of one input and one output. "
            f"Received: {len(model.inputs)} and {len(model.outputs)}. Rate its channels by l2."
        )
    inputs, targets = map(np.asarray, examples)
    require_calibration(inputs, model, what=f"{what}: inputs")
    shape = (len(inputs), *model.output_shape[1:])
    classes = shape[-1] or 0
    if np.issubdtype(targets.dtype, np.integer):
        fits = _of_shape(targets, shape[:-1]) and 0 <= targets.min() <= targets.max() < classes
    else:
        fits = _of_shape(targets, shape) and bool(np.isfinite(targets).all())
    if not fits:
        ends = f" from {targets.min()} to {targets.max()}" if targets.size else ""
        raise ValueError(
            f"{what}: targets must be classes, integers {list(shape[:-1])} from 0 to "
            f"{classes - 1}, or finite numbers {list(shape)}. Received: {targets.dtype} "
            f"{list(targets.shape)}{ends}."
        )


def _of_shape(array: np.ndarray, shape: Sequence[int | None]) -> bool:
    """Whether an array has a shape, of which None may be anything."""
    pairs = zip(array.shape, shape, strict=False)
    return array.ndim == len(shape) and all(size in (None, own) for own, size in pairs)


CRITERIA: Mapping[str, Callable[[Any, ChannelGraph, Any], np.ndarray]] = {
    "l1": _by_norm(1),
    "l2": _by_norm(2),
    "bn_scale": _by_scale,
    "taylor": _by_taylor,
}


def _weights(model: Any, graph: ChannelGraph) -> Iterator[tuple[Slot, Any]]:
    for slot in graph.slots:
        yield slot, model.get_layer(slot.layer).weights[slot.weight]


def _mean_by_unit(graph: ChannelGraph, rated: list[tuple[Slot, np.ndarray]]) -> np.ndarray:
    """The mean over all that a unit consists of, in units of the mean of its layer."""
    total, count = np.zeros(graph.count), np.zeros(graph.count)
    for slot, values in rated:
        relative = values / max(values.mean(), np.finfo(np.float64).tiny)
        total += np.bincount(slot.units, weights=relative, minlength=graph.count)
        count += np.bincount(slot.units, minlength=graph.count)
    with np.errstate(invalid="ignore"):
        return total / count
