"""A figure over runs that differ in their seed, of one variant and of two.

Knows mean and spread, and the difference of two variants seed by seed. Does not know what the
figure is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from tfcompress.results import Interval
from tfcompress.statistics.proportions import check_confidence


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
    array = _figures(values)
    return SeedSummary(
        mean=float(array.mean()),
        std=float(array.std(ddof=1)) if array.size > 1 else None,
        n=array.size,
        low=float(array.min()),
        high=float(array.max()),
    )


@dataclass(frozen=True)
class SeedDifference:
    """The difference of a figure between two variants that were trained with the same seeds.

    Attributes:
      mean: mean over the seeds of the variant's figure minus the baseline's.
      std: sample standard deviation of the differences; None for a single seed.
      interval: of `mean`, by Student's t with `n - 1` degrees of freedom; None for a single seed
        and where all differences are the same.
      p_value: of no difference, two-sided, by the paired t test; None where `interval` is.
      n: seeds.
    """

    mean: float
    std: float | None
    interval: Interval | None
    p_value: float | None
    n: int


def paired_seed_difference(
    values: Sequence[float], baseline_values: Sequence[float], *, confidence: float = 0.95
) -> SeedDifference:
    """The difference of two variants over seeds, as trainings that are repeated would show it.

    `mean +- t sqrt(std^2 / n)` with the quantile `t` of `n - 1` degrees of freedom. The interval is
    of another chance than that of `compare`: of the training, not of the examples. It takes the
    differences for about normal, and is wide with few seeds: 12.7 standard errors to each side with
    two, 4.3 with three, 2.8 with five.

    Args:
      values: the variant's figure of each seed, finite, at least one.
      baseline_values: the baseline's, in the same order of seeds.
      confidence: a fraction in (0, 1).

    Returns:
      With a single seed the difference only. Where all differences are the same, as may happen with
      rounded figures, their spread says nothing: interval and p value are None.

    Raises:
      ValueError: no value, numbers of seeds that differ, a value that is not finite.

    Example:
      >>> found = paired_seed_difference([0.90, 0.91, 0.93], [0.91, 0.93, 0.94])
      >>> round(found.mean, 4), round(found.interval.low, 4), round(found.interval.high, 4)
      (-0.0133, -0.0277, 0.001)
      >>> round(found.p_value, 4)
      0.0572

    Reference: Student, "The Probable Error of a Mean", Biometrika 6 (1908) 1-25.
    """
    check_confidence(confidence)
    figures, baseline = _figures(values), _figures(baseline_values)
    if figures.size != baseline.size:
        raise ValueError(
            "Expected a figure of each seed for both variants, in the same order. "
            f"Received: {figures.size} and {baseline.size}."
        )
    differences = figures - baseline
    mean, n = float(differences.mean()), differences.size
    if n == 1:
        return SeedDifference(mean, None, None, None, n)
    std = float(differences.std(ddof=1))
    # Equal up to what the subtraction rounds off.
    if std <= 1e-12 * float(np.abs([figures, baseline]).max()):
        return SeedDifference(mean, std, None, None, n)
    error = std / n**0.5
    half = float(stats.t.ppf(0.5 + confidence / 2, n - 1)) * error
    p_value = float(2 * stats.t.sf(abs(mean) / error, n - 1))
    interval = Interval(mean - half, mean + half, confidence, "paired_t")
    return SeedDifference(mean, std, interval, p_value, n)


def _figures(values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"Expected at least one finite number. Received: {list(values)}.")
    return array
