"""What a model is to say of an image: which of several classes it shows, or one or more values.

A data set has a goal; the head of a model, its loss, the choice of its best epoch, what a file says
about its outputs and how they are judged follow from it. Knows names, losses and units. Does not
know models or images. No TensorFlow here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

CLASSIFICATION = "classification"
REGRESSION = "regression"


@dataclass(frozen=True)
class Monitor:
    """The metric of an epoch by which the best one is chosen.

    Attributes:
      metric: its name in a training's history, on the validation split.
      higher_is_better: whether the best epoch is that of the highest one.
    """

    metric: str = "val_accuracy"
    higher_is_better: bool = True

    def score(self, metrics: Mapping[str, float]) -> float:
        """A number that is greater for a better epoch; the least of all for one that diverged.

        Example:
          >>> Monitor("val_loss", higher_is_better=False).score({"val_loss": 0.5})
          -0.5
        """
        value = metrics[self.metric]
        if not np.isfinite(value):
            return -np.inf
        return value if self.higher_is_better else -value


@dataclass(frozen=True)
class Classes:
    """The class of an image, one of several.

    Attributes:
      names: label names in label order.
    """

    names: tuple[str, ...]

    task: ClassVar[str] = CLASSIFICATION
    losses: ClassVar[tuple[str, ...]] = (
        "categorical_crossentropy",
        "categorical_focal_crossentropy",
        "categorical_hinge",
        "mean_squared_error",
    )
    """Names of Keras, the usual one first; on one-hot labels."""
    label_smoothing: ClassVar[tuple[str, ...]] = (
        "categorical_crossentropy",
        "categorical_focal_crossentropy",
    )
    """The losses that can smooth labels."""
    monitor: ClassVar[Monitor] = Monitor()
    named_in_files: ClassVar[str] = "labels"
    """The key of a file's metadata that holds the names."""

    @classmethod
    def numbered(cls, count: int) -> Classes:
        """Classes called 0, 1, 2 and so on."""
        return cls(tuple(map(str, range(count))))


@dataclass(frozen=True)
class Values:
    """One or more values of an image, each in a unit of its own.

    A training sees them in standard deviations from their mean, so that it goes alike whatever the
    unit; the model gives them in their units.

    Attributes:
      names: of the values, with their units: `"angle_degrees"`.
      mean: of each value, over the training split.
      std: its standard deviation there, above 0.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    task: ClassVar[str] = REGRESSION
    losses: ClassVar[tuple[str, ...]] = ("mean_squared_error", "mean_absolute_error", "huber")
    """Names of Keras, the usual one first; of differences in standard deviations."""
    label_smoothing: ClassVar[tuple[str, ...]] = ()
    monitor: ClassVar[Monitor] = Monitor("val_loss", higher_is_better=False)
    named_in_files: ClassVar[str] = "targets"
    """The key of a file's metadata that holds the names."""

    @classmethod
    def of(cls, names: tuple[str, ...], labels: np.ndarray) -> Values:
        """The goal of labels, float [n, values], one column for each name."""
        values = np.asarray(labels, np.float64)
        mean, std = values.mean(axis=0), values.std(axis=0)
        return cls(names, tuple(map(float, mean)), tuple(map(float, std)))

    def int8_steps(self, labels: np.ndarray) -> np.ndarray:
        """How coarse an int8 output is: its step over the standard deviation of each value.

        An int8 tensor has one step for all it holds, and a zero. Values far from zero, or of very
        different sizes, leave few steps to where each of them varies.

        Args:
          labels: float [n, values], which the range of the output is taken from.

        Returns:
          float64 [values].

        Example:
          >>> labels = np.array([[0.0], [255.0]])
          >>> Values(("x",), mean=(127.5,), std=(100.0,)).int8_steps(labels).tolist()
          [0.01]
        """
        span = max(float(labels.max()), 0.0) - min(float(labels.min()), 0.0)
        steps: np.ndarray = span / 255 / np.asarray(self.std)
        return steps


Goal = Classes | Values

GOALS: Mapping[str, type[Classes] | type[Values]] = {kind.task: kind for kind in (Classes, Values)}
"""The kinds of goal by the name of their task."""
