"""The bootstrap: a figure again and again, on examples drawn with repetition.

Knows how often each example is drawn and what interval follows. Does not know the figure.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tfcompress.results import Interval
from tfcompress.statistics.proportions import check_confidence

# Counts held at once: 16 MiB of them as float64.
_BUDGET = 2**21
# Of the resamples, so many may leave a figure undefined before its interval is.
_MOST_UNDEFINED = 0.01


def resampled_indices(
    examples: int, *, resamples: int, generator: np.random.Generator
) -> np.ndarray:
    """Which examples samples hold that are drawn from them with repetition.

    Args:
      examples: to draw from, and to draw; at least 1.
      resamples: at least 1; see `portions`.
      generator: of the random numbers.

    Returns:
      int64 [resamples, examples] in [0, examples).
    """
    return generator.integers(0, examples, (resamples, examples))


def resampled_counts(
    examples: int, *, resamples: int, generator: np.random.Generator
) -> np.ndarray:
    """How often each example occurs in samples drawn from them with repetition.

    A figure over a sample is a weighted one with these counts. Used for several models at once,
    they pair the models: each resample holds the same examples for all.

    Args:
      examples: to draw from, and to draw; at least 1.
      resamples: at least 1; see `portions`.
      generator: of the random numbers.

    Returns:
      float64 [resamples, examples] whose rows sum to `examples`.

    Example:
      >>> resampled_counts(5, resamples=2, generator=np.random.default_rng(0)).sum(axis=1).tolist()
      [5.0, 5.0]
    """
    drawn = resampled_indices(examples, resamples=resamples, generator=generator)
    drawn += examples * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=resamples * examples)
    return counts.reshape(resamples, examples).astype(np.float64)


def portions(resamples: int, *, examples: int) -> Iterator[int]:
    """How many resamples to hold in memory at once, one portion after the other.

    Args:
      resamples: of all portions together, at least 1.
      examples: of the largest set that is drawn from, at least 1.

    Raises:
      ValueError: no example or no resample.

    Example:
      >>> list(portions(500, examples=10_000))
      [209, 209, 82]
    """
    if min(examples, resamples) < 1:
        raise ValueError(
            "A bootstrap takes at least 1 example and 1 resample. "
            f"Received: {examples} and {resamples}."
        )
    most = max(1, _BUDGET // examples)
    for start in range(0, resamples, most):
        yield min(most, resamples - start)


def percentile_interval(
    values: np.ndarray, *, confidence: float = 0.95, method: str = "paired_bootstrap"
) -> Interval | None:
    """The interval that the middle of a figure's resampled values spans.

    Args:
      values: float [resamples]; NaN where a resample leaves the figure undefined.
      confidence: a fraction in (0, 1).
      method: what the interval says of how it was made.

    Returns:
      The interval, or None where more than 1 in 100 resamples are undefined: an interval of the
      others would be that of another figure.

    Raises:
      ValueError: a confidence out of range.

    Example:
      >>> interval = percentile_interval(np.arange(101), confidence=0.9)
      >>> round(interval.low, 6), round(interval.high, 6)
      (5.0, 95.0)

    Reference: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    check_confidence(confidence)
    defined = values[np.isfinite(values)]
    if len(defined) < (1 - _MOST_UNDEFINED) * len(values):
        return None
    low, high = np.quantile(defined, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(float(low), float(high), confidence, method)
