"""What stored predictions say of a model beside its baseline, as the figures of a row of results.

Knows which figures a classification has and which a statistics. How each is computed stands in
`statistics`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfcompress import statistics
from tfcompress.predictions import VALUES, Predictions
from tfcompress.results import ArtifactResult, Interval, Metric

Errors = Callable[[np.ndarray, np.ndarray], float]

FIGURES: Mapping[str, Errors] = {
    "mean_absolute_error": statistics.mean_absolute_error,
    "root_mean_squared_error": statistics.root_mean_squared_error,
    "r_squared": statistics.r_squared,
}
"""Of a regression, by the name of the metric: functions of outputs and targets."""
FEWEST = 30
"""Examples of which a bootstrap says something; of fewer there is no interval, and no test."""


def judged(row: ArtifactResult, found: Predictions, baseline: Predictions | None) -> ArtifactResult:
    """A row with the figures of its predictions.

    Args:
      row: of a model or a file.
      found: its predictions.
      baseline: those of the baseline, of the same examples in the same order; None for the baseline
        itself, which has no difference.

    Raises:
      ValueError: predictions that do not fit each other, or that are not finite.
    """
    if found.kind == VALUES:
        return dataclasses.replace(row, metrics=value_metrics(found, baseline))
    versus = statistics.compare(found.outputs, (baseline or found).outputs, found.labels)
    row = dataclasses.replace(
        row, accuracy=versus.accuracy, accuracy_interval=versus.accuracy_interval
    )
    if baseline is None:
        return row
    return dataclasses.replace(
        row,
        difference=versus.difference,
        difference_interval=versus.difference_interval,
        p_value=versus.p_value,
        gained=versus.gained,
        lost=versus.lost,
    )


def value_metrics(found: Predictions, baseline: Predictions | None = None) -> tuple[Metric, ...]:
    """The errors of predicted values, with intervals by bootstrap, paired by image.

    Of several targets each figure is the mean over them; then those of each target follow, by names
    such as `"r_squared/2"` for the third. R squared is left out where a target does not vary.

    Args:
      found: of a model, values.
      baseline: of the same examples in the same order; None for the baseline itself.
    """
    count = found.outputs.shape[1]
    columns = [slice(None)] + ([slice(i, i + 1) for i in range(count)] if count > 1 else [])
    metrics = []
    for number, column in enumerate(columns):
        suffix = f"/{number - 1}" if number else ""
        for name in FIGURES:
            if name == "r_squared" and not np.ptp(found.labels[:, column], axis=0).all():
                continue
            metrics.append(_metric(name, suffix, column, found, baseline))
    return tuple(metrics)


def _metric(
    name: str, suffix: str, column: slice, found: Predictions, baseline: Predictions | None
) -> Metric:
    figure, ours = _values(name, found, column)
    value = FIGURES[name](found.outputs[:, column], found.labels[:, column])
    if len(found) < FEWEST:
        return Metric(name + suffix, value)
    try:
        _, interval = statistics.bootstrap_interval(figure, ours)
        if baseline is None:
            return Metric(name + suffix, value, interval)
        versus = statistics.paired_bootstrap(figure, ours, _values(name, baseline, column)[1])
    except ValueError:
        # So few examples that a resample of them has no variance: there is no interval.
        return Metric(name + suffix, value)
    return Metric(
        name + suffix, value, interval, versus.difference, versus.interval, versus.p_value
    )


def _values(name: str, found: Predictions, column: slice) -> tuple[Any, Any]:
    """What is resampled, and the figure of it; a mean over examples is resampled fast."""
    outputs, labels = found.outputs[:, column], found.labels[:, column]
    if name == "mean_absolute_error":
        return "mean", statistics.absolute_errors(outputs, labels)
    return FIGURES[name], (outputs, labels)


def sentence(row: ArtifactResult) -> str:
    """The main figure of a row and its interval, in a line.

    Example:
      >>> metric = Metric("mean_absolute_error", 4.25, Interval(4.0, 4.5))
      >>> sentence(ArtifactResult("a", metrics=(metric,)))
      'mean absolute error 4.25 (4 to 4.5)'
    """
    if row.metrics:
        metric = row.metrics[0]
        text = f"{metric.name.replace('_', ' ')} {metric.value:.4g}"
        return text if metric.interval is None else f"{text} {_ends(metric.interval, '.4g')}"
    if row.accuracy is None or row.accuracy_interval is None:
        return "not judged"
    return f"{row.accuracy:.2%} {_ends(row.accuracy_interval, '.2%')}"


def _ends(interval: Interval, form: str) -> str:
    return f"({interval.low:{form}} to {interval.high:{form}})"
