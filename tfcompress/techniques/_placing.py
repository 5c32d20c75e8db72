"""Puts quantizers where an int8 TFLite file quantizes: after each of its operators, once.

Takes a model in integer form. Knows which operators must keep the steps of their input (pooling),
which tensors should share one range (what is concatenated), and which ranges TFLite demands. Which
tensors are quantized is said by `_stored_tensors`.

Importing this module imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tfcompress._keras import tf
from tfcompress.graph import connections
from tfcompress.graph.rebuild import Use, rebuild
from tfcompress.techniques._integer_form import IntegerForm
from tfcompress.techniques._integer_layers import KERNEL_LAYERS
from tfcompress.techniques._kernel_ranges import Folding, KernelRange
from tfcompress.techniques._quantized_layers import (
    InFloat,
    KernelConfig,
    Quantize,
    QuantizedKernel,
    QuantizedTable,
    SteppedRsqrt,
)
from tfcompress.techniques._quantizers import ActivationRange, Calibration, FixedRange
from tfcompress.techniques._stored_tensors import (
    FOLDED,
    StoredTensors,
    is_input,
    kind,
    node_of,
    passes_on,
)

_LEAST_GAMMA = 1e-12
_MEANS = ("ChannelMean", "GlobalAveragePooling2D", "Reduce")
# Ranges that TFLite demands, whatever the data.
_FIXED = {
    "sigmoid": (0.0, 255 / 256),
    "softmax": (0.0, 255 / 256),
    "tanh": (-1.0, 127 / 128),
    "unit": (0.0, 1.0),
}


@dataclass(frozen=True)
class Settings:
    """How tensors are quantized.

    Attributes:
      range_decay: of the moving average of activation ranges.
    """

    range_decay: float


@dataclass
class Placing:
    """What is known while quantizers are put into one model.

    Attributes:
      form: the model in integer form.
      settings: how tensors are quantized.
      calibration: shared by the quantizers.
      points: after `build`, the layer that quantizes a tensor of the form, by the tensor's `id`.
    """

    form: IntegerForm
    settings: Settings
    calibration: Calibration = field(default_factory=Calibration)
    points: dict[int, Quantize] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._stored = StoredTensors(self.form)
        self._quantizers = self._chosen_quantizers()
        self._wrappers: dict[int, QuantizedKernel] = {}
        self._tables: dict[int, QuantizedTable] = {}
        self._inputs: dict[int, Any] = {}
        self._floats: dict[str, Any] = {}
        # By the `id` of what a layer in float gives: that itself, and quantized for who takes that.
        self._branches: dict[int, tuple[Any, Any]] = {}
        # Of a kernel's layer: the layer itself, its quantizer, what it reads, what follows.
        self._bounds: dict[int, dict[str, Any]] = {}

    def build(self) -> Any:
        """The model with its quantizers, their ranges empty."""
        model = rebuild(self.form.model, self.replace)
        self.bound_biases()
        keep_channels_on(model)
        measure_kernels(model)
        return model

    @property
    def quantized(self) -> frozenset[int]:
        """The tensors of the form that are quantized, by `id`."""
        return frozenset(self._quantizers)

    def kernels(self) -> dict[str, QuantizedKernel]:
        """The wrappers of the integer kernels by the name of their layer, after `build`."""
        return {wrapper.layer.name: wrapper for wrapper in self._wrappers.values()}

    def neighbours(self, tensor: int) -> list[str]:
        """The layers of the form that would have to be in float, for a tensor to be so.

        Those of the operator that gives it and of those that take it, through what passes it on.

        Args:
          tensor: `id` of one of `quantized`.
        """
        node = next(
            n for n in self._stored.nodes for t in tf.nest.flatten(n.outputs) if id(t) == tensor
        )
        own = next(t for t in tf.nest.flatten(node.outputs) if id(t) == tensor)
        return [*self._operator(node), *self._takers(own)]

    def _operator(self, node: Any) -> list[str]:
        """The layers that the file computes in one operator with the given one, or before it."""
        names = [node.layer.name]
        for given in node.keras_inputs:
            before = connections.producer(given)
            fused = id(given) not in self._quantizers and self._stored.is_integer(before)
            if (passes_on(before) and not is_input(before)) or fused:
                names += self._operator(before._inbound_nodes[given._keras_history.node_index])
        return names

    def _takers(self, tensor: Any) -> list[str]:
        names = []
        for taker in self._stored.consumers.get(id(tensor), []):
            if taker is None:
                continue
            names.append(taker.layer.name)
            if passes_on(taker.layer):
                for output in tf.nest.flatten(taker.outputs):
                    names += self._takers(output)
        return names

    # Which tensors.

    def _chosen_quantizers(self) -> Mapping[int, Any]:
        """A quantizer for each tensor of the form that is quantized, by the tensor's id."""
        chosen: dict[int, Any] = {}
        # From the last to the first: what is concatenated takes the range of the whole.
        for node in reversed(self._stored.nodes):
            for tensor in tf.nest.flatten(node.outputs):
                if self._stored.is_point(tensor):
                    chosen[id(tensor)] = self._quantizer(tensor, chosen)
        # From the first to the last: pooling keeps the steps of what it pools.
        for node in self._stored.nodes:
            if kind(node.layer) == "AveragePooling2D" and id(node.outputs) in chosen:
                taken, source = node.keras_inputs[0], self._stored.source(node.keras_inputs[0])
                if id(source) in chosen:
                    following = self._following(chosen[id(source)])
                    chosen[id(node.outputs)] = following
                    # Where a maximum is pooled again, the converter leaves whatever else takes it
                    # in float, unless it is said to be quantized.
                    if taken is not source:
                        chosen[id(taken)] = following
            if kind(node.layer) in _MEANS and _is_learned(chosen.get(id(node.outputs))):
                source = self._stored.source(node.keras_inputs[0])
                quantizer = chosen[id(node.outputs)]
                quantizer.mean_of = None if quantizer.root else chosen.get(id(source))
        return chosen

    def _quantizer(self, tensor: Any, chosen: Mapping[int, Any]) -> Any:
        layer = connections.producer(tensor)
        fixed = _FIXED.get(_fixed_name(layer)) if self._stored.is_integer(layer) else None
        if fixed:
            return FixedRange(*fixed, calibration=self.calibration)
        whole = [
            taker
            for taker in self._stored.consumers[id(tensor)]
            if taker and kind(taker.layer) == "Concatenate" and self._stored.is_integer(taker.layer)
        ]
        if len(whole) == 1 and id(whole[0].outputs) in chosen:
            return self._following(chosen[id(whole[0].outputs)])
        return ActivationRange(
            self.settings.range_decay,
            calibration=self.calibration,
            of_input=is_input(layer),
            nonnegative=kind(layer) == "ReLU" and not layer.negative_slope,
        )

    def _following(self, quantizer: Any) -> Any:
        if isinstance(quantizer, FixedRange):
            return quantizer
        root = quantizer.root or quantizer
        return ActivationRange(self.settings.range_decay, calibration=self.calibration, root=root)

    # Building the model.

    def replace(self, use: Use) -> Any:
        """The outputs of one call, quantized where the file quantizes them."""
        inputs = tf.nest.map_structure(self._quantized_input, use.args)
        call = node_of(tf.nest.flatten(use.outputs)[0])
        inputs = tf.nest.map_structure(partial(self._handed, call), inputs)
        layer = self._layer(use)
        outputs = inputs[0] if layer is None else layer(*inputs, **use.kwargs)
        own = tf.nest.flatten(use.outputs)
        pairs = zip(own, tf.nest.flatten(outputs), strict=True)
        flat = [self._quantized(*pair, use, number) for number, pair in enumerate(pairs)]
        return tf.nest.pack_sequence_as(outputs, flat)

    def _layer(self, use: Use) -> Any:
        """What is called in the layer's place; None for a clipping that quantization does."""
        of_kind = kind(use.layer)
        if not self._stored.is_integer(use.layer):
            return use.fresh()
        if of_kind in KERNEL_LAYERS:
            return self._wrapped(use)
        if of_kind == "Embedding":
            return self._table(use)
        if of_kind == "UnitClip":
            return None
        if of_kind == "Rsqrt":
            source = self._quantizers.get(id(self._stored.source(use.inputs[0])))
            return use.instead(lambda name: SteppedRsqrt(source, name=name, dtype="float32"))
        fresh = use.fresh()
        if of_kind in FOLDED:
            before = connections.producer(use.inputs[0])
            self._bounds[id(before)]["normalization"] = fresh
        return fresh

    def _table(self, use: Use) -> QuantizedTable:
        if id(use.layer) not in self._tables:
            config = KernelConfig("embeddings", KernelRange(per_channel=False, depthwise=False))
            self._tables[id(use.layer)] = QuantizedTable(_built(use), config, dtype="float32")
        return self._tables[id(use.layer)]

    def _wrapped(self, use: Use) -> QuantizedKernel:
        layer = use.layer
        if id(layer) not in self._wrappers:
            depthwise = "Depthwise" in kind(layer)
            quantizer = KernelRange(per_channel=kind(layer) != "Dense", depthwise=depthwise)
            fresh = _built(use)
            config = KernelConfig("depthwise_kernel" if depthwise else "kernel", quantizer)
            self._wrappers[id(layer)] = QuantizedKernel(fresh, config, dtype="float32")
            source = self._quantizers.get(id(self._stored.source(use.inputs[0])))
            self._bounds[id(layer)] = {
                "layer": fresh,
                "quantizer": quantizer,
                "source": source,
                "normalization": None,
            }
        return self._wrappers[id(layer)]

    def bound_biases(self) -> None:
        """Tells each kernel's quantizer how wide a range its channels' biases need."""
        for bound in self._bounds.values():
            if bound["source"] is not None:
                bound["quantizer"].folding = Folding(
                    bound["layer"], bound["normalization"], bound["source"]
                )

    def _quantized_input(self, tensor: Any) -> Any:
        """The model's input, quantized once for all that take it."""
        if not is_input(connections.producer(tensor)):
            return tensor
        if id(tensor) not in self._inputs:
            own = next(t for t in self.form.model.inputs if t.name == tensor.name)
            quantizer = self._quantizers.get(id(own))
            self._inputs[id(tensor)] = (
                self._point(own, quantizer, f"{tensor.name}_range", tensor) if quantizer else tensor
            )
        return self._inputs[id(tensor)]

    def _handed(self, call: Any, tensor: Any) -> Any:
        """A tensor as a call takes it: in integers, or as a float that the file computes with."""
        if self._stored.takes_integers(call):
            return self._branches.get(id(tensor), (None, tensor))[1]
        layer = connections.producer(tensor)
        while passes_on(layer) and not is_input(layer):
            layer = connections.producer(tf.nest.flatten(layer.input)[0])
        stored = isinstance(layer, Quantize | QuantizedTable)
        if not stored or passes_on(call.layer) or not self._stored.needs_detour(call):
            return tensor
        name = f"{connections.producer(tensor).name}_float"
        if name not in self._floats:
            self._floats[name] = InFloat(name=name, dtype="float32")(tensor)
        return self._floats[name]

    def _quantized(self, own: Any, new: Any, use: Use, output: int) -> Any:
        quantizer = self._quantizers.get(id(own))
        if quantizer is None:
            return new
        number = "" if len(use.layer._inbound_nodes) == 1 else f"_{own._keras_history.node_index}"
        of_output = f"_output{output}" if output else ""
        name = f"{use.layer.name}_range{number}{of_output}"
        quantized = self._point(own, quantizer, name, new)
        if self._stored.is_stored(own):
            return quantized
        self._branches[id(new)] = new, quantized
        return new

    def _point(self, own: Any, quantizer: Any, name: str, new: Any) -> Any:
        self.points[id(own)] = Quantize(quantizer, name=name, dtype="float32")
        return self.points[id(own)](new)


def _built(use: Use) -> Any:
    """A layer like the used one, with its weights."""
    fresh = type(use.layer).from_config(use.layer.get_config())
    with tf.name_scope(use.layer.name):
        fresh.build(use.inputs[0].shape)
    fresh.set_weights(use.layer.get_weights())
    return fresh


def _fixed_name(layer: Any) -> str:
    if kind(layer) == "Activation":
        return str(layer.activation.__name__)
    return {"UnitClip": "unit", "Softmax": "softmax"}.get(kind(layer), "")


def measure_kernels(model: Any) -> None:
    """Sets the ranges of all kernels to what they and their biases need."""
    for layer in model.layers:
        if isinstance(layer, QuantizedKernel):
            layer.measure()


def keep_channels_on(model: Any) -> None:
    """Gives channels that BatchNormalization multiplies by zero next to nothing instead.

    TFLite's converter leaves a convolution in float where a channel has no weight range at all.
    """
    for layer in model.layers:
        if kind(layer) == "BatchNormalization" and layer.scale:
            gamma = layer.gamma
            off = tf.abs(gamma) < _LEAST_GAMMA
            gamma.assign(tf.where(off, tf.ones_like(gamma) * _LEAST_GAMMA, gamma))


def _is_learned(quantizer: Any) -> bool:
    return isinstance(quantizer, ActivationRange)
