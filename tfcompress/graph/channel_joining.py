"""What layers of several tensors do with channels; see `channel_following`.

Knows sums and products value by value, concatenations, and products of matrices, as in attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfcompress.graph.channels import FIXED, described, varying

if TYPE_CHECKING:
    from tfcompress.graph.channel_following import Following

_OWN, _SUMMED = -2, -1
# Where in a product the channels of the first matrix lie, and those of the second.
_OF_FIRST: Mapping[int | None, int | None] = {_SUMMED: None}
_OF_SECOND: Mapping[int | None, int | None] = {_SUMMED: None, _OWN: -1}


def merged(job: Following, node: Any) -> np.ndarray | None:
    """What is added or multiplied value by value goes together."""
    labels = _widest(job, node)
    along = varying(labels) or [-1]
    unclean = []
    for tensor in node.keras_inputs:
        if any(_is_spread(tensor, node.outputs, axis) for axis in along):
            reason = f"{described(node.layer)} spreads it over all channels"
            job.protect(job.labels(tensor), reason)
            # Where a channel is zero, what is spread is not.
            unclean.append(True)
        else:
            why = f"{described(node.layer)} joins them with channels that must stay"
            job.couple(labels, job.labels(tensor), why=why)
            unclean.append(id(tensor) in job.unclean)
    if all(unclean) if type(node.layer).__name__ == "Multiply" else any(unclean):
        job.unclean.add(id(node.outputs))
    return labels


def _widest(job: Following, node: Any) -> np.ndarray:
    """The labels of the operand that gives the result its channels, free ones before fixed."""
    channels = node.outputs.shape[-1]
    operands = [(tensor.shape[-1], job.labels(tensor)) for tensor in node.keras_inputs]
    fitting = [own for last, own in operands if last == channels or varying(own)]
    return max(fitting, key=lambda labels: (len(labels.shape), int(labels.max() > FIXED)))


def _is_spread(tensor: Any, outputs: Any, axis: int) -> bool:
    """Whether a tensor has one value where the result has many, along an axis below 0."""
    # The batch is an axis of all of them.
    own = tensor.shape[axis] if -axis < len(tensor.shape) else 1
    return bool(own == 1 != outputs.shape[axis])


def concatenated(job: Following, node: Any) -> np.ndarray | None:
    """Channels side by side, or along another axis the same ones."""
    rank = len(node.outputs.shape)
    axis = node.layer.axis % rank - rank
    tensors = list(node.keras_inputs)
    if axis != -1 and not any(axis in varying(job.labels(tensor)) for tensor in tensors):
        return merged(job, node)
    parts = [job.vector(tensor, axis) for tensor in tensors]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    job.stays_unclean(node)
    return np.concatenate(known).reshape([-1 if a == axis else 1 for a in range(1 - rank, 0)])


@dataclass(frozen=True)
class _Side:
    """One of two tensors that are multiplied as matrices.

    Attributes:
      labels: [..., own, summed]: the rows of the first tensor or the columns of the second, and
        what is summed over.
      sizes: of the tensor in the same order.
      axis: the one along which the labels differ, below 0; None if there is none.
      unclean: whether a channel of zeros has become something else.
    """

    labels: np.ndarray
    sizes: tuple[int | None, ...]
    axis: int | None
    unclean: bool


def multiplied(job: Following, node: Any) -> np.ndarray | None:
    """Matrices: what is summed over goes together, and so do products that lie side by side."""
    first, second = node.keras_inputs
    if len(first.shape) != len(second.shape):
        return None
    one = _side(job, first, turned=node.layer.transpose_a)
    other = _side(job, second, turned=not node.layer.transpose_b)
    if one is None or other is None:
        return None
    _meet(job, node, one, other)
    _meet(job, node, other, one)
    places = (
        (one, _OF_FIRST.get(one.axis, one.axis)),
        (other, _OF_SECOND.get(other.axis, other.axis)),
    )
    given = [(side, axis) for side, axis in places if axis is not None]
    if len({axis for _, axis in given}) > 1:
        return None
    if not given:
        return np.full([1] * one.labels.ndim, FIXED)
    if all(side.unclean for side, _ in given):
        job.unclean.add(id(node.outputs))
    (side, axis), *_ = given
    if axis < _OWN:
        job.heads.update(side.labels[side.labels != FIXED].tolist())
    shape = [side.labels.size if a == axis else 1 for a in range(-one.labels.ndim, 0)]
    return side.labels.reshape(shape)


def _side(job: Following, tensor: Any, *, turned: bool) -> _Side | None:
    """A tensor with its own axis before the summed one; None where its labels lie on both."""
    labels, sizes = job.labels(tensor), tuple(tensor.shape[1:])
    if turned:
        labels, sizes = labels.swapaxes(-1, -2), (*sizes[:-2], sizes[-1], sizes[-2])
    axes = varying(labels)
    if len(axes) > 1:
        # Of products that lie side by side, whole ones go.
        whole = job.whole(labels, axes[1:]) if axes[0] < _OWN else None
        if whole is None:
            return None
        labels = whole
    return _Side(labels, sizes, axes[0] if axes else None, id(tensor) in job.unclean)


def _meet(job: Following, node: Any, side: _Side, other: _Side) -> None:
    """Notes what the channels of one side need of the other."""
    if side.axis is None:
        job.protect(side.labels, f"{described(node.layer)} multiplies it with all of a matrix")
        return
    if side.axis == _OWN or other.sizes[side.axis] == 1 != side.sizes[side.axis]:
        return
    why = f"{described(node.layer)} multiplies them with channels that must stay"
    if other.axis != side.axis:
        job.protect(side.labels, why)
        return
    job.couple(side.labels.reshape(-1), other.labels.reshape(-1), why=why)
    if side.axis == _SUMMED and side.unclean and other.unclean:
        reason = f"a channel of zeros is not zero where {described(node.layer)} is"
        job.protect(side.labels, reason)
