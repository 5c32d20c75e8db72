"""Pure functions over stored predictions and stored samples.

Knows how accuracy, its uncertainty and a paired difference follow from raw outputs and labels. Does
not know where the outputs came from or how a number is shown. No TensorFlow, no files, no random
numbers.

Two models judged on the same images are *paired*: most images are right under both, and only those
on which the two disagree say anything about the difference. Everything that compares here uses the
pairing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from tfcompress.results import Interval

KINDS = ("logits", "probabilities")


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


@dataclass(frozen=True)
class SeedSummary:
    """A figure over repeated runs.

    Attributes:
      mean: arithmetic mean.
      std: sample standard deviation (n - 1 in the denominator); None for a single run.
      n: runs.
      low: the smallest value.
      high: the greatest value.
    """

    mean: float
    std: float | None
    n: int
    low: float
    high: float


def softmax(outputs: np.ndarray) -> np.ndarray:
    """Probabilities from logits: `exp(x_i) / sum_j exp(x_j)` along the last axis.

    The greatest logit is subtracted first, so that no exponential overflows.

    Args:
      outputs: [..., classes], any range.

    Returns:
      float64 of the same shape; each row sums to 1.

    Example:
      >>> softmax(np.array([0.0, np.log(3.0)])).round(2).tolist()
      [0.25, 0.75]
    """
    values = np.asarray(outputs, np.float64)
    exponentials = np.exp(values - values.max(axis=-1, keepdims=True))
    shares: np.ndarray = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return shares


def probabilities(outputs: np.ndarray, kind: str) -> np.ndarray:
    """Probabilities from raw outputs.

    Args:
      outputs: float [examples, classes].
      kind: `"logits"` (softmax is applied) or `"probabilities"` (returned as float64, unchanged).

    Raises:
      ValueError: another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"Unknown kind of outputs: {kind!r}. Known: {', '.join(KINDS)}.")
    return softmax(outputs) if kind == "logits" else np.asarray(outputs, np.float64)


def correct(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which examples are right: the greatest output stands at the label.

    Of equal greatest outputs (frequent where an int8 file saturates) the first counts, as in
    `np.argmax`, so a tie is never counted in the model's favour on purpose.

    Args:
      outputs: [examples, classes], logits or probabilities.
      labels: integer [examples] in [0, classes).

    Returns:
      bool [examples].

    Raises:
      ValueError: no examples, shapes that do not fit, a label outside the classes, a NaN output.
    """
    outputs, labels = np.asarray(outputs), np.asarray(labels)
    if outputs.ndim != 2 or labels.shape != outputs.shape[:1] or 0 in outputs.shape:
        raise ValueError(
            "Expected outputs [examples, classes] and labels [examples], at least one of each. "
            f"Received: outputs {list(outputs.shape)}, labels {list(labels.shape)}."
        )
    if labels.min() < 0 or labels.max() >= outputs.shape[1]:
        raise ValueError(
            f"Labels must be in [0, {outputs.shape[1]}). "
            f"Received: {labels.min()} to {labels.max()}."
        )
    if np.isnan(outputs).any():
        rows = int(np.isnan(outputs).any(axis=1).sum())
        raise ValueError(f"Outputs hold NaN in {rows} of {len(outputs)} examples.")
    right: np.ndarray = outputs.argmax(axis=1) == labels
    return right


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
    _check_confidence(confidence)
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(
            "Expected 0 <= successes <= trials and trials >= 1. "
            f"Received: successes {successes}, trials {trials}."
        )
    interval = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return Interval(float(interval.low), float(interval.high), confidence, "wilson")


def paired_counts(right: np.ndarray, baseline_right: np.ndarray) -> tuple[int, int]:
    """(gained, lost): examples that only the model, and that only the baseline, has right.

    Args:
      right: bool [examples].
      baseline_right: bool [examples], of the same examples in the same order.

    Raises:
      ValueError: shapes that differ or are no vectors.
    """
    right, baseline_right = np.asarray(right, bool), np.asarray(baseline_right, bool)
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
    _check_confidence(confidence)
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
    right, baseline_right = correct(outputs, labels), correct(baseline_outputs, labels)
    gained, lost = paired_counts(right, baseline_right)
    n = right.size
    return Comparison(
        examples=n,
        accuracy=float(right.mean()),
        accuracy_interval=wilson_interval(int(right.sum()), n, confidence=confidence),
        difference=(gained - lost) / n,
        difference_interval=paired_difference_interval(gained, lost, n, confidence=confidence),
        gained=gained,
        lost=lost,
        p_value=mcnemar_p_value(gained, lost),
    )


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


def summarize_seeds(values: Sequence[float]) -> SeedSummary:
    """Mean and spread of a figure over runs that differ in their seed.

    Args:
      values: one figure a run, finite, at least one.

    Raises:
      ValueError: no value, or one that is not finite.

    Example:
      >>> summarize_seeds([0.5, 0.7]).n
      2
    """
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"Expected at least one finite number. Received: {list(values)}.")
    return SeedSummary(
        mean=float(array.mean()),
        std=float(array.std(ddof=1)) if array.size > 1 else None,
        n=array.size,
        low=float(array.min()),
        high=float(array.max()),
    )


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(
            f"confidence must be in (0, 1). Received: {confidence}. For 95% pass 0.95."
        )
