"""Which channels of a model can only be removed together.

Follows every channel from the layer that makes it to the weights that it meets: what is added,
multiplied or normalized together must go together, what is concatenated or flattened keeps its
place. Says for channels that have to stay why. Does not choose any, and does not remove any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

FIXED = 0
"""The unit of all that must stay: the model's inputs, what an unknown layer gives, padding."""

PRODUCES = "produces"
CONSUMES = "consumes"
PER_CHANNEL = "per channel"


@dataclass(frozen=True)
class Slot:
    """One axis of a weight along which channels lie.

    Attributes:
      layer: name of the layer.
      weight: position in its `weights`.
      axis: of the weight.
      role: `PRODUCES` where the channels are those that the layer gives, `CONSUMES` where they are
        those of its input, `PER_CHANNEL` for a value that each channel of its input has.
      units: the unit of each position, int [length of the axis].
    """

    layer: str
    weight: int
    axis: int
    role: str
    units: np.ndarray

    @property
    def zeroes(self) -> bool:
        """Whether zeros in this slot make the channel zero, rather than ignore it."""
        return self.role != CONSUMES


@dataclass(frozen=True)
class Group:
    """Units that lie in the same slots: the channels of one place of the model.

    Attributes:
      units: their numbers, in the order of the channels.
      channels: how many channels the layers of the group lose with one unit, such as 8 where whole
        groups of a grouped convolution are removed; each number once, at least 1.
      layers: names of the layers that produce the channels.
      reason: why they must stay; empty where they may be removed.
    """

    units: np.ndarray
    channels: tuple[int, ...]
    layers: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True)
class ChannelGraph:
    """All channels of a model.

    A *unit* is a set of channels, in one or several layers, that can only be removed together.

    Attributes:
      slots: where channels lie in weights.
      tensors: the units of each tensor of the model by the tensor's `id`, broadcast along the axes
        on which they do not depend: int, the tensor's rank less the batch.
      reasons: for units that must stay, why.
      count: of units; they are numbered from 0, which is `FIXED`.
      heads: those that are heads of attention: products of two tensors that lie side by side.
      left: for layers of which no channel is followed why, where there is more to say of it.
    """

    slots: tuple[Slot, ...]
    tensors: Mapping[int, np.ndarray]
    reasons: Mapping[int, str]
    count: int
    heads: frozenset[int] = frozenset()
    left: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The units by the place where they lie, in the order of the layers; not the fixed ones."""
        places: dict[int, list[int]] = {}
        for number, slot in enumerate(self.slots):
            for unit in np.unique(slot.units):
                places.setdefault(int(unit), []).append(number)
        places.pop(FIXED, None)
        groups: dict[tuple[tuple[int, ...], str], list[int]] = {}
        for unit, slots in places.items():
            groups.setdefault((tuple(slots), self.reasons.get(unit, "")), []).append(unit)
        return tuple(self._group(slots, units, reason) for (slots, reason), units in groups.items())

    def _group(self, numbers: Sequence[int], units: list[int], reason: str) -> Group:
        producing = [self.slots[n] for n in numbers if self.slots[n].role == PRODUCES]
        counts = {int(np.sum(slot.units == units[0])) for slot in producing}
        names = tuple(dict.fromkeys(slot.layer for slot in producing))
        return Group(np.array(units), tuple(sorted(counts)) or (1,), names, reason)

    @cached_property
    def by_layer(self) -> Mapping[str, tuple[Slot, ...]]:
        """The slots of each layer that has some."""
        found: dict[str, tuple[Slot, ...]] = {}
        for slot in self.slots:
            found[slot.layer] = (*found.get(slot.layer, ()), slot)
        return found

    def left_alone(self, layer: str) -> str:
        """Why no channel of a layer's weights can be removed; empty where some can."""
        slots = self.by_layer.get(layer, ())
        if not slots:
            return self.left.get(layer, "its channels cannot be followed")
        units = np.unique(np.concatenate([slot.units for slot in slots]))
        reasons = [self.reasons.get(int(unit), "") for unit in units]
        return "" if not all(reasons) else "; ".join(dict.fromkeys(reasons[::-1]))


def described(layer: Any) -> str:
    """A layer's name and kind, for a reason."""
    return f"{layer.name} ({type(layer).__name__})"


def varying(labels: np.ndarray) -> list[int]:
    """The axes along which labels of a tensor may differ, from the last one, below 0.

    Example:
      >>> varying(np.array([[[5], [6]]]))
      [-2]
    """
    return [axis - labels.ndim for axis, size in enumerate(labels.shape) if size > 1]


def compressed(labels: np.ndarray) -> np.ndarray:
    """The same labels, of length 1 along the axes on which they do not depend.

    Example:
      >>> compressed(np.array([[5, 6], [5, 6]]))
      array([[5, 6]])
    """
    for axis in range(labels.ndim):
        first = labels.take([0], axis=axis)
        if np.array_equal(np.broadcast_to(first, labels.shape), labels):
            labels = first
    return labels
