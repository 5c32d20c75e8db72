"""Takes channels out of a model: a smaller model that computes the same without them.

Knows which settings of a layer hold its number of channels. Which channels go together is said by
`channels`; which ones go is the caller's choice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfcompress.graph import agreement, cost
from tfcompress.graph.channels import PRODUCES, ChannelGraph, Slot
from tfcompress.graph.kernels import Kernel, is_kernel
from tfcompress.graph.rebuild import Use, copied, rebuild

if TYPE_CHECKING:
    import tensorflow


class ChannelRemovalError(RuntimeError):
    """A model without channels computes something else than with these channels set to zero."""


def without(model: Any, graph: ChannelGraph, removed: np.ndarray, *, check: bool = True) -> Any:
    """Returns a model that lacks the channels of some units; the given one stays as it is.

    Args:
      model: flat functional model.
      graph: its channels.
      removed: bool [units], True for those that go.
      check: compare the outputs on random inputs with those of the given model in which the
        channels are set to zero. They may differ by 1e-4 of the largest (`agreement.TOLERANCE`).

    Raises:
      ValueError: a unit is named that must stay, or some layer would keep no channel.
      ChannelRemovalError: the outputs differ.
    """
    _require_removable(graph, removed)
    kept = ~removed

    def replace(use: Use) -> Any:
        settings = _settings(use, graph, kept)
        slots = [s for s in graph.by_layer.get(use.layer.name, ()) if not kept[s.units].all()]
        if not (slots or settings):
            return use.again()
        layer = use.instead(
            lambda name: type(use.layer).from_config(
                {**use.layer.get_config(), **settings, "name": name}
            ),
            weights=_kept_weights(use.layer, slots, kept),
        )
        return layer(*use.args, **use.kwargs)

    smaller = rebuild(model, replace)
    if check:
        difference = agreement.disagreement(zeroed(model, graph, removed), smaller, ())
        if difference:
            raise ChannelRemovalError(f"{model.name!r} without channels {difference}")
    return smaller


def zeroed(model: Any, graph: ChannelGraph, removed: np.ndarray) -> Any:
    """Returns a copy of a model in which the channels of some units are zero, shifts included."""
    copy = copied(model)
    for variable, values in zeros(copy, graph, removed):
        variable.assign(values)
    return copy


def zeros(
    model: Any, graph: ChannelGraph, removed: np.ndarray
) -> list[tuple[tensorflow.Variable, np.ndarray]]:
    """The weights of a model that change where the channels of some units become zero.

    Args:
      model: the one of the graph, or a copy of it.
      graph: its channels.
      removed: bool [units], True for those that become zero.

    Returns:
      each variable with its new values.
    """
    found: dict[int, tuple[Any, np.ndarray]] = {}
    for name, slots in graph.by_layer.items():
        layer = model.get_layer(name)
        for slot in slots:
            if slot.zeroes and removed[slot.units].any():
                variable = layer.weights[slot.weight]
                _, values = found.setdefault(id(variable), (variable, variable.numpy().copy()))
                np.moveaxis(values, slot.axis, 0)[removed[slot.units]] = 0.0
    return list(found.values())


class Remaining:
    """What a model costs without some of its channels, counted without building it.

    Args:
      model: flat functional model of fixed input size.
      graph: its channels.
    """

    def __init__(self, model: Any, graph: ChannelGraph) -> None:
        self._model = model
        self._graph = graph
        self._macs = cost.macs_by_kernel(model)
        products = cost.macs_of_products(model)
        self._products = [node for node in cost.calls(model) if node.layer.name in products]
        self._open = None in [*self._macs.values(), *products.values()]
        self._weights: list[tuple[int, int, list[np.ndarray]]] = []
        for layer in model.layers:
            slots = graph.by_layer.get(layer.name, ())
            for position, weight in enumerate(layer.weights):
                own = [slot.units for slot in slots if slot.weight == position]
                size = int(np.prod(weight.shape))
                self._weights.append((size, self._multiplied(layer, weight), own))

    def _multiplied(self, layer: Any, weight: Any) -> int:
        if not is_kernel(weight):
            return 0
        return self._macs.get((layer.name, Kernel(layer, layer.name, weight).part)) or 0

    def parameters(self, kept: np.ndarray) -> int:
        """Elements of all weights, trainable or not.

        Args:
          kept: bool [units].
        """
        return sum(round(size * _fraction(own, kept)) for size, _, own in self._weights)

    def macs(self, kept: np.ndarray) -> int:
        """Multiply-accumulates of one example, as `cost.macs` counts them.

        Args:
          kept: bool [units].

        Raises:
          ValueError: the size of an input is open.
        """
        if self._open:
            cost.macs(self._model)
        return sum(round(macs * _fraction(own, kept)) for _, macs, own in self._weights) + sum(
            self._product(node, kept) for node in self._products
        )

    def _product(self, node: Any, kept: np.ndarray) -> int:
        shapes = [_kept_shape(tensor, self._graph, kept) for tensor in node.keras_inputs]
        return cost.product_macs(node.layer, shapes) or 0


def _fraction(slots: list[np.ndarray], kept: np.ndarray) -> float:
    """The part of a weight that is left."""
    return float(np.prod([kept[units].mean() for units in slots]))


def _require_removable(graph: ChannelGraph, removed: np.ndarray) -> None:
    if removed.shape != (graph.count,) or removed.dtype != bool:
        raise ValueError(
            f"removed must be bool [{graph.count}], one for each unit. "
            f"Received: {removed.dtype} {list(removed.shape)}."
        )
    for unit in np.flatnonzero(removed):
        if int(unit) in graph.reasons:
            raise ValueError(f"Unit {unit} must stay: {graph.reasons[int(unit)]}.")
    for slot in graph.slots:
        if removed[slot.units].all():
            raise ValueError(
                f"The layer {slot.layer} would keep none of its {len(slot.units)} channels. "
                "Leave it at least one."
            )


def _kept_weights(layer: Any, slots: list[Slot], kept: np.ndarray) -> list[np.ndarray]:
    weights = layer.get_weights()
    for slot in slots:
        weights[slot.weight] = weights[slot.weight].compress(kept[slot.units], axis=slot.axis)
    return weights


def _settings(use: Use, graph: ChannelGraph, kept: np.ndarray) -> dict[str, Any]:
    """What changes in a layer's own description."""
    layer, kind = use.layer, type(use.layer).__name__
    slots = graph.by_layer.get(layer.name, ())
    produced = next((s.units for s in slots if s.role == PRODUCES), None)
    if produced is not None and not kept[produced].all():
        count, name = int(kept[produced].sum()), "units" if kind == "Dense" else "filters"
        groups = getattr(layer, "groups", 1)
        whole = {"groups": groups * count // len(produced)} if groups > 1 else {}
        return {name: count, **whole}
    if kind == "Reshape":
        return _target_shape(use, graph, kept)
    if kind == "Slice":
        return _slice_key(use, graph, kept)
    return {}


def _target_shape(use: Use, graph: ChannelGraph, kept: np.ndarray) -> dict[str, Any]:
    shape = _kept_shape(use.outputs, graph, kept)
    if shape == list(use.outputs.shape[1:]):
        return {}
    # What followed from the other lengths follows from them again, for texts of any length.
    pairs = zip(use.layer.target_shape, shape, strict=True)
    return {"target_shape": [given if given == -1 else size for given, size in pairs]}


def _kept_shape(tensor: Any, graph: ChannelGraph, kept: np.ndarray) -> list[int]:
    """What is left of a tensor's shape, without the batch."""
    sizes = list(tensor.shape[1:])
    units = graph.tensors.get(id(tensor))
    if units is None:
        return sizes
    for axis, size in enumerate(units.shape):
        if size > 1:
            others = tuple(other for other in range(units.ndim) if other != axis)
            sizes[axis] = int(kept[units].any(axis=others).sum())
    return sizes


def _slice_key(use: Use, graph: ChannelGraph, kept: np.ndarray) -> dict[str, Any]:
    units, key = graph.tensors.get(id(use.inputs[0])), list(use.layer.key)
    for axis, size in enumerate(() if units is None else units.shape):
        if size > 1 and axis < len(key) and not kept[units].all():
            begin, end, _ = slice(*key[axis]).indices(size)
            before = np.concatenate([[0], np.cumsum(kept[units].reshape(-1))])
            key[axis] = [int(before[begin]), int(before[max(begin, end)]), None]
    return {} if key == list(use.layer.key) else {"key": key}
