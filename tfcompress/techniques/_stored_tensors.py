"""Which tensors of a model in integer form an int8 TFLite file stores as integers.

Knows which operators TFLite computes as one (a convolution, its BatchNormalization and its ReLU),
and what passes integers on. What a layer in float gives is handed on as it is, and quantized for
those alone that take integers. Does not know ranges.

Importing this module imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tfcompress._keras import keras, tf
from tfcompress.graph import connections
from tfcompress.techniques._integer_form import IntegerForm
from tfcompress.techniques._integer_layers import KERNEL_LAYERS, PASSES_ON

_INTEGER_OPERATORS = (
    *KERNEL_LAYERS,
    "Activation",
    "Add",
    "AveragePooling2D",
    "BatchNormalization",
    "ChannelMean",
    "Concatenate",
    "Embedding",
    "FoldedFactor",
    "GlobalAveragePooling2D",
    "LeakyReLU",
    "MatMul",
    "Multiply",
    "PReLU",
    "ReLU",
    "Reduce",
    "Rescaling",
    "Rsqrt",
    "Shift",
    "Softmax",
    "Subtract",
    "UnitClip",
)
# What TFLite computes in the operator of the kernel before it.
FOLDED = ("BatchNormalization", "FoldedFactor", "Rescaling")
# After which TFLite computes a ReLU in the same operator.
_TAKE_RELU = (*KERNEL_LAYERS, "BatchNormalization", "Add", "Subtract", "Multiply")
# Float operators that TFLite's converter turns into integers where all their operands, and what
# they give, are quantized, and not otherwise.
_SINGLE_OPERATORS = ("Add", "ChannelFactor", "MatMul", "Multiply", "Subtract")
# What the converter quantizes on its own, with a range that TFLite demands.
_FIXED_RANGES = ("Activation", "Softmax")
_INTEGERS, _FLOATS = "integers", "floats"


class StoredTensors:
    """What the file stores of the tensors of a form.

    Args:
      form: the model in integer form.

    Attributes:
      consumers: the calls that take each tensor, by the tensor's `id`.
      nodes: the calls of its layers, each after those that it depends on.
    """

    def __init__(self, form: IntegerForm) -> None:
        self.consumers = connections.consumers(form.model)
        self.nodes = list(connections.nodes(form.model))
        self._integer = _integer_layers(self.nodes, form, self.consumers)
        self._known: dict[tuple[str, int], Any] = {}

    def is_integer(self, layer: Any) -> bool:
        """Whether the file computes a layer in integers."""
        return self._integer.get(id(layer), False)

    def is_point(self, tensor: Any) -> bool:
        """Whether a tensor is quantized where it is made, at least for some that take it."""
        layer = connections.producer(tensor)
        if not tensor.dtype.is_floating or self.is_table(layer):
            return False
        if self.is_integer(layer):
            return _fused_into(tensor, self.consumers, self._integer) is None
        if is_input(layer):
            return _INTEGERS in self._wanted(tensor)
        if passes_on(layer) and self.takes_integers(node_of(tensor)):
            return False
        return any(map(self.takes_integers, self.consumers.get(id(tensor), [])))

    def is_stored(self, tensor: Any) -> bool:
        """Whether all that take a tensor get integers, those that compute in float, too."""
        return bool(self._once("stored", self._is_stored, tensor))

    def _is_stored(self, tensor: Any) -> bool:
        layer = connections.producer(tensor)
        if not tensor.dtype.is_floating:
            return False
        if self.is_integer(layer):
            return True
        if is_input(layer):
            return self.is_point(tensor)
        if passes_on(layer) and self.takes_integers(node_of(tensor)):
            return True
        ends = None in self.consumers.get(id(tensor), [])
        return ends or self._wanted(tensor) == {_INTEGERS}

    def takes_integers(self, node: Any) -> bool:
        """Whether a call takes integers where there are some.

        Args:
          node: the call of a layer; None for the model's outputs.
        """
        if node is None or self.is_integer(node.layer):
            return True
        if not passes_on(node.layer) or is_input(node.layer):
            return False
        source = node.keras_inputs[0]
        return self.is_stored(source) or all(
            self._wanted(output) == {_INTEGERS} for output in tf.nest.flatten(node.outputs)
        )

    def is_table(self, layer: Any) -> bool:
        """Whether a layer gives rows of a table that the file stores as integers."""
        return kind(layer) == "Embedding" and self.is_integer(layer)

    def needs_detour(self, node: Any) -> bool:
        """Whether the converter would turn a layer that stays in float into integers.

        It does so where all operands of an operator, and what it gives, are quantized.

        Args:
          node: the call of a layer that stays in float.
        """
        if kind(node.layer) not in _SINGLE_OPERATORS:
            return True
        floats = (tensor for tensor in node.keras_inputs if not self.is_stored(tensor))
        makers = (connections.producer(self.source(tensor)) for tensor in floats)
        if any(kind(maker) not in _FIXED_RANGES for maker in makers):
            return False
        return _INTEGERS in self._wanted(node.outputs)

    def source(self, tensor: Any) -> Any:
        """The tensor whose values are passed on as `tensor`."""
        layer = connections.producer(tensor)
        while passes_on(layer) and not is_input(layer) and not self.is_point(tensor):
            tensor = node_of(tensor).keras_inputs[0]
            layer = connections.producer(tensor)
        return tensor

    def _wanted(self, tensor: Any) -> frozenset[str]:
        """What those want that take a tensor, or take what passes its values on."""
        return frozenset(self._once("wanted", self._all_wanted, tensor))

    def _all_wanted(self, tensor: Any) -> set[str]:
        found: set[str] = set()
        for taker in self.consumers.get(id(tensor), []):
            if taker is None or self.is_integer(taker.layer):
                found.add(_INTEGERS)
            elif passes_on(taker.layer):
                found.update(*map(self._wanted, tf.nest.flatten(taker.outputs)))
            else:
                found.add(_FLOATS)
        return found

    def _once(self, what: str, find: Any, tensor: Any) -> Any:
        key = what, id(tensor)
        if key not in self._known:
            self._known[key] = find(tensor)
        return self._known[key]


def node_of(tensor: Any) -> Any:
    """The call of a layer that gave a tensor."""
    history = tensor._keras_history
    return history.layer._inbound_nodes[history.node_index]


def _integer_layers(
    nodes: Iterable[Any], form: IntegerForm, consumers: Mapping[int, list[Any]]
) -> dict[int, bool]:
    """For each layer, by its id, whether the file computes it in integers."""
    found: dict[int, bool] = {}
    for node in nodes:
        layer = node.layer
        own = form.origin.get(layer.name, layer.name)
        known = kind(layer) in _INTEGER_OPERATORS and own not in form.passed_over
        if known and kind(layer) in (*FOLDED, "ReLU"):
            before = connections.producer(node.keras_inputs[0])
            alone = len(consumers[id(node.keras_inputs[0])]) == 1
            # Part of an operator that stays in float.
            if kind(before) in _TAKE_RELU and alone and not found.get(id(before), False):
                known = False
        if known and kind(layer) == "Reduce":
            known = layer.kind == "mean"
        found[id(layer)] = known and found.get(id(layer), True)
    return found


def _fused_into(
    tensor: Any, consumers: Mapping[int, list[Any]], integer: Mapping[int, bool]
) -> Any:
    """The layer that is computed in one operator with the one that gives the tensor, or None."""
    takers = consumers.get(id(tensor), [])
    if len(takers) != 1 or takers[0] is None or not integer.get(id(takers[0].layer), False):
        return None
    taker = takers[0].layer
    before, after = kind(connections.producer(tensor)), kind(taker)
    if after in FOLDED:
        return taker if before in KERNEL_LAYERS else None
    if after == "UnitClip":
        return taker
    return taker if after == "ReLU" and before in _TAKE_RELU else None


def kind(layer: Any) -> str:
    """The name of a layer's class."""
    return type(layer).__name__


def is_input(layer: Any) -> bool:
    """Whether a layer stands for an input of its model."""
    return isinstance(layer, keras.layers.InputLayer)


def passes_on(layer: Any) -> bool:
    """Whether a layer gives values of its input, in its steps."""
    if layer is None:
        return False
    linear = kind(layer) == "Activation" and layer.activation.__name__ == "linear"
    maximum = kind(layer) == "Reduce" and layer.kind == "max"
    return kind(layer) in PASSES_ON or linear or maximum
