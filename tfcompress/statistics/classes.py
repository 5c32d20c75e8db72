"""Accuracy class by class, of a model and of the baseline.

Knows right and wrong and the true classes. Does not know how a change is shown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfcompress.statistics.paired import mcnemar_p_value, paired_counts


@dataclass(frozen=True)
class ClassChange:
    """Accuracy on the examples of one class, of a model and of the baseline.

    Attributes:
      label: index of the class.
      examples: images of the class; 0 leaves the fractions None.
      baseline: fraction of them that the baseline has right.
      accuracy: fraction of them that the model has right.
      change: `accuracy` minus `baseline`.
      p_value: McNemar's exact test within the class, two-sided, not corrected for the count of
        classes.
    """

    label: int
    examples: int
    baseline: float | None
    accuracy: float | None
    change: float | None
    p_value: float | None


def per_class_change(
    right: np.ndarray, baseline_right: np.ndarray, labels: np.ndarray, *, classes: int
) -> tuple[ClassChange, ...]:
    """Accuracy of each class under a model and under the baseline.

    Args:
      right: bool [examples], of the model.
      baseline_right: bool [examples], of the baseline.
      labels: integer [examples] in [0, classes).
      classes: how many classes there are; one that has no example is listed with None.

    Returns:
      One record for each class, in label order.

    Raises:
      ValueError: shapes that differ or a label outside the classes.
    """
    paired_counts(right, baseline_right)
    labels = np.asarray(labels)
    if labels.shape != np.shape(right) or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"Expected labels [{np.size(right)}] in [0, {classes}). "
            f"Received: {list(labels.shape)}, {labels.min()} to {labels.max()}."
        )
    return tuple(_class_change(right, baseline_right, labels == k, label=k) for k in range(classes))


def _class_change(
    right: np.ndarray, baseline_right: np.ndarray, members: np.ndarray, *, label: int
) -> ClassChange:
    n = int(members.sum())
    if n == 0:
        return ClassChange(label, 0, None, None, None, None)
    gained, lost = paired_counts(right[members], baseline_right[members])
    return ClassChange(
        label=label,
        examples=n,
        baseline=float(np.mean(baseline_right[members])),
        accuracy=float(np.mean(right[members])),
        change=(gained - lost) / n,
        p_value=mcnemar_p_value(gained, lost),
    )
