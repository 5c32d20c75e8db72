"""A fraction of right answers and how far it can be trusted.

Knows Wilson's interval. Does not know of a second model.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from tfcompress.results import Interval
from tfcompress.statistics.outputs import correct


def accuracy_with_interval(
    outputs: np.ndarray, labels: np.ndarray, *, confidence: float = 0.95
) -> tuple[float, Interval]:
    """Fraction right and its Wilson interval.

    Args:
      outputs: [examples, classes].
      labels: integer [examples].
      confidence: a fraction in (0, 1).
    """
    right = correct(outputs, labels)
    return float(right.mean()), wilson_interval(int(right.sum()), right.size, confidence=confidence)


def wilson_interval(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion.

    Unlike the normal approximation it stays within [0, 1] and keeps a width at 0 and at `trials`
    successes, where a good classifier on a small sample often lies.

    Args:
      successes: in [0, trials].
      trials: at least 1.
      confidence: a fraction in (0, 1).

    Raises:
      ValueError: a count or confidence out of range.

    Example:
      >>> interval = wilson_interval(87, 100)
      >>> round(interval.low, 4), round(interval.high, 4)
      (0.7902, 0.9224)

    Reference: Wilson, JASA 22 (1927) 209-212.
    """
    check_confidence(confidence)
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(
            "Expected 0 <= successes <= trials and trials >= 1. "
            f"Received: successes {successes}, trials {trials}."
        )
    interval = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return Interval(float(interval.low), float(interval.high), confidence, "wilson")


def check_confidence(confidence: float) -> None:
    """Raises ValueError unless `confidence` is a fraction in (0, 1)."""
    if not 0 < confidence < 1:
        raise ValueError(
            f"confidence must be in (0, 1). Received: {confidence}. For 95% pass 0.95."
        )
