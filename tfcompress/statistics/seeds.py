"""A figure over runs that differ in their seed.

Knows mean and spread. Does not know what the figure is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


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
