"""Follows the channels of a model through its layers; see `channels`.

Each channel that a layer makes gets a label, and each tensor an array of labels. Layers that only
move values are run on the labels themselves. Knows what each kind of layer of one tensor does with
channels (`channel_joining` knows those of several); a kind that neither knows keeps its channels,
and so do the layers around it.

Importing this module imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tfcompress._keras import tf
from tfcompress.graph import channel_joining, connections
from tfcompress.graph.channels import (
    CONSUMES,
    FIXED,
    PER_CHANNEL,
    PRODUCES,
    ChannelGraph,
    Slot,
    compressed,
    described,
    varying,
)
from tfcompress.graph.kernels import FROZEN, is_kernel, named


def channel_graph(model: Any, *, keep: str = "") -> ChannelGraph:
    """Finds which channels of a model can be removed, and which only together.

    A channel can be removed where the model without it computes what it computes with the channel
    set to zero: no constant of it remains.

    Args:
      model: flat functional model of plain layers, channels last.
      keep: layer names or patterns, separated by `|`, whose channels all stay.

    Example:
      >>> from tfcompress._keras import keras
      >>> inputs = keras.Input([8, 8, 3])
      >>> x = keras.layers.Conv2D(4, 3, padding="same", name="first")(inputs)
      >>> x = keras.layers.Add()([x, keras.layers.Conv2D(4, 3, padding="same", name="second")(x)])
      >>> x = keras.layers.GlobalAveragePooling2D()(x)
      >>> found = channel_graph(keras.Model(inputs, keras.layers.Dense(2, name="logits")(x)))
      >>> [(len(group.units), group.layers, group.reason) for group in found.groups]
      [(4, ('first', 'second'), ''), (2, ('logits',), "the model's output")]
    """
    job = Following(trained={id(weight) for weight in model.trainable_weights}, keep=keep)
    for node in connections.nodes(model):
        if node.is_input:
            continue
        outputs = job.follow(node)
        for tensor, labels in zip(tf.nest.flatten(node.outputs), outputs, strict=True):
            job.tensors[id(tensor)] = labels
    for tensor in tf.nest.flatten(model.outputs):
        job.protect(job.labels(tensor), "the model's output")
    return job.solved()


@dataclass(frozen=True)
class _Draft:
    """A slot whose labels have not been joined to units yet."""

    role: str
    labels: np.ndarray


@dataclass
class Following:
    """What is known while one model is followed.

    Attributes:
      trained: ids of the variables that a training changes.
      keep: patterns of layers whose channels stay.
      tensors: labels of each tensor, by its id; an axis on which they do not depend has length 1.
      unclean: ids of tensors in which a channel of zeros has become something else.
      heads: labels of the heads of attention.
      left: why layers that have weights but no slots are left alone, by their names.
    """

    trained: set[int]
    keep: str
    tensors: dict[int, np.ndarray] = field(default_factory=dict)
    unclean: set[int] = field(default_factory=set)
    heads: set[int] = field(default_factory=set)
    left: dict[str, str] = field(default_factory=dict)
    _next: int = FIXED + 1
    _edges: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    _reasons: dict[int, str] = field(default_factory=dict)
    _slots: dict[tuple[str, int, int], _Draft] = field(default_factory=dict)

    def follow(self, node: Any) -> list[np.ndarray]:
        """The labels of what one call gives."""
        rule = _RULES.get(type(node.layer).__name__)
        outputs = rule(self, node) if rule else None
        if outputs is None:
            return self.opaque(node, f"{described(node.layer)} mixes channels in its own way")
        return [outputs]

    # Labels.

    def labels(self, tensor: Any) -> np.ndarray:
        """Of a tensor; those of an input of the model are fixed."""
        fixed = np.full([1] * max(len(tensor.shape) - 1, 1), FIXED)
        return self.tensors.get(id(tensor), fixed)

    def vector(self, tensor: Any, axis: int = -1) -> np.ndarray | None:
        """One label for each channel; None where they lie on another axis than this, the last."""
        labels, channels = self.labels(tensor), tensor.shape[axis]
        if channels is None or labels.size != labels.shape[axis]:
            return None
        return np.broadcast_to(labels.reshape(-1), [channels])

    def fresh(self, count: int) -> np.ndarray:
        """Labels that nothing has yet."""
        self._next += count
        return np.arange(self._next - count, self._next)

    def couple(self, one: np.ndarray, other: np.ndarray, *, why: str) -> None:
        """Notes that channels can only be removed together, place by place."""
        pairs = np.broadcast_arrays(one, other)
        first, second = (side.reshape(-1) for side in pairs)
        self.protect(second[first == FIXED], why)
        self.protect(first[second == FIXED], why)
        free = (first != FIXED) & (second != FIXED)
        self._edges.append((first[free], second[free]))

    def protect(self, labels: np.ndarray, reason: str) -> None:
        """Notes that channels must stay."""
        for label in np.unique(labels):
            self._reasons.setdefault(int(label), reason)

    def whole(self, labels: np.ndarray, axes: Sequence[int]) -> np.ndarray | None:
        """Couples what lies along axes, so that it goes as a whole; None if nothing else is left.

        Args:
          labels: of a tensor.
          axes: from the last one, below 0.

        Returns:
          the labels of the whole pieces, which do not depend on these axes.
        """
        along = [axis for axis in varying(labels) if axis in axes]
        if along and along == varying(labels):
            return None
        first = labels
        for axis in along:
            first = first.take([0], axis=axis)
        if along:
            self.couple(first, labels, why="they go with others that must stay")
        return first

    def opaque(self, node: Any, reason: str) -> list[np.ndarray]:
        """A call that keeps the channels that it takes; those that it gives are fixed."""
        for tensor in node.keras_inputs:
            self.protect(self.labels(tensor), reason)
        outputs = tf.nest.flatten(node.outputs)
        return [np.full([1] * max(len(tensor.shape) - 1, 1), FIXED) for tensor in outputs]

    def slot(self, layer: Any, variable: Any, axis: int, role: str, labels: np.ndarray) -> None:
        """Notes which channels lie along an axis of a weight."""
        position = next(n for n, own in enumerate(layer.weights) if own is variable)
        known = self._slots.setdefault((layer.name, position, axis), _Draft(role, labels))
        if known.labels is not labels:
            self.couple(known.labels, labels, why=f"{described(layer)} is used on fixed channels")
        if is_kernel(variable) and id(variable) not in self.trained:
            self.protect(labels, FROZEN)

    def consume(self, node: Any) -> np.ndarray | None:
        """The labels of the channels that a kernel multiplies."""
        (tensor,) = node.keras_inputs
        taken = self.vector(tensor)
        if taken is not None and id(tensor) in self.unclean:
            self.protect(taken, f"a channel of zeros is not zero where {described(node.layer)} is")
        return taken

    def solved(self) -> ChannelGraph:
        """Joins labels to units and numbers these."""
        units = self._joined()
        # What is left of a tensor has to fill a box: of what depends on several axes, whole pieces
        # along the first of them go.
        for labels in self.tensors.values():
            others = varying(_of(units, labels))[1:]
            if others:
                self.whole(labels, others)
                units = self._joined()
        # In the order of the labels, which is that of the layers.
        reasons: dict[int, str] = {FIXED: "what it takes must stay"}
        for label in sorted(self._reasons):
            reasons.setdefault(int(units[label]), self._reasons[label])
        slots = tuple(
            Slot(layer, weight, axis, draft.role, units[draft.labels])
            for (layer, weight, axis), draft in self._slots.items()
        )
        tensors = {key: _of(units, labels) for key, labels in self.tensors.items()}
        heads = frozenset(int(units[label]) for label in self.heads)
        return ChannelGraph(slots, tensors, reasons, int(units.max()) + 1, heads, self.left)

    def _joined(self) -> np.ndarray:
        """The unit of each label."""
        first, second = (
            np.concatenate([np.zeros(0, int), *sides])
            for sides in (zip(*self._edges, strict=True) if self._edges else ([], []))
        )
        shape = (self._next, self._next)
        graph = coo_array((np.ones(len(first)), (first, second)), shape=shape)
        units: np.ndarray = connected_components(graph, directed=False)[1]
        return units

    # Layers with kernels.

    def kernel(self, node: Any) -> np.ndarray | None:
        """Convolutions and matrix products: channels in, others out."""
        layer, taken = node.layer, self.consume(node)
        if taken is None or not _channels_last(layer):
            return None
        transposed = "Transpose" in type(layer).__name__
        groups = getattr(layer, "groups", 1)
        given = self.produced(layer, layer.kernel, -2 if transposed else -1)
        if groups == 1:
            self.slot(
                layer, layer.kernel, _axis(layer.kernel, -1 if transposed else -2), CONSUMES, taken
            )
        else:
            self._couple_groups(layer, taken, given, groups)
        return self.activated(node, given)

    def _couple_groups(self, layer: Any, taken: np.ndarray, given: np.ndarray, groups: int) -> None:
        """Whole groups go, with what they take and what they give: the others stay as they are."""
        inner, outer = taken.reshape(groups, -1), given.reshape(groups, -1)
        why = f"{described(layer)} takes them in groups with fixed ones"
        for side in (inner, outer):
            self.couple(side[:, :1], side, why=why)
        self.couple(inner[:, 0], outer[:, 0], why=why)

    def depthwise(self, node: Any) -> np.ndarray | None:
        """One or several channels out of each."""
        layer, taken = node.layer, self.vector(node.keras_inputs[0])
        if taken is None or not _channels_last(layer):
            return None
        kernel = layer.depthwise_kernel
        self.slot(layer, kernel, _axis(kernel, -2), PER_CHANNEL, taken)
        given = np.repeat(taken, layer.depth_multiplier)
        if layer.use_bias:
            self.slot(layer, layer.bias, 0, PER_CHANNEL, given)
        return self.activated(node, given)

    def separable(self, node: Any) -> np.ndarray | None:
        """A depthwise convolution and one of 1x1."""
        layer, taken = node.layer, self.vector(node.keras_inputs[0])
        if taken is None or not _channels_last(layer):
            return None
        spatial, mixing = layer.depthwise_kernel, layer.pointwise_kernel
        self.slot(layer, spatial, _axis(spatial, -2), PER_CHANNEL, taken)
        between = np.repeat(taken, layer.depth_multiplier)
        self.slot(layer, mixing, _axis(mixing, -2), CONSUMES, between)
        return self.activated(node, self.produced(layer, mixing, -1))

    def produced(self, layer: Any, kernel: Any, axis: int) -> np.ndarray:
        """The labels of the channels that a layer makes, the same at each of its calls."""
        axis = _axis(kernel, axis)
        position = next(n for n, own in enumerate(layer.weights) if own is kernel)
        known = self._slots.get((layer.name, position, axis))
        labels = known.labels if known else self.fresh(kernel.shape[axis])
        self.slot(layer, kernel, axis, PRODUCES, labels)
        if layer.use_bias:
            self.slot(layer, layer.bias, 0, PRODUCES, labels)
        if named(layer.name, self.keep):
            self.protect(labels, f"named in skip={self.keep}")
        return labels

    def activated(self, node: Any, labels: np.ndarray) -> np.ndarray | None:
        """What a layer's own activation leaves of the channels that it gives."""
        function = node.layer.activation
        (output,) = tf.nest.flatten(node.outputs)
        if not _is_elementwise(function):
            self.protect(labels, f"{described(node.layer)} normalizes over the channels")
        elif not _keeps_zero(function):
            self.unclean.add(id(output))
        return labels.reshape([1] * (len(output.shape) - 2) + [-1])

    # Layers that treat each channel by itself.

    def per_channel(self, node: Any) -> np.ndarray | None:
        """A value of its own for each channel."""
        layer, (tensor,) = node.layer, node.keras_inputs
        taken = self.vector(tensor)
        if taken is None or any(weight.shape[-1] != len(taken) for weight in layer.weights):
            return None
        for weight in layer.weights:
            self.slot(layer, weight, len(weight.shape) - 1, PER_CHANNEL, taken)
        self.stays_unclean(node)
        return self.labels(tensor)

    def batch_normalization(self, node: Any) -> np.ndarray | None:
        """Its scale and shift are zeroed with the channel, which makes it clean."""
        axis, rank = node.layer.axis, len(node.keras_inputs[0].shape)
        own = list(axis) if isinstance(axis, list | tuple) else [axis]
        if own not in ([-1], [rank - 1]):
            return None
        labels = self.per_channel(node)
        if node.layer.scale:
            self.unclean.discard(id(node.outputs))
        return labels

    def elementwise(self, node: Any) -> np.ndarray | None:
        """The same function for every value."""
        if getattr(getattr(node.layer, "activation", None), "__name__", "") == "softmax":
            return self.normalized(node)
        by_channel = any(np.ndim(getattr(node.layer, part, 0)) for part in ("scale", "offset"))
        if by_channel or not _is_elementwise(node.layer):
            return None
        if _keeps_zero(node.layer):
            self.stays_unclean(node)
        else:
            self.unclean.add(id(node.outputs))
        return self.labels(node.keras_inputs[0])

    def spatial(self, node: Any) -> np.ndarray | None:
        """Works within each channel."""
        if not _channels_last(node.layer):
            return None
        self.stays_unclean(node)
        labels = self.labels(node.keras_inputs[0])
        return labels if labels.size == labels.shape[-1] else None

    def pooled(self, node: Any) -> np.ndarray | None:
        """One value for each channel."""
        taken = self.vector(node.keras_inputs[0])
        if taken is None or not _channels_last(node.layer):
            return None
        self.stays_unclean(node)
        return taken.reshape([1] * (len(node.outputs.shape) - 2) + [-1])

    def reduced(self, node: Any) -> np.ndarray | None:
        """Over other axes than that of the channels."""
        rank = len(node.keras_inputs[0].shape)
        if rank - 1 in node.layer.axis or -1 in node.layer.axis:
            return None
        return self.pooled(node)

    def stays_unclean(self, node: Any) -> None:
        """Notes that zeros stay zeros in what a call gives, and what is none stays none."""
        if any(id(tensor) in self.unclean for tensor in node.keras_inputs):
            self.unclean.update(id(tensor) for tensor in tf.nest.flatten(node.outputs))

    def normalized(self, node: Any) -> np.ndarray:
        """Over some axes, which lose nothing: without a channel, statistics would be others."""
        tensor = node.keras_inputs[0]
        axis, rank = getattr(node.layer, "axis", -1), len(tensor.shape)
        axes = axis if isinstance(axis, list | tuple) else [axis]
        labels = self.whole(self.labels(tensor), [place % rank - rank for place in axes])
        if labels is None or len(node.keras_inputs) > 1 or not varying(labels):
            reason = f"{described(node.layer)} normalizes over the channels"
            (labels,) = self.opaque(node, reason)
            self.left[node.layer.name] = reason
        self.unclean.add(id(node.outputs))
        return labels

    # Layers that move values.

    def moved(self, node: Any) -> np.ndarray | None:
        """Runs the layer on the labels."""
        return self._run_on(node, self.labels(node.keras_inputs[0]))

    def _run_on(self, node: Any, labels: np.ndarray) -> np.ndarray | None:
        layer, (tensor,) = node.layer, node.keras_inputs
        shape = list(tensor.shape[1:])
        if None in shape:
            return None
        full = np.broadcast_to(labels, shape)
        # Up to 2**24 a float32 holds every whole number.
        outputs = layer(tf.constant(full[None], tf.float32)).numpy()[0].astype(np.int64)
        self.stays_unclean(node)
        return compressed(outputs)

    def sliced(self, node: Any) -> np.ndarray | None:
        """A part of the tensor; along the channels a run of them, or one of pieces alike."""
        labels, key = self.labels(node.keras_inputs[0]), node.layer.key
        if None in key:
            return None
        places = range(-labels.ndim, 0)
        picked = [axis for axis, part in zip(places, key, strict=False) if not _is_run(part)]
        alike = self.whole(labels, picked)
        return None if alike is None else self._run_on(node, alike)


def _of(units: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The units of labels, of length 1 along the axes on which they do not depend."""
    return compressed(units[labels])


def _axis(variable: Any, axis: int) -> int:
    return axis % len(variable.shape)


def _channels_last(layer: Any) -> bool:
    return getattr(layer, "data_format", "channels_last") == "channels_last"


def _is_run(item: Any) -> bool:
    return isinstance(item, list) and item[2] in (None, 1)


def _is_elementwise(function: Any) -> bool:
    """Whether a value depends on no other one."""
    if function is None:
        return True
    one, other = (function(tf.constant([[0.3, second]])).numpy() for second in (-0.7, 1.9))
    return bool(one[0, 0] == other[0, 0])


def _keeps_zero(function: Any) -> bool:
    return function is None or not np.any(function(tf.zeros([1, 2])).numpy())


_ELEMENTWISE = (
    "Activation",
    "ActivityRegularization",
    "AlphaDropout",
    "ApproximateGelu",
    "Clip",
    "Dropout",
    "ELU",
    "Elementwise",
    "GaussianDropout",
    "GaussianNoise",
    "HardSigmoid",
    "HardSwish",
    "LeakyReLU",
    "Power",
    "ReLU",
    "Rescaling",
    "StopGradient",
    "ThresholdedReLU",
)
_DIMENSIONS = ("1D", "2D", "3D")


def _of_each_rank(*kinds: str) -> Sequence[str]:
    return [f"{kind}{rank}" for kind in kinds for rank in _DIMENSIONS]


_SPATIAL = (
    *_of_each_rank("AveragePooling", "Cropping", "MaxPooling", "UpSampling", "ZeroPadding"),
    *_of_each_rank("SpatialDropout"),
    "Resizing",
)
_RULES: Mapping[str, Callable[[Following, Any], np.ndarray | None]] = {
    **dict.fromkeys(_ELEMENTWISE, Following.elementwise),
    **dict.fromkeys(_SPATIAL, Following.spatial),
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D", "Dense"), Following.kernel),
    **dict.fromkeys(("Conv2DTranspose", "Conv3DTranspose"), Following.kernel),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), Following.depthwise),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), Following.separable),
    **dict.fromkeys(_of_each_rank("GlobalAveragePooling", "GlobalMaxPooling"), Following.pooled),
    **dict.fromkeys(
        ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"), channel_joining.merged
    ),
    **dict.fromkeys(("Flatten", "Permute", "RepeatVector", "Reshape"), Following.moved),
    "BatchNormalization": Following.batch_normalization,
    "ChannelScale": Following.per_channel,
    "Concatenate": channel_joining.concatenated,
    "LayerNormalization": Following.normalized,
    "MatMul": channel_joining.multiplied,
    "PReLU": Following.per_channel,
    "Reduce": Following.reduced,
    "Slice": Following.sliced,
    "Softmax": Following.normalized,
}
"""What each kind of layer does with channels; other kinds are opaque."""
