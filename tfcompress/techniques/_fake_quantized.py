"""Puts quantizers where an int8 TFLite file quantizes: after each of its operators, once.

Takes a model in integer form. Knows which operators TFLite computes as one (a convolution, its
BatchNormalization and its ReLU), which must keep the steps of their input (pooling), and which
tensors should share one range (what is concatenated).

Importing this module imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tfcompress._keras import keras, tf
from tfcompress.graph import connections
from tfcompress.graph.rebuild import Use, rebuild
from tfcompress.techniques._integer_form import KERNEL_LAYERS, PASSES_ON, IntegerForm
from tfcompress.techniques._quantized_layers import (
    InFloat,
    KernelConfig,
    Quantize,
    QuantizedKernel,
    SteppedRsqrt,
)
from tfcompress.techniques._quantizers import (
    ActivationRange,
    Calibration,
    FixedRange,
    Folding,
    KernelRange,
    Observe,
)

_INTEGER_OPERATORS = (
    *KERNEL_LAYERS,
    "Activation",
    "Add",
    "AveragePooling2D",
    "BatchNormalization",
    "ChannelMean",
    "Concatenate",
    "GlobalAveragePooling2D",
    "LeakyReLU",
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
_FOLDED = ("BatchNormalization", "Rescaling")
_MEANS = ("ChannelMean", "GlobalAveragePooling2D", "Reduce")
# After which TFLite computes a ReLU in the same operator.
_TAKE_RELU = (*KERNEL_LAYERS, "BatchNormalization", "Add", "Subtract", "Multiply")
# Ranges that TFLite demands, whatever the data.
_FIXED = {
    "sigmoid": (0.0, 255 / 256),
    "softmax": (0.0, 255 / 256),
    "tanh": (-1.0, 127 / 128),
    "unit": (0.0, 1.0),
}
_CALIBRATION_BATCH = 32
PLAIN_MEAN = 1 - 1e-6
"""A range decay with which up to a million batches count alike."""
_LEAST_GAMMA = 1e-12


@dataclass(frozen=True)
class Settings:
    """How tensors are quantized.

    Attributes:
      range_decay: of the moving average of activation ranges.
    """

    range_decay: float


def fake_quantized(form: IntegerForm, settings: Settings, *, images: Any = None) -> Any:
    """Returns a model that computes as its int8 file will, ready to be trained.

    Args:
      form: the model in integer form.
      settings: how to quantize.
      images: what the model takes, float32 [examples, ...] for each input: activation ranges are
        read from it. Without it ranges start with the first batch of the training.
    """
    placing = Placing(form, settings)
    model = placing.build()
    if images is not None:
        calibrate(model, images, placing.calibration)
    return model


def calibrate(
    model: Any, images: Any, calibration: Calibration, *, observe: Observe | None = None
) -> None:
    """Reads activation ranges from images, then the kernels' ranges, which depend on them.

    Args:
      model: fake-quantized.
      images: what it takes.
      calibration: that of its quantizers.
      observe: see `Calibration.run`.
    """
    inputs = tf.nest.flatten(images)
    with calibration.run(observe):
        for start in range(0, len(inputs[0]), _CALIBRATION_BATCH):
            batch = [tf.constant(one[start : start + _CALIBRATION_BATCH]) for one in inputs]
            model(tf.nest.pack_sequence_as(model._nested_inputs, batch), training=False)
    measure_kernels(model)


def measure_kernels(model: Any) -> None:
    """Sets the ranges of all kernels to what they and their biases need."""
    for layer in model.layers:
        if isinstance(layer, QuantizedKernel):
            layer.measure()


def settle(model: Any) -> None:
    """Moves what the file would round to where it rounds nothing: ranges of means, then biases."""
    _keep_channels_on(model)
    quantizers = [layer.quantizer for layer in model.layers if isinstance(layer, Quantize)]
    for quantizer in filter(_is_learned, quantizers):
        quantizer.open()
    followed = {id(quantizer.root) for quantizer in quantizers if _is_learned(quantizer)}
    for quantizer in quantizers:
        if _is_learned(quantizer) and quantizer.mean_of and id(quantizer) not in followed:
            quantizer.align_to(quantizer.mean_of)
    for layer in model.layers:
        if isinstance(layer, QuantizedKernel):
            layer.round_bias()


def _keep_channels_on(model: Any) -> None:
    """Gives channels that BatchNormalization multiplies by zero next to nothing instead.

    TFLite's converter leaves a convolution in float where a channel has no weight range at all.
    """
    for layer in model.layers:
        if _kind(layer) == "BatchNormalization" and layer.scale:
            gamma = layer.gamma
            off = tf.abs(gamma) < _LEAST_GAMMA
            gamma.assign(tf.where(off, tf.ones_like(gamma) * _LEAST_GAMMA, gamma))


def _is_learned(quantizer: Any) -> bool:
    return isinstance(quantizer, ActivationRange)


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
        model = self.form.model
        self._consumers = connections.consumers(model)
        self._nodes = list(connections.nodes(model))
        self._integer = _integer_layers(self._nodes, self.form, self._consumers)
        self._quantizers = self._chosen_quantizers()
        self._wrappers: dict[int, QuantizedKernel] = {}
        self._inputs: dict[int, Any] = {}
        self._floats: dict[str, Any] = {}
        # Of a kernel's layer: the layer itself, its quantizer, what it reads, what follows.
        self._bounds: dict[int, dict[str, Any]] = {}

    def build(self) -> Any:
        """The model with its quantizers, their ranges empty."""
        model = rebuild(self.form.model, self.replace)
        self.bound_biases()
        _keep_channels_on(model)
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
        node = next(n for n in self._nodes for t in tf.nest.flatten(n.outputs) if id(t) == tensor)
        own = next(t for t in tf.nest.flatten(node.outputs) if id(t) == tensor)
        return [*self._operator(node), *self._takers(own)]

    def _operator(self, node: Any) -> list[str]:
        """The layers that the file computes in one operator with the given one, or before it."""
        names = [node.layer.name]
        for given in node.keras_inputs:
            before = connections.producer(given)
            fused = id(given) not in self._quantizers and self._integer.get(id(before), False)
            if (_passes_on(before) and not _is_input(before)) or fused:
                names += self._operator(before._inbound_nodes[given._keras_history.node_index])
        return names

    def _takers(self, tensor: Any) -> list[str]:
        names = []
        for taker in self._consumers.get(id(tensor), []):
            if taker is None:
                continue
            names.append(taker.layer.name)
            if _passes_on(taker.layer):
                for output in tf.nest.flatten(taker.outputs):
                    names += self._takers(output)
        return names

    # Which tensors.

    def _chosen_quantizers(self) -> Mapping[int, Any]:
        """A quantizer for each tensor of the form that is quantized, by the tensor's id."""
        chosen: dict[int, Any] = {}
        # From the last to the first: what is concatenated takes the range of the whole.
        for node in reversed(self._nodes):
            for tensor in tf.nest.flatten(node.outputs):
                if self._is_point(tensor):
                    chosen[id(tensor)] = self._quantizer(tensor, chosen)
        # From the first to the last: pooling keeps the steps of what it pools.
        for node in self._nodes:
            if _kind(node.layer) == "AveragePooling2D" and id(node.outputs) in chosen:
                taken, source = node.keras_inputs[0], self._source(node.keras_inputs[0])
                if id(source) in chosen:
                    following = self._following(chosen[id(source)])
                    chosen[id(node.outputs)] = following
                    # Where a maximum is pooled again, the converter leaves whatever else takes it
                    # in float, unless it is said to be quantized.
                    if taken is not source:
                        chosen[id(taken)] = following
            if _kind(node.layer) in _MEANS and _is_learned(chosen.get(id(node.outputs))):
                source = self._source(node.keras_inputs[0])
                quantizer = chosen[id(node.outputs)]
                quantizer.mean_of = None if quantizer.root else chosen.get(id(source))
        return chosen

    def _is_point(self, tensor: Any) -> bool:
        layer = connections.producer(tensor)
        if not tensor.dtype.is_floating or (_passes_on(layer) and not _is_input(layer)):
            return False
        if self._integer.get(id(layer), False):
            return _fused_into(tensor, self._consumers, self._integer) is None
        return self._needed(tensor)

    def _needed(self, tensor: Any) -> bool:
        """Whether an integer operator, or the file's output, takes the tensor."""
        for taker in self._consumers.get(id(tensor), []):
            if taker is None or self._integer.get(id(taker.layer), False):
                return True
            outputs = tf.nest.flatten(taker.outputs)
            if _passes_on(taker.layer) and any(map(self._needed, outputs)):
                return True
        return False

    def _quantizer(self, tensor: Any, chosen: Mapping[int, Any]) -> Any:
        layer = connections.producer(tensor)
        fixed = _FIXED.get(_fixed_name(layer)) if self._integer.get(id(layer)) else None
        if fixed:
            return FixedRange(*fixed, calibration=self.calibration)
        whole = [
            taker
            for taker in self._consumers[id(tensor)]
            if taker and _kind(taker.layer) == "Concatenate" and self._integer.get(id(taker.layer))
        ]
        if len(whole) == 1 and id(whole[0].outputs) in chosen:
            return self._following(chosen[id(whole[0].outputs)])
        return ActivationRange(
            self.settings.range_decay, calibration=self.calibration, of_input=_is_input(layer)
        )

    def _following(self, quantizer: Any) -> Any:
        if isinstance(quantizer, FixedRange):
            return quantizer
        root = quantizer.root or quantizer
        return ActivationRange(self.settings.range_decay, calibration=self.calibration, root=root)

    def _source(self, tensor: Any) -> Any:
        """The tensor whose values are passed on as `tensor`."""
        layer = connections.producer(tensor)
        while _passes_on(layer) and not _is_input(layer):
            tensor = tf.nest.flatten(layer.input)[0]
            layer = connections.producer(tensor)
        return tensor

    # Building the model.

    def replace(self, use: Use) -> Any:
        """The outputs of one call, quantized where the file quantizes them."""
        inputs = tf.nest.map_structure(self._quantized_input, use.args)
        if not (self._integer.get(id(use.layer)) or _passes_on(use.layer)):
            inputs = tf.nest.map_structure(self._in_float, inputs)
        layer = self._layer(use)
        outputs = inputs[0] if layer is None else layer(*inputs, **use.kwargs)
        own = tf.nest.flatten(use.outputs)
        pairs = zip(own, tf.nest.flatten(outputs), strict=True)
        flat = [self._quantized(*pair, use, number) for number, pair in enumerate(pairs)]
        return tf.nest.pack_sequence_as(outputs, flat)

    def _layer(self, use: Use) -> Any:
        """What is called in the layer's place; None for a clipping that quantization does."""
        kind = _kind(use.layer)
        if not self._integer.get(id(use.layer), False):
            return use.fresh()
        if kind in KERNEL_LAYERS:
            return self._wrapped(use)
        if kind == "UnitClip":
            return None
        if kind == "Rsqrt":
            source = self._quantizers.get(id(self._source(use.inputs[0])))
            return use.instead(lambda name: SteppedRsqrt(source, name=name, dtype="float32"))
        fresh = use.fresh()
        if kind in _FOLDED:
            before = connections.producer(use.inputs[0])
            self._bounds[id(before)]["normalization"] = fresh
        return fresh

    def _wrapped(self, use: Use) -> QuantizedKernel:
        layer = use.layer
        if id(layer) not in self._wrappers:
            depthwise = "Depthwise" in _kind(layer)
            quantizer = KernelRange(per_channel=_kind(layer) != "Dense", depthwise=depthwise)
            fresh = type(layer).from_config(layer.get_config())
            with tf.name_scope(layer.name):
                fresh.build(use.inputs[0].shape)
            fresh.set_weights(layer.get_weights())
            config = KernelConfig("depthwise_kernel" if depthwise else "kernel", quantizer)
            self._wrappers[id(layer)] = QuantizedKernel(fresh, config, dtype="float32")
            source = self._quantizers.get(id(self._source(use.inputs[0])))
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
        if not _is_input(connections.producer(tensor)):
            return tensor
        if id(tensor) not in self._inputs:
            own = next(t for t in self.form.model.inputs if t.name == tensor.name)
            quantizer = self._quantizers.get(id(own))
            self._inputs[id(tensor)] = (
                self._point(own, quantizer, f"{tensor.name}_range", tensor) if quantizer else tensor
            )
        return self._inputs[id(tensor)]

    def _in_float(self, tensor: Any) -> Any:
        """A quantized tensor for a layer that stays in float, in the file too."""
        layer = connections.producer(tensor)
        while _passes_on(layer) and not _is_input(layer):
            layer = connections.producer(tf.nest.flatten(layer.input)[0])
        if not isinstance(layer, Quantize):
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
        return self._point(own, quantizer, name, new)

    def _point(self, own: Any, quantizer: Any, name: str, new: Any) -> Any:
        self.points[id(own)] = Quantize(quantizer, name=name, dtype="float32")
        return self.points[id(own)](new)


def _integer_layers(
    nodes: Iterable[Any], form: IntegerForm, consumers: Mapping[int, list[Any]]
) -> dict[int, bool]:
    """For each layer, by its id, whether the file computes it in integers."""
    found: dict[int, bool] = {}
    for node in nodes:
        layer = node.layer
        own = form.origin.get(layer.name, layer.name)
        known = _kind(layer) in _INTEGER_OPERATORS and own not in form.passed_over
        if known and _kind(layer) in (*_FOLDED, "ReLU"):
            before = connections.producer(node.keras_inputs[0])
            alone = len(consumers[id(node.keras_inputs[0])]) == 1
            # Part of an operator that stays in float.
            if _kind(before) in _TAKE_RELU and alone and not found.get(id(before), False):
                known = False
        if known and _kind(layer) == "Reduce":
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
    before, after = _kind(connections.producer(tensor)), _kind(taker)
    if after in _FOLDED:
        return taker if before in KERNEL_LAYERS else None
    if after == "UnitClip":
        return taker
    return taker if after == "ReLU" and before in _TAKE_RELU else None


def _kind(layer: Any) -> str:
    return type(layer).__name__


def _is_input(layer: Any) -> bool:
    return isinstance(layer, keras.layers.InputLayer)


def _passes_on(layer: Any) -> bool:
    if layer is None:
        return False
    linear = _kind(layer) == "Activation" and layer.activation.__name__ == "linear"
    maximum = _kind(layer) == "Reduce" and layer.kind == "max"
    return _kind(layer) in PASSES_ON or linear or maximum


def _fixed_name(layer: Any) -> str:
    kind = _kind(layer)
    if kind == "Activation":
        return str(layer.activation.__name__)
    return {"UnitClip": "unit", "Softmax": "softmax"}.get(kind, "")
