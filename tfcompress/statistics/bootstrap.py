"""Intervals of any figure, of one model or of the difference of two, by resampling the examples.

Knows arrays with one entry an example and functions of them. Does not know what a figure means.
Accuracies have intervals of their own (`wilson_interval`, `paired_difference_interval`) that are
better where few examples are wrong or few change.

The limits are percentiles of the resampled figures. In simulated differences of accuracy, of heavy-
tailed losses and of R squared over 100 to 400 examples, 95% intervals held the truth in 93 to 97%
of cases, BCa's in 92 to 96%, for whose acceleration a figure that is no mean is computed once more
for every example.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np

from tfcompress.results import Interval
from tfcompress.statistics.resampling import percentile_interval, portions, resampled_indices

Metric = Literal["mean"] | Callable[..., float]
Values = np.ndarray | tuple[np.ndarray, ...]


class BootstrapDifference(NamedTuple):
    """The difference of a figure between two models.

    Attributes:
      difference: of the model minus the baseline, on the examples as they are.
      interval: of `difference`, by `"paired_bootstrap"`.
      p_value: of no difference, two-sided, in (0, 1]; None where every resample has the same
        difference, as where both models have the same values.
    """

    difference: float
    interval: Interval
    p_value: float | None


def paired_bootstrap(
    metric: Metric,
    model_values: Values,
    baseline_values: Values,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> BootstrapDifference:
    """The difference of a figure between two models that were judged on the same examples.

    Both models are judged on the same `examples` examples, drawn with replacement, `resamples`
    times. The interval holds the middle `confidence` of the differences `d*`, and

        p = 2 min(1 + count(d* <= 0), 1 + count(d* >= 0)) / (1 + resamples), at most 1

    which is below `1 - confidence` about where the interval excludes 0.

    Not for `expected_calibration_error`: its value grows by chance, in a resample twice, so that
    the interval of a difference between a model whose confidence is right and one whose is not held
    the truth in no more than 1% of cases with 1,000 examples. Compare `log_losses` or
    `brier_losses`.

    Args:
      metric: `"mean"` for a figure that is a mean over examples (of `log_losses`, `brier_losses`,
        `absolute_errors`, right and wrong), which is fast; otherwise a function that computes the
        figure from as many arrays as the values have, such as `r_squared`.
      model_values: an array [examples, ...], or a tuple of arrays that are resampled together, such
        as `(outputs, targets)`.
      baseline_values: the same of the baseline, of the same examples in the same order.
      resamples: at least 100; below 1,000 the limits vary with the seed.
      confidence: a fraction in (0, 1).
      seed: of the resampling, at least 0.

    Raises:
      ValueError: lengths that differ, NaN, a figure that is not finite on the examples or a
        resample, numbers out of range.

    Example:
      >>> found = paired_bootstrap("mean", np.array([0.3, 0.5, 0.4]), np.array([0.2, 0.3, 0.4]))
      >>> round(found.difference, 3), found.interval.low, round(found.interval.high, 3)
      (0.1, 0.0, 0.2)

    Reference: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 13 and 15.
    """
    model, baseline = _arrays(metric, model_values), _arrays(metric, baseline_values)
    if len(model[0]) != len(baseline[0]):
        raise ValueError(
            "Paired values must be of the same examples. "
            f"Received: {len(model[0])} of the model, {len(baseline[0])} of the baseline."
        )

    def difference(picks: np.ndarray | slice) -> float:
        return _figure(metric, model, picks) - _figure(metric, baseline, picks)

    if metric == "mean":
        estimate, drawn = _means(model[0] - baseline[0], resamples, seed=seed)
    else:
        estimate = difference(slice(None))
        drawn = _resampled(difference, len(model[0]), resamples, seed=seed)
    return BootstrapDifference(
        estimate,
        _interval(drawn, confidence=confidence, method="paired_bootstrap"),
        _p_value(drawn),
    )


def bootstrap_interval(
    metric: Metric,
    values: Values,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, Interval]:
    """A figure of one model and its percentile interval over resampled examples.

    Args:
      metric: `"mean"` or a function, as in `paired_bootstrap`.
      values: an array [examples, ...] or a tuple of such.
      resamples: at least 100.
      confidence: a fraction in (0, 1).
      seed: of the resampling, at least 0.

    Returns:
      The figure on the examples as they are, and its interval by `"bootstrap"`.

    Raises:
      ValueError: as `paired_bootstrap` does.

    Example:
      >>> estimate, interval = bootstrap_interval("mean", np.array([0.2, 0.4, 0.9]))
      >>> estimate, round(interval.low, 2), round(interval.high, 2)
      (0.5, 0.2, 0.9)
    """
    arrays = _arrays(metric, values)
    if metric == "mean":
        estimate, drawn = _means(arrays[0], resamples, seed=seed)
    else:
        estimate = _figure(metric, arrays, slice(None))
        drawn = _resampled(
            lambda picks: _figure(metric, arrays, picks), len(arrays[0]), resamples, seed=seed
        )
    return estimate, _interval(drawn, confidence=confidence, method="bootstrap")


def _arrays(metric: Metric, values: Values) -> tuple[np.ndarray, ...]:
    arrays = tuple(np.asarray(v) for v in (values if isinstance(values, tuple) else (values,)))
    shapes = [list(a.shape) for a in arrays]
    if (
        not arrays
        or any(a.ndim == 0 for a in arrays)
        or {len(a) for a in arrays} - {len(arrays[0])}
    ):
        raise ValueError(f"Values must be arrays of one length. Received shapes: {shapes}.")
    if arrays[0].size == 0:
        raise ValueError(f"Values must be of at least one example. Received shapes: {shapes}.")
    if any(np.issubdtype(a.dtype, np.floating) and np.isnan(a).any() for a in arrays):
        raise ValueError("Values hold NaN. Leave such examples out of both models.")
    if metric != "mean":
        return arrays
    if len(arrays) != 1 or arrays[0].ndim != 1:
        raise ValueError(f'metric "mean" takes values [examples]. Received shapes: {shapes}.')
    return (arrays[0].astype(np.float64),)


def _figure(metric: Metric, arrays: tuple[np.ndarray, ...], picks: np.ndarray | slice) -> float:
    if not callable(metric):
        raise ValueError(f'metric must be "mean" or a function. Received: {metric!r}.')
    value = float(metric(*(array[picks] for array in arrays)))
    if not np.isfinite(value):
        where = "on the examples" if isinstance(picks, slice) else "on a resample"
        raise ValueError(
            f"The metric is {value} {where}: the examples are too few, or too much alike, for it."
        )
    return value


def _draws(examples: int, resamples: int, *, seed: int) -> Iterator[np.ndarray]:
    """Indices [some resamples, examples], a block at a time so that memory stays bounded."""
    if resamples < 100:
        raise ValueError(f"resamples must be at least 100. Received: {resamples}.")
    generator = np.random.default_rng(seed)
    for part in portions(resamples, examples=examples):
        yield resampled_indices(examples, resamples=part, generator=generator)


def _means(values: np.ndarray, resamples: int, *, seed: int) -> tuple[float, np.ndarray]:
    blocks = [values[picks].mean(axis=1) for picks in _draws(values.size, resamples, seed=seed)]
    return float(values.mean()), np.concatenate(blocks)


def _resampled(
    figure: Callable[[np.ndarray], float], examples: int, resamples: int, *, seed: int
) -> np.ndarray:
    blocks = _draws(examples, resamples, seed=seed)
    return np.array([figure(picks) for block in blocks for picks in block])


def _interval(drawn: np.ndarray, *, confidence: float, method: str) -> Interval:
    interval = percentile_interval(drawn, confidence=confidence, method=method)
    assert interval is not None, "every resample has a finite figure"
    return interval


def _p_value(drawn: np.ndarray) -> float | None:
    if np.ptp(drawn) == 0:
        return None
    least = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return min(1.0, 2 * (1 + least) / (1 + drawn.size))
