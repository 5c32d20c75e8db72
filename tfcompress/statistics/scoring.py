"""Proper scores of probabilities: what a model said of the true class, weighed.

Knows the logarithmic and the quadratic score of each example and their means. Lower is better. Does
not know of a second model; `paired_bootstrap` compares the scores of two.
"""

from __future__ import annotations

import numpy as np

from tfcompress.statistics.outputs import check_labels, normalized_probabilities

PROBABILITY_FLOOR = 1e-7
"""The least probability that a logarithm is taken of: where Keras' own cross-entropy cuts off."""


def log_losses(
    probabilities: np.ndarray, labels: np.ndarray, *, floor: float = PROBABILITY_FLOOR
) -> np.ndarray:
    """Negative log-likelihood of each example, `-ln max(p_label, floor)`.

    A float model says 1e-9 where an int8 softmax, whose steps are 1/256, says exactly 0; without a
    floor the latter would cost infinitely much. The rows are divided by their sum, then the floor
    is applied. How much of a mean is due to it: `Calibration.floored` counts the examples. Where
    one of two models has such an output, give both a floor of half a step, 1/512.

    Args:
      probabilities: [examples, classes], as `normalized_probabilities` takes them.
      labels: integer [examples] in [0, classes).
      floor: in (0, 1).

    Returns:
      float64 [examples], nats, in [0, -ln(floor)].

    Raises:
      ValueError: values or shapes that do not fit.

    Example:
      >>> log_losses(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([0, 1])).round(3).tolist()
      [0.693, 16.118]
    """
    said = np.maximum(label_probabilities(probabilities, labels), check_floor(floor))
    losses: np.ndarray = -np.log(said)
    return losses


def negative_log_likelihood(
    probabilities: np.ndarray, labels: np.ndarray, *, floor: float = PROBABILITY_FLOOR
) -> float:
    """Mean of `log_losses`, in nats: `ln(classes)` for a model that knows nothing.

    Example:
      >>> round(negative_log_likelihood(np.full([3, 10], 0.1), np.array([0, 4, 9])), 4)
      2.3026
    """
    return float(log_losses(probabilities, labels, floor=floor).mean())


def brier_losses(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Brier score of each example: `sum over classes of (p_k - [k is the label])^2`.

    The sum over all classes, as Brier defined it. With two classes it is twice the score of the
    second class's probability alone. A zero needs no rule here.

    Args:
      probabilities: [examples, classes], as `normalized_probabilities` takes them.
      labels: integer [examples] in [0, classes).

    Returns:
      float64 [examples] in [0, 2].

    Raises:
      ValueError: values or shapes that do not fit.

    Reference: Brier, Monthly Weather Review 78 (1950) 1-3.
    """
    said = label_probabilities(probabilities, labels)
    squares = np.square(normalized_probabilities(probabilities)).sum(axis=1)
    losses: np.ndarray = squares - 2 * said + 1
    return losses


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean of `brier_losses`: 0 is best, `1 - 1 / classes` a model that knows nothing, 2 worst.

    Example:
      >>> brier_score(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([0, 1]))
      1.25
    """
    return float(brier_losses(probabilities, labels).mean())


def label_probabilities(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The probability that each true class was given, float64 [examples], of rows that sum to 1."""
    shares, labels = normalized_probabilities(probabilities), np.asarray(labels)
    check_labels(shares, labels)
    said: np.ndarray = shares[np.arange(len(labels)), labels.astype(np.int64)]
    return said


def check_floor(floor: float) -> float:
    """Returns a floor of probabilities that lies in (0, 1), otherwise raises ValueError."""
    if not 0 < floor < 1:
        raise ValueError(
            f"floor must be in (0, 1). Received: {floor}. For an int8 softmax pass 1/512."
        )
    return floor
