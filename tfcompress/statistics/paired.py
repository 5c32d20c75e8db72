"""Two models judged on the same examples: how their accuracies differ, and whether that is real.

Most images are right under both models, and only those on which the two disagree say anything about
the difference. Everything here uses that pairing. Knows right and wrong only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from tfcompress.results import Interval
from tfcompress.statistics.outputs import correct
from tfcompress.statistics.proportions import check_confidence, wilson_interval


@dataclass(frozen=True)
class Comparison:
    """A model's accuracy beside the baseline's, on the same examples.

    Attributes:
      examples: images that both were judged on.
      accuracy: fraction right.
      accuracy_interval: Wilson's score interval of `accuracy`.
      difference: `accuracy` minus the baseline's.
      difference_interval: Tango's score interval of `difference`.
      gained: images that only this model has right.
      lost: images that only the baseline has right.
      p_value: McNemar's exact test of no difference, two-sided.
    """

    examples: int
    accuracy: float
    accuracy_interval: Interval
    difference: float
    difference_interval: Interval
    gained: int
    lost: int
    p_value: float


def compare(
    outputs: np.ndarray,
    baseline_outputs: np.ndarray,
    labels: np.ndarray,
    *,
    confidence: float = 0.95,
) -> Comparison:
    """A model beside the baseline on the same examples, with paired uncertainty.

    Args:
      outputs: of the model, [examples, classes].
      baseline_outputs: of the baseline, [examples, classes], in the same order.
      labels: integer [examples].
      confidence: a fraction in (0, 1).

    Raises:
      ValueError: shapes or values that do not fit.
    """
    return compare_right(
        correct(outputs, labels), correct(baseline_outputs, labels), confidence=confidence
    )


def compare_right(
    right: np.ndarray, baseline_right: np.ndarray, *, confidence: float = 0.95
) -> Comparison:
    """The same, where it is known which examples either has right.

    Args:
      right: bool [examples], of the model.
      baseline_right: bool [examples], of the same examples in the same order.
      confidence: a fraction in (0, 1).

    Raises:
      ValueError: shapes that differ or are no vectors.

    Example:
      >>> found = compare_right(np.array([True, True, False]), np.array([True, False, True]))
      >>> found.gained, found.lost, found.p_value
      (1, 1, 1.0)
    """
    gained, lost = paired_counts(right, baseline_right)
    n = int(np.size(right))
    return Comparison(
        examples=n,
        accuracy=float(np.mean(right)),
        accuracy_interval=wilson_interval(int(np.sum(right)), n, confidence=confidence),
        difference=(gained - lost) / n,
        difference_interval=paired_difference_interval(gained, lost, n, confidence=confidence),
        gained=gained,
        lost=lost,
        p_value=mcnemar_p_value(gained, lost),
    )


def paired_counts(right: np.ndarray, baseline_right: np.ndarray) -> tuple[int, int]:
    """(gained, lost): examples that only the model, and that only the baseline, has right.

    Args:
      right: bool [examples].
      baseline_right: bool [examples], of the same examples in the same order.

    Raises:
      ValueError: shapes that differ or are no vectors.
    """
    right, baseline_right = np.asarray(right), np.asarray(baseline_right)
    kinds = {each.dtype for each in (right, baseline_right)}
    if kinds != {np.dtype(bool)}:
        raise ValueError(
            "Expected which examples are right, two vectors of bool. Received: "
            f"{', '.join(sorted(map(str, kinds)))}. From outputs, `correct` makes them."
        )
    if right.ndim != 1 or right.shape != baseline_right.shape or right.size == 0:
        raise ValueError(
            "Paired examples must be two vectors of one length. "
            f"Received: {list(right.shape)} and {list(baseline_right.shape)}."
        )
    return int((right & ~baseline_right).sum()), int((~right & baseline_right).sum())


def paired_difference_interval(
    gained: int, lost: int, examples: int, *, confidence: float = 0.95
) -> Interval:
    """Tango's score interval of the difference of two proportions over the same examples.

    The interval holds each difference `d` that the score test does not reject:

        T(d) = (gained - lost - n d) / sqrt(n (2 q(d) + d (1 - d))),  |T(d)| <= z

    with `q(d)` the most likely probability of "only the baseline is right" given `d`. It is right
    for a compressed model beside its baseline: the two are highly correlated and differ on few
    examples, where the Wald interval and a bootstrap are too narrow and collapse to a point when no
    example changes; this one keeps its coverage, and a half width of `z^2 / (n + z^2)` there. It
    excludes zero exactly when McNemar's (asymptotic) test rejects, and it needs no random numbers.

    Args:
      gained: examples that only the model has right.
      lost: examples that only the baseline has right.
      examples: all paired examples, also those on which both agree.
      confidence: a fraction in (0, 1).

    Returns:
      The interval of `(gained - lost) / examples`, a fraction in [-1, 1].

    Raises:
      ValueError: a count or confidence out of range.

    Example:
      >>> interval = paired_difference_interval(6, 16, 161)
      >>> round(interval.low, 4), round(interval.high, 4)
      (-0.124, -0.0054)

    Reference: Tango, Statistics in Medicine 17 (1998) 891-908; compared with the other methods in
    Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014) 2850-2875.
    """
    check_confidence(confidence)
    if min(gained, lost) < 0 or gained + lost > examples or examples < 1:
        raise ValueError(
            "Expected counts of at least 0 with gained + lost <= examples and examples >= 1. "
            f"Received: gained {gained}, lost {lost}, examples {examples}."
        )
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    estimate = (gained - lost) / examples

    def excess(difference: float, limit: float) -> float:
        return _tango_score(gained, lost, examples, difference) - limit

    # Bisection, since the score is infinite at the ends; it falls as the difference grows.
    low = -1.0 if lost == examples else optimize.bisect(excess, -1.0, estimate, args=(z,))
    high = 1.0 if gained == examples else optimize.bisect(excess, estimate, 1.0, args=(-z,))
    return Interval(float(low), float(high), confidence, "tango_score")


def _tango_score(gained: int, lost: int, examples: int, difference: float) -> float:
    """The score statistic T(d); its `q(d)` is the root of a quadratic."""
    observed = gained - lost - examples * difference
    linear = (2 * examples - gained + lost) * difference - gained - lost
    constant = -lost * difference * (1 - difference)
    discriminant = max(linear * linear - 8 * examples * constant, 0.0)
    likely_lost = (math.sqrt(discriminant) - linear) / (4 * examples)
    variance = examples * (2 * likely_lost + difference * (1 - difference))
    if variance <= 0:
        return math.copysign(math.inf, observed) if observed else 0.0
    return observed / math.sqrt(variance)


def mcnemar_p_value(gained: int, lost: int) -> float:
    """McNemar's exact test, two-sided: is a change as likely for better as for worse?

    Args:
      gained: examples that only the model has right, at least 0.
      lost: examples that only the baseline has right, at least 0.

    Returns:
      A fraction in (0, 1]; 1 where nothing changed.

    Raises:
      ValueError: a negative count.

    Example:
      >>> round(mcnemar_p_value(6, 16), 6)
      0.052479
    """
    if min(gained, lost) < 0:
        raise ValueError(f"Counts must be at least 0. Received: {gained} and {lost}.")
    if gained + lost == 0:
        return 1.0
    return float(stats.binomtest(gained, gained + lost).pvalue)
