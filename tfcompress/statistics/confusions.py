"""Which classes are taken for which, more often or less than by the baseline.

Knows the predicted classes of a model and of the baseline, and the true ones. Whether a class got
worse is a question for `per_class_change`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfcompress.statistics.flips import same_examples


@dataclass(frozen=True)
class ConfusionChange:
    """How often one class is taken for another.

    Attributes:
      true: index of the true class.
      predicted: index of the class that it is taken for.
      baseline: examples for which the baseline does so.
      model: examples for which the model does so.
      change: `model` minus `baseline`.
    """

    true: int
    predicted: int
    baseline: int
    model: int
    change: int


def confusion_change(
    predicted: np.ndarray, baseline_predicted: np.ndarray, labels: np.ndarray, *, classes: int
) -> np.ndarray:
    """The model's confusion matrix minus the baseline's.

    Args:
      predicted: integer [examples] in [0, classes), of the model.
      baseline_predicted: integer [examples] in [0, classes), of the baseline.
      labels: integer [examples] in [0, classes).
      classes: how many there are; one without examples has a row of zeros.

    Returns:
      int64 [classes, classes]: of the true class (row) and the predicted one (column), how many
      examples more than the baseline has. Each row sums to 0.

    Raises:
      ValueError: lengths that differ or a class out of range.

    Example:
      >>> labels = np.array([0, 0, 1])
      >>> confusion_change(np.array([0, 1, 1]), np.array([0, 0, 1]), labels, classes=2).tolist()
      [[-1, 1], [0, 0]]
    """
    model, baseline = _confusions(predicted, baseline_predicted, labels, classes=classes)
    change: np.ndarray = model - baseline
    return change


def largest_confusion_changes(
    predicted: np.ndarray,
    baseline_predicted: np.ndarray,
    labels: np.ndarray,
    *,
    classes: int,
    limit: int = 10,
) -> tuple[ConfusionChange, ...]:
    """The mistakes whose number changed most.

    Right answers, the diagonal of the matrix, are left out: their change is that of the class's
    accuracy. What stands here was picked for its size and is a place to look, not a finding.

    Args:
      predicted: integer [examples] in [0, classes), of the model.
      baseline_predicted: integer [examples] in [0, classes), of the baseline.
      labels: integer [examples] in [0, classes).
      classes: how many there are.
      limit: at most so many, at least 1.

    Returns:
      By the size of the change, then by class; none whose number is the same.

    Raises:
      ValueError: lengths that differ, a class or the limit out of range.

    Example:
      >>> labels = np.array([0, 0, 1])
      >>> largest_confusion_changes(np.array([0, 1, 1]), np.array([0, 0, 1]), labels, classes=2)
      (ConfusionChange(true=0, predicted=1, baseline=0, model=1, change=1),)
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1. Received: {limit}.")
    model, baseline = _confusions(predicted, baseline_predicted, labels, classes=classes)
    change = model - baseline
    np.fill_diagonal(change, 0)
    order = np.argsort(-np.abs(change), axis=None, kind="stable")[:limit]
    places = [divmod(int(k), classes) for k in order if change.flat[k]]
    return tuple(
        ConfusionChange(t, p, int(baseline[t, p]), int(model[t, p]), int(change[t, p]))
        for t, p in places
    )


def _confusions(
    predicted: np.ndarray, baseline_predicted: np.ndarray, labels: np.ndarray, *, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """The model's and the baseline's matrices, int64 [classes, classes]."""
    arrays = same_examples(predicted, baseline_predicted, labels)
    greatest = max(int(each.max()) for each in arrays)
    if greatest >= classes:
        raise ValueError(f"Classes must be in [0, {classes}). Received: {greatest}.")
    *answers, truth = arrays
    model, baseline = (
        np.bincount(truth * classes + each, minlength=classes**2).reshape(classes, classes)
        for each in answers
    )
    return model, baseline
