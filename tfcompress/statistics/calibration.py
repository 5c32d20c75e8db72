"""Whether a model's confidence can be believed: of those 90% sure, are 90% right?

Knows bins of confidence, and gathers what scores, bins and selection say. Does not know how a
diagram is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfcompress.results import Interval
from tfcompress.statistics import outputs as raw
from tfcompress.statistics import scoring, selective
from tfcompress.statistics.outputs import correct, normalized_probabilities
from tfcompress.statistics.proportions import wilson_interval
from tfcompress.statistics.selective import SelectiveAccuracy
from tfcompress.statistics.temperature import scaled_probabilities


@dataclass(frozen=True)
class ReliabilityBin:
    """Examples of similar confidence: a point of a reliability diagram.

    Attributes:
      count: examples in the bin, at least 1.
      low: the least confidence among them.
      high: the greatest.
      confidence: their mean confidence.
      accuracy: the fraction of them that is right.
      accuracy_interval: Wilson's 95% interval of `accuracy`; a bin whose interval holds
        `confidence` shows nothing wrong.
    """

    count: int
    low: float
    high: float
    confidence: float
    accuracy: float
    accuracy_interval: Interval


@dataclass(frozen=True)
class Calibration:
    """What a model's probabilities are worth on a set of examples.

    Attributes:
      examples: that it was judged on.
      accuracy: fraction right.
      mean_confidence: mean of the greatest probability; above `accuracy` for a model that is too
        sure of itself.
      nll: negative log-likelihood, nats; see `negative_log_likelihood`.
      floored: examples whose true class got less than the floor of `nll`, which then decides what
        they cost.
      brier: Brier score in [0, 2]; see `brier_score`.
      ece: expected calibration error, a fraction; see `expected_calibration_error`.
      bins: from the least to the greatest confidence.
      selective: accuracy at coverages of 0.5, 0.8, 0.9, 0.95 and 1.
      aurc: area under the risk-coverage curve, a fraction; see `risk_coverage_area`.
      temperature: by which the outputs were divided; None for outputs as they are.
    """

    examples: int
    accuracy: float
    mean_confidence: float
    nll: float
    floored: int
    brier: float
    ece: float
    bins: tuple[ReliabilityBin, ...]
    selective: tuple[SelectiveAccuracy, ...]
    aurc: float
    temperature: float | None = None


def reliability_bins(
    probabilities: np.ndarray, labels: np.ndarray, *, bins: int = 15
) -> tuple[ReliabilityBin, ...]:
    """Accuracy by confidence, in bins of about equal counts.

    Confidence is the greatest probability. The examples are ranked by it, and an example of rank
    `r` in `0..n-1` goes into bin `floor(bins (r + 1/2) / n)`. Equal confidences stay together: all
    of them have the middle of their ranks. So the order of the examples does not count, and where
    many are equal (an int8 softmax says 255/256 of most) there are fewer bins, of unequal counts.

    Args:
      probabilities: [examples, classes], as `normalized_probabilities` takes them.
      labels: integer [examples] in [0, classes).
      bins: at most so many, at least 1.

    Returns:
      The bins that hold an example, from the least to the greatest confidence.

    Raises:
      ValueError: values or shapes that do not fit, or no bin.

    Example:
      >>> sure = np.array([[0.6, 0.4], [0.9, 0.1], [0.7, 0.3], [0.9, 0.1]])
      >>> found = reliability_bins(sure, np.array([1, 0, 0, 0]), bins=2)
      >>> [(each.count, round(each.confidence, 2), each.accuracy) for each in found]
      [(2, 0.65, 0.5), (2, 0.9, 1.0)]
    """
    confidence = normalized_probabilities(probabilities).max(axis=1)
    return _bins(confidence, correct(probabilities, labels), bins=bins)


def expected_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, *, bins: int = 15
) -> float:
    """Mean distance of confidence and accuracy over `reliability_bins`, weighed by their counts.

    `sum over bins of count / n |accuracy - confidence|`. It is never 0 by chance alone: a model
    whose confidence is exactly right shows about `sqrt(2 bins p (1 - p) / (pi n))` with an accuracy
    of `p`, so 0.009 with 10,000 examples at 90% and 15 bins. Compare models on the same examples
    only; whether two differ, `paired_bootstrap` tells by their `log_losses` or `brier_losses`, for
    this error is no figure to resample.

    Args:
      probabilities: [examples, classes], as `normalized_probabilities` takes them.
      labels: integer [examples] in [0, classes).
      bins: at most so many, at least 1.

    Returns:
      A fraction in [0, 1].

    Raises:
      ValueError: values or shapes that do not fit, or no bin.

    Example:
      >>> sure = np.array([[0.6, 0.4], [0.9, 0.1], [0.7, 0.3], [0.9, 0.1]])
      >>> round(expected_calibration_error(sure, np.array([1, 0, 0, 0]), bins=2), 3)
      0.125

    Reference: Naeini, Cooper and Hauskrecht, AAAI 2015; bins of equal counts: Nixon et al.,
    "Measuring Calibration in Deep Learning", CVPR Workshops 2019.
    """
    confidence = normalized_probabilities(probabilities).max(axis=1)
    return _error(confidence, correct(probabilities, labels), bins=bins)


def summarize_calibration(
    outputs: np.ndarray,
    labels: np.ndarray,
    kind: str,
    *,
    bins: int = 15,
    temperature: float | None = None,
    floor: float = scoring.PROBABILITY_FLOOR,
) -> Calibration:
    """All that this package says of a model's confidence.

    Args:
      outputs: float [examples, classes].
      labels: integer [examples] in [0, classes).
      kind: `"logits"` or `"probabilities"`.
      bins: of the reliability diagram and the calibration error.
      temperature: above 0, found by `fit_temperature` on other examples; None takes the outputs as
        they are.
      floor: the least probability that `nll` takes a logarithm of; see `log_losses`.

    Raises:
      ValueError: values or shapes that do not fit.

    Example:
      >>> logits = np.log([[0.6, 0.4], [0.9, 0.1], [0.7, 0.3], [0.9, 0.1]])
      >>> found = summarize_calibration(logits, np.array([1, 0, 0, 0]), "logits", bins=2)
      >>> found.accuracy, round(found.mean_confidence, 3), round(found.ece, 3)
      (0.75, 0.775, 0.125)
    """
    right = correct(outputs, labels)
    if temperature is None:
        shares = normalized_probabilities(raw.probabilities(outputs, kind))
    else:
        shares = scaled_probabilities(outputs, kind, temperature, floor=floor)
    confidence = shares.max(axis=1)
    return Calibration(
        examples=right.size,
        accuracy=float(right.mean()),
        mean_confidence=float(confidence.mean()),
        nll=scoring.negative_log_likelihood(shares, labels, floor=floor),
        floored=int((scoring.label_probabilities(shares, labels) < floor).sum()),
        brier=scoring.brier_score(shares, labels),
        ece=_error(confidence, right, bins=bins),
        bins=_bins(confidence, right, bins=bins),
        selective=selective.accuracies_by_confidence(
            confidence, right, coverages=selective.COVERAGES
        ),
        aurc=selective.area_by_confidence(confidence, right),
        temperature=temperature,
    )


def _bins(confidence: np.ndarray, right: np.ndarray, *, bins: int) -> tuple[ReliabilityBin, ...]:
    places = _places(confidence, bins=bins)
    return tuple(_bin(confidence[places == k], right[places == k]) for k in np.unique(places))


def _places(confidence: np.ndarray, *, bins: int) -> np.ndarray:
    """The bin of each example, int64 [examples]; equal confidences have one place."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1. Received: {bins}.")
    _, group, sizes = np.unique(confidence, return_inverse=True, return_counts=True)
    middles = np.cumsum(sizes) - sizes / 2
    places: np.ndarray = np.floor(bins * middles / confidence.size).astype(np.int64)[group]
    return places


def _bin(confidence: np.ndarray, right: np.ndarray) -> ReliabilityBin:
    return ReliabilityBin(
        count=right.size,
        low=float(confidence.min()),
        high=float(confidence.max()),
        confidence=float(np.sort(confidence).mean()),
        accuracy=float(right.mean()),
        accuracy_interval=wilson_interval(int(right.sum()), right.size),
    )


def _error(confidence: np.ndarray, right: np.ndarray, *, bins: int) -> float:
    """Distances of sums, which is that of means weighed by counts."""
    places = _places(confidence, bins=bins)
    distances = np.bincount(places, confidence) - np.bincount(places, right)
    return float(np.abs(distances).sum() / confidence.size)
