"""Which tensors inside a student are held against which of its teacher's, and how.

Knows feature maps of networks for images, and hidden states and attention of text encoders. Does
not know how what comes of it is weighted, nor training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tfcompress import encoders
from tfcompress._keras import tf
from tfcompress.graph.kernels import plain_layer

Pairs = tuple[tuple[Any, Any], ...]


@dataclass(frozen=True)
class Compared:
    """Tensors of a student and of its teacher, in pairs (student's, teacher's).

    Attributes:
      features: [batch, ..., channels], alike but for the channels.
      attention: what says where either looks.
      attention_error: of two float32 tensors of such a pair, how far they differ: [batch, ...].
      mask: the teacher's, 1 for tokens and 0 for padding, [batch, 1, 1, length]; None where all
        places count.
    """

    features: Pairs
    attention: Pairs
    attention_error: Callable[[Any, Any], Any]
    mask: Any = None


def compared(student: Any, teacher: Any) -> Compared:
    """Finds what two models have in common.

    Of images: for each height and width that both have, the last feature map of either. Of text
    encoders: the embeddings, and each layer of the student with the last of those of the teacher's
    whose work it does, see `encoders.layers_kept`.

    Args:
      student: functional model.
      teacher: functional model.

    Raises:
      ValueError: they have nothing in common, or the student alone is no text encoder, or is one of
        more layers.
    """
    own, others = (encoders.layers_of(model) for model in (student, teacher))
    if own or others:
        if not 1 <= own <= others:
            raise ValueError(
                "distill: features and attention compare a text encoder with one of as many "
                f"layers or more. Received: {own} layers of an encoder in the student, {others} in "
                "the teacher. Leave features and attention at 0."
            )
        return _of_encoders(student, teacher, list(enumerate(encoders.layers_kept(own, of=others))))
    pairs = tuple(matching_features(student, teacher))
    if not pairs:
        raise ValueError(
            "distill: teacher and student have no feature maps of the same height and width. "
            "Leave features and attention at 0."
        )
    return Compared(pairs, pairs, _distance_of_maps)


def matching_features(student: Any, teacher: Any) -> list[tuple[Any, Any]]:
    """For each height and width that both have, the last tensor of either that is such a map."""
    ours, theirs = _last_by_resolution(student), _last_by_resolution(teacher)
    return [(ours[size], theirs[size]) for size in ours if size in theirs]


def attention_map(features: Any) -> Any:
    """Sum of squares over the channels, flattened and scaled to unit length.

    Args:
      features: float [batch, height, width, channels].

    Returns:
      float [batch, height * width].
    """
    energy = tf.reduce_sum(tf.square(features), axis=-1)
    return tf.math.l2_normalize(
        tf.reshape(energy, [-1, energy.shape[1] * energy.shape[2]]), axis=-1
    )


def divergence(ours: Any, theirs: Any, *, temperature: float = 1.0) -> Any:
    """KL(theirs, ours) of softened logits over the last axis, one for each position."""
    soft = tf.nn.softmax(theirs / temperature)
    entropy = tf.nn.softmax_cross_entropy_with_logits(soft, ours / temperature)
    own = tf.nn.softmax_cross_entropy_with_logits(soft, theirs / temperature)
    return entropy - own


def divergence_of_heads(ours: Any, theirs: Any) -> Any:
    """How far what a student's tokens attend to is from what its teacher's do, in nats.

    Head by head where both have as many. Otherwise neighbouring heads are joined to as many groups
    as divide both counts, and each group attends by the sum of its heads' scores, scaled as those
    of one head of their joint width: the relation heads of MiniLMv2.

    Args:
      ours: float32 scores [batch, heads, length, length], before the softmax.
      theirs: likewise, also of other heads.

    Returns:
      float32 [batch, length]: the mean over the heads or groups, for each token that attends.
    """
    groups = math.gcd(ours.shape[1], theirs.shape[1])
    joined = [_joined(scores, groups) for scores in (ours, theirs)]
    return tf.reduce_mean(divergence(*joined), axis=1)


def _joined(scores: Any, groups: int) -> Any:
    size = scores.shape[1] // groups
    # The length of a batch is not known beforehand.
    split = tf.reshape(scores, [-1, groups, size, *tf.unstack(tf.shape(scores)[2:])])
    return tf.reduce_sum(split, axis=2) / math.sqrt(size)


def over_tokens(errors: Any, mask: Any) -> Any:
    """Errors such that their mean over all places is that over the tokens of each sequence.

    Args:
      errors: float32 [batch, length].
      mask: 1 for tokens and 0 for padding, of as many numbers.

    Returns:
      float32 [batch, length]: 0 for padding.
    """
    mask = tf.reshape(tf.cast(mask, errors.dtype), tf.shape(errors))
    share = tf.reduce_mean(mask, axis=-1, keepdims=True)
    return tf.math.divide_no_nan(errors * mask, share)


def _distance_of_maps(ours: Any, theirs: Any) -> Any:
    return tf.reduce_sum(tf.square(attention_map(ours) - attention_map(theirs)), axis=-1)


NOTHING = Compared((), (), _distance_of_maps)
"""Where the outputs alone are learned from."""


def _of_encoders(student: Any, teacher: Any, layers: Iterable[tuple[int, int]]) -> Compared:
    ours, theirs = _Outputs(student, "student"), _Outputs(teacher, "teacher")
    pairs = list(layers)
    states, scores = encoders.HIDDEN_STATES.format, encoders.SCORES.format
    return Compared(
        features=(
            (ours[encoders.EMBEDDED], theirs[encoders.EMBEDDED]),
            *((ours[states(own)], theirs[states(other)]) for own, other in pairs),
        ),
        attention=tuple((ours[scores(own)], theirs[scores(other)]) for own, other in pairs),
        attention_error=divergence_of_heads,
        mask=theirs[encoders.MASK_OF_TOKENS],
    )


class _Outputs:
    """What the layers of a model give, by their names, from the calls on record."""

    def __init__(self, model: Any, who: str) -> None:
        self._who = who
        nodes = (node for nodes in model._nodes_by_depth.values() for node in nodes)
        self._outputs = {plain_layer(node.layer).name: node.outputs for node in nodes}

    def __getitem__(self, name: str) -> Any:
        if name not in self._outputs:
            raise ValueError(
                f"distill: the {self._who} has no layer {name}, which features and attention of "
                "text encoders need. Leave features and attention at 0."
            )
        return self._outputs[name]


def _last_by_resolution(model: Any) -> dict[tuple[int, int], Any]:
    """Feature maps by height and width, from the calls on record: a layer may have several."""
    last = {}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            shape = getattr(node.outputs, "shape", None)
            if not node.is_input and shape is not None and shape.rank == 4 and all(shape[1:]):
                last[tuple(shape[1:3])] = node.outputs
    return {size: tensor for size, tensor in last.items() if size[0] > 1}
