"""What a training minimizes and measures, for each goal of a data set.

Knows Keras' losses and metrics by name, and in which form labels and outputs go into them. Does not
know how a training runs.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from tfcompress._keras import keras, tf
from tfcompress.goals import GOALS, Goal, Values

DEFAULT_LOSS = "default"
"""Stands for the usual loss of a goal."""
LOSSES = tuple(dict.fromkeys(loss for kind in GOALS.values() for loss in kind.losses))


def require_loss(loss: str, *, task: str, label_smoothing: float = 0.0) -> None:
    """Refuses a loss that a task does not have.

    Args:
      loss: one of `LOSSES`, or `DEFAULT_LOSS`.
      task: a key of `goals.GOALS`.
      label_smoothing: asked for; 0 for none.

    Raises:
      ValueError: the loss belongs to another task, or smooths no labels.
    """
    kind = GOALS[task]
    if loss not in (DEFAULT_LOSS, *kind.losses):
        raise ValueError(
            f"Loss {loss!r} is none of a {task}. Received: labels of a {task}. "
            f"Use one of {', '.join(kind.losses)}, or leave the loss out."
        )
    if label_smoothing and not kind.label_smoothing:
        raise ValueError(
            f"label_smoothing is for classes. Received: {label_smoothing} with a {task}. "
            "Leave it at 0."
        )


def loss_name(loss: str, goal: Goal) -> str:
    """The Keras name of a loss, the goal's usual one for `DEFAULT_LOSS`."""
    return goal.losses[0] if loss == DEFAULT_LOSS else loss


def build_loss(loss: str, goal: Goal, *, label_smoothing: float = 0.0) -> Any:
    """A Keras loss, for logits and one-hot labels, or for values.

    Differences of values count in standard deviations, so that a unit changes no training and
    several values weigh alike.

    Args:
      loss: one of the goal's, or `DEFAULT_LOSS`.
      goal: what the labels are.
      label_smoothing: in [0, 1).

    Raises:
      ValueError: see `require_loss`.
    """
    require_loss(loss, task=goal.task, label_smoothing=label_smoothing)
    name = loss_name(loss, goal)
    prototype = keras.losses.get(name)
    if isinstance(goal, Values):
        return _in_deviations(prototype, goal.std)
    kind = getattr(keras.losses, "".join(map(str.capitalize, name.split("_"))), type(prototype))
    options: dict[str, Any] = {}
    if "from_logits" in inspect.signature(kind.__init__).parameters:
        options["from_logits"] = True
    if label_smoothing:
        options["label_smoothing"] = label_smoothing
    return kind(**options)


def _in_deviations(function: Any, std: tuple[float, ...]) -> Any:
    scale = np.asarray(std, np.float32)

    def loss(expected: Any, received: Any) -> Any:
        received = tf.cast(received, tf.float32)
        return function(tf.cast(expected, tf.float32) / scale, received / scale)

    return loss


def build_metrics(goal: Goal) -> list[Any]:
    """Fresh Keras metrics: `accuracy`, or `mean_absolute_error` in the unit of the values."""
    if isinstance(goal, Values):
        return [keras.metrics.MeanAbsoluteError(name="mean_absolute_error")]
    return [keras.metrics.CategoricalAccuracy(name="accuracy")]


def encoded(labels: Any, goal: Goal) -> Any:
    """Labels as the losses take them: int64 [batch] one-hot, values as they are."""
    return labels if isinstance(goal, Values) else tf.one_hot(labels, len(goal.names))
