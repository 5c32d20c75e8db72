"""How accurate a model is where it is allowed to pass over the examples it is least sure of.

Knows confidence and right or wrong. Does not know what is done with those passed over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfcompress.statistics.outputs import correct, normalized_probabilities

COVERAGES = (0.5, 0.8, 0.9, 0.95, 1.0)


@dataclass(frozen=True)
class SelectiveAccuracy:
    """Accuracy on the examples of greatest confidence.

    Attributes:
      coverage: the fraction of examples that are answered, in (0, 1].
      examples: how many that is, rounded up.
      accuracy: the fraction of them that is right.
    """

    coverage: float
    examples: int
    accuracy: float


def selective_accuracies(
    probabilities: np.ndarray, labels: np.ndarray, *, coverages: Sequence[float] = COVERAGES
) -> tuple[SelectiveAccuracy, ...]:
    """Accuracy at given coverages, the examples of least confidence left out.

    Confidence is the greatest probability. Where the cut falls among equal confidences (an int8
    softmax has 256 of them), the accuracy is the expected one over every order of these, so that
    the order of the examples does not count.

    Args:
      probabilities: [examples, classes], as `normalized_probabilities` takes them.
      labels: integer [examples] in [0, classes).
      coverages: fractions in (0, 1].

    Raises:
      ValueError: a coverage out of range, values or shapes that do not fit.

    Example:
      >>> sure = np.array([[0.9, 0.1], [0.8, 0.2], [0.8, 0.2], [0.6, 0.4]])
      >>> found = selective_accuracies(sure, np.array([0, 0, 1, 1]), coverages=[0.25, 0.5, 1.0])
      >>> [each.accuracy for each in found]
      [1.0, 0.75, 0.5]

    Reference: Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS
    2017.
    """
    confidence = normalized_probabilities(probabilities).max(axis=1)
    return accuracies_by_confidence(confidence, correct(probabilities, labels), coverages=coverages)


def risk_coverage_area(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Area under the risk-coverage curve (AURC): mean error rate over all coverages.

    `1/n sum over m of (errors among the m most confident) / m`, expected over every order of equal
    confidences. It is low where few examples are wrong and where those stand last; with confidence
    that says nothing it is the error rate.

    Args:
      probabilities: [examples, classes], as `normalized_probabilities` takes them.
      labels: integer [examples] in [0, classes).

    Returns:
      A fraction in [0, 1].

    Raises:
      ValueError: values or shapes that do not fit.

    Example:
      >>> sure = np.array([[0.9, 0.1], [0.6, 0.4]])
      >>> risk_coverage_area(sure, np.array([0, 1]))
      0.25

    Reference: Geifman, Uziel and El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural
    Classifiers", ICLR 2019.
    """
    confidence = normalized_probabilities(probabilities).max(axis=1)
    return area_by_confidence(confidence, correct(probabilities, labels))


def accuracies_by_confidence(
    confidence: np.ndarray, right: np.ndarray, *, coverages: Sequence[float]
) -> tuple[SelectiveAccuracy, ...]:
    """`selective_accuracies` of confidences [examples] of any scale and bool [examples]."""
    for coverage in coverages:
        if not 0 < coverage <= 1:
            raise ValueError(f"A coverage must be in (0, 1]. Received: {coverage}.")
    expected = _expected_right(confidence, right)
    # Rounded first, so that 0.8 of 10 examples are 8.
    kept = [math.ceil(round(coverage * right.size, 6)) for coverage in coverages]
    return tuple(
        SelectiveAccuracy(float(c), m, float(expected[m - 1] / m))
        for c, m in zip(coverages, kept, strict=True)
    )


def area_by_confidence(confidence: np.ndarray, right: np.ndarray) -> float:
    """`risk_coverage_area` of confidences [examples] of any scale and bool [examples]."""
    kept = np.arange(1, right.size + 1)
    return float(np.mean(1 - _expected_right(confidence, right) / kept))


def _expected_right(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """How many of the 1, 2, ... most confident are right, on average over the order of equals."""
    _, group, sizes = np.unique(-confidence, return_inverse=True, return_counts=True)
    ends = np.concatenate([[0], np.cumsum(sizes)])
    totals = np.concatenate([[0], np.cumsum(np.bincount(group, weights=right))])
    expected: np.ndarray = np.interp(np.arange(1, right.size + 1), ends, totals)
    return expected
