"""A smaller encoder out of a trained one: its sizes, and the weights that it takes over.

Knows which sizes an encoder can be narrowed to, which of its layers stand for which of a smaller
one's, and which of its numbers matter least by the weights. Does not know heads of classifiers,
losses or training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfcompress.encoders._architecture import EMBEDDED, HIDDEN_STATES, layers_of
from tfcompress.encoders._config import EncoderConfig

if TYPE_CHECKING:
    from tf_keras import Model

Weights = Mapping[str, Sequence[np.ndarray]]

_LAYER = "layer_"
_BY_HEAD = ("query", "key", "value")
_ALL = slice(None)
_NEARLY_WHOLE = 0.01
"""What a factor such as 0.333 may lack of a whole number of heads."""


def smaller(config: EncoderConfig, *, layers: int, width: float = 1.0) -> EncoderConfig:
    """The description of a smaller encoder of the same kind.

    Args:
      config: of the larger one.
      layers: of the smaller one, at least 1 and at most as many.
      width: multiplies heads, and with them the width and the feed-forward part: a head stays as
        wide as it is. In (0, 1].

    Raises:
      ValueError: as many layers and as wide, more layers, or a width that gives no whole head.

    Example:
      >>> large = EncoderConfig(vocabulary=9, width=384, layers=6, heads=12, feed_forward=1_536)
      >>> small = smaller(large, layers=3, width=0.5)
      >>> small.layers, small.width, small.heads, small.head_width, small.feed_forward
      (3, 192, 6, 32, 768)
    """
    if not 1 <= layers <= config.layers:
        raise ValueError(
            f"A smaller encoder has from 1 to {config.layers} layers, those of the larger one. "
            f"Received: {layers}."
        )
    heads = round(config.heads * width)
    if not 1 <= heads <= config.heads or abs(heads - config.heads * width) > _NEARLY_WHOLE:
        wholes = ", ".join(f"{count / config.heads:.4g}" for count in range(1, config.heads + 1))
        raise ValueError(
            f"A smaller encoder has whole heads of the larger one's width, {config.head_width}, "
            f"and at most its {config.heads}. Received: {width:g} times as many, "
            f"{config.heads * width:g}. Choose from {wholes}."
        )
    if (layers, heads) == (config.layers, config.heads):
        raise ValueError(
            f"A smaller encoder has fewer layers than {config.layers}, or is narrower. "
            f"Received: {layers} layers, {width:g} times the width."
        )
    return dataclasses.replace(
        config,
        layers=layers,
        heads=heads,
        width=heads * config.head_width,
        feed_forward=max(1, config.feed_forward * heads // config.heads),
    )


def layers_kept(count: int, *, of: int) -> tuple[int, ...]:
    """Which layer of an encoder stands for each layer of one with fewer.

    Each of a smaller encoder's layers does the work of a group of the larger one's, and is held
    against the last of the group, whose result it has to reach.

    Args:
      count: layers of the smaller one, from 1 to `of`.
      of: layers of the larger one.

    Example:
      >>> layers_kept(3, of=6), layers_kept(4, of=6), layers_kept(1, of=6)
      ((1, 3, 5), (1, 2, 4, 5), (5,))
    """
    return tuple(-(-of * number // count) - 1 for number in range(1, count + 1))


def take_over(student: Model, teacher: Model, *, head_width: int) -> None:
    """Begins a smaller encoder with what a trained one has learned.

    Each layer starts as the one that stands for it (`layers_kept`). Of a wider one those numbers
    stay that matter most by the weights: of a token's, those that weigh most where layers read
    them; of a layer's, the heads and the numbers of the feed-forward part with the largest weights
    before and behind them.

    Args:
      student: of `smaller`'s description; it may have further Dense layers behind the encoder that
        read a token's numbers, such as a classifier's head. Changed in place.
      teacher: the larger one, with the same further layers.
      head_width: numbers of a head, the same in both.

    Raises:
      ValueError: the teacher is no encoder, or has fewer layers or not the same further ones.
    """
    depths = [layers_of(model) for model in (student, teacher)]
    if not 1 <= depths[0] <= depths[1]:
        raise ValueError(
            "take_over takes an encoder and one of as many layers or more. "
            f"Received: {depths[0]} layers in the student, {depths[1]} in the teacher."
        )
    taken = layers_kept(depths[0], of=depths[1])
    weights = {layer.name: layer.get_weights() for layer in teacher.layers if layer.weights}
    importance = _importance(weights, layers=depths[1])
    width = _largest(importance, student.get_layer(EMBEDDED).output_shape[-1])
    begun = {_name_in(layer.name, taken): layer for layer in student.layers if layer.weights}
    if not begun.keys() <= weights.keys():
        raise ValueError(
            "take_over takes a teacher with the student's further layers. Missing there: "
            f"{', '.join(name for name in begun if name not in weights)}."
        )
    for name, layer in begun.items():
        shape = layer.weights[0].shape
        rows, columns = _kept(name, weights, shape, width=width, head_width=head_width)
        layer.set_weights([_cut(array, rows, columns) for array in weights[name]])


def _name_in(name: str, taken: Sequence[int]) -> str:
    """The teacher's name for a student's layer.

    Example:
      >>> _name_in("layer_1/feed_forward/inner", (1, 3, 5)), _name_in("logits", (1, 3, 5))
      ('layer_3/feed_forward/inner', 'logits')
    """
    if not name.startswith(_LAYER):
        return name
    number, _, part = name.removeprefix(_LAYER).partition("/")
    return f"{_LAYER}{taken[int(number)]}/{part}"


def _importance(weights: Weights, *, layers: int) -> np.ndarray:
    """How much each number of a token weighs where the layers read it: [width], in all 1."""
    shares, state = [], EMBEDDED
    for layer in range(layers):
        attention, inner = f"{_LAYER}{layer}/attention", f"{_LAYER}{layer}/feed_forward/inner"
        readers = {f"{attention}/{part}": state for part in _BY_HEAD}
        for reader, read in {**readers, inner: f"{attention}/normalization"}.items():
            scale, offset = weights[read]
            energy = (scale**2 + offset**2) * np.square(weights[reader][0]).sum(axis=1)
            shares.append(energy / energy.sum())
        state = HIDDEN_STATES.format(layer)
    return np.mean(shares, axis=0)


def _kept(
    name: str, weights: Weights, shape: Sequence[int], *, width: np.ndarray, head_width: int
) -> tuple[Any, Any]:
    """Which rows and columns of a layer's matrix stay, for one of a shape.

    Args:
      name: of the larger encoder's layer.
      weights: of all its layers.
      shape: of the smaller one's matrix, or of a row of numbers of a token.
      width: which numbers of a token stay.
      head_width: numbers of a head.
    """
    owner, _, part = name.rpartition("/")
    if part in _BY_HEAD:
        return width, _largest_joint(
            weights, f"{owner}/value", f"{owner}/output", shape[1], head_width
        )
    if name.endswith("attention/output"):
        return _largest_joint(weights, f"{owner}/value", name, shape[0], head_width), width
    if part == "inner":
        return width, _largest_joint(weights, name, f"{owner}/outer", shape[1])
    if part == "outer":
        return _largest_joint(weights, f"{owner}/inner", name, shape[0]), width
    if name == "pooler/dense":
        return width, width
    if part == "normalization" or owner == "embeddings":
        return _ALL, width
    return width, _ALL


def _largest_joint(
    weights: Weights, before: str, behind: str, count: int, size: int = 1
) -> np.ndarray:
    """The numbers between two Dense layers with the largest weights on both sides, in groups.

    Args:
      weights: of all layers.
      before: the layer that gives the numbers.
      behind: the layer that reads them.
      count: how many stay, a multiple of `size`.
      size: numbers that stay or go together, such as those of a head.
    """
    norms = np.linalg.norm(weights[before][0], axis=0) * np.linalg.norm(weights[behind][0], axis=1)
    kept = _largest(norms.reshape(-1, size).sum(axis=1), count // size)
    return (kept[:, None] * size + np.arange(size)).ravel()


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """The places of the largest values, in order."""
    return np.sort(np.argsort(-values, kind="stable")[:count])


def _cut(array: np.ndarray, rows: Any, columns: Any) -> np.ndarray:
    """A matrix's rows and columns, or of a vector what stands beside the columns."""
    return array[columns] if array.ndim == 1 else array[rows][:, columns]
