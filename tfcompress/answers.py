"""What a file says of an example: a class with probabilities, or values in their units.

Knows what outputs mean. Does not know files, nor how outputs came about. No TensorFlow here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfcompress.predictions import VALUES


@dataclass(frozen=True)
class Prediction:
    """What an artifact says of one image or text.

    Attributes:
      label: name of the most likely class.
      probability: of that class, in [0, 1].
      probabilities: of every class, by name, in label order.
    """

    label: str
    probability: float
    probabilities: Mapping[str, float]

    def top(self, count: int) -> list[tuple[str, float]]:
        """The `count` most likely classes with their probabilities, the likeliest first."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:count]


@dataclass(frozen=True)
class PredictedValues:
    """What an artifact measures in one image or text, of a regression.

    Attributes:
      values: of every target, by name, in the targets' units.
    """

    values: Mapping[str, float]

    @property
    def value(self) -> float:
        """The value, of a file with one target.

        Raises:
          ValueError: there are several.
        """
        if len(self.values) != 1:
            raise ValueError(
                f"The file gives {len(self.values)} values: {', '.join(self.values)}. Expected "
                "one. Take them from `values`, by name."
            )
        return next(iter(self.values.values()))


def of_outputs(
    outputs: np.ndarray, names: Sequence[str], kind: str, *, source: str
) -> list[Prediction] | list[PredictedValues]:
    """What outputs say of each example.

    Args:
      outputs: float32 [examples, names].
      names: of the classes, or of the values.
      kind: one of `predictions.OUTPUT_KINDS`.
      source: the file, for messages.

    Returns:
      a `Prediction` for each example, or `PredictedValues` where the kind is values.

    Raises:
      ValueError: another number of outputs than of names, or outputs that are not finite.

    Example:
      >>> (found,) = of_outputs(np.array([[0.0, 0.0]]), ["cat", "dog"], "logits", source="it")
      >>> found.label, found.probability
      ('cat', 0.5)
    """
    if outputs.shape[1] != len(names):
        raise ValueError(
            f"{source} has {outputs.shape[1]} outputs but {len(names)} "
            f"{'targets' if kind == VALUES else 'labels'} in its metadata. Expected as many."
        )
    if not np.isfinite(outputs).all():
        raise ValueError(
            f"{source} gives outputs that are NaN or infinite, so it "
            f"{'measures nothing' if kind == VALUES else 'names no class'}. The model that it was "
            "exported from diverged, or the file's preprocessing is not its own."
        )
    if kind == VALUES:
        return [PredictedValues(_by_name(names, row)) for row in outputs]
    probabilities = softmax(outputs) if kind == "logits" else outputs
    return [
        Prediction(
            label=names[int(np.argmax(row))],
            probability=float(np.max(row)),
            probabilities=_by_name(names, row),
        )
        for row in probabilities
    ]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis.

    Example:
      >>> softmax(np.array([[0.0, 0.0]])).tolist()
      [[0.5, 0.5]]
    """
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: np.ndarray = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities


def _by_name(names: Sequence[str], row: np.ndarray) -> dict[str, float]:
    return {name: float(number) for name, number in zip(names, row, strict=True)}
