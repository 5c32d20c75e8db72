"""How far numbers that a model predicts lie from the true ones.

Knows outputs and targets that are numbers, not classes. Does not know of a second model;
`paired_bootstrap` compares the errors of two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Regression:
    """Errors on a set of examples, each a mean over the targets.

    Attributes:
      examples: that the model was judged on.
      mean_absolute_error: in the unit of the targets.
      root_mean_squared_error: in the unit of the targets.
      r_squared: at most 1; 0 for a model that always says the mean.
    """

    examples: int
    mean_absolute_error: float
    root_mean_squared_error: float
    r_squared: float


def absolute_errors(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Absolute error of each example, `mean over targets of |output - target|`.

    Args:
      outputs: float [examples, targets] or [examples].
      targets: float of the same shape; [examples] goes with [examples, 1] too.

    Returns:
      float64 [examples], in the unit of the targets.

    Raises:
      ValueError: shapes that do not fit, no examples, a value that is not finite.

    Example:
      >>> absolute_errors(np.array([[1.0], [4.0]]), np.array([2.0, 4.0])).tolist()
      [1.0, 0.0]
    """
    found, truth = _columns(outputs, targets)
    errors: np.ndarray = np.abs(found - truth).mean(axis=1)
    return errors


def mean_absolute_error(outputs: np.ndarray, targets: np.ndarray) -> float:
    """Mean of `absolute_errors`, in the unit of the targets.

    Example:
      >>> mean_absolute_error(np.array([1.0, 4.0]), np.array([2.0, 4.0]))
      0.5
    """
    return float(absolute_errors(outputs, targets).mean())


def root_mean_squared_error(outputs: np.ndarray, targets: np.ndarray) -> float:
    """`sqrt(mean over examples of (output - target)^2)` of each target; the mean of these.

    It weighs large errors more than `mean_absolute_error` and is never below it.

    Args:
      outputs: float [examples, targets] or [examples].
      targets: float of the same shape; [examples] goes with [examples, 1] too.

    Returns:
      At least 0, in the unit of the targets.

    Raises:
      ValueError: as `absolute_errors` does.

    Example:
      >>> root_mean_squared_error(np.array([1.0, 1.0]), np.array([2.0, 0.0]))
      1.0
    """
    found, truth = _columns(outputs, targets)
    return float(np.sqrt(np.square(found - truth).mean(axis=0)).mean())


def r_squared(outputs: np.ndarray, targets: np.ndarray) -> float:
    """Share of the targets' variance that the model accounts for; of several targets the mean.

    `1 - sum (output - target)^2 / sum (target - mean target)^2`. It is negative for a model that is
    worse than the targets' mean, and depends on how much the targets vary: compare models on the
    same examples only.

    Args:
      outputs: float [examples, targets] or [examples].
      targets: float of the same shape; [examples] goes with [examples, 1] too.

    Returns:
      At most 1.

    Raises:
      ValueError: a target that does not vary; otherwise as `absolute_errors` does.

    Example:
      >>> r_squared(np.array([1.0, 2.0, 2.0]), np.array([1.0, 2.0, 3.0]))
      0.5
    """
    found, truth = _columns(outputs, targets)
    constant = np.flatnonzero(np.ptp(truth, axis=0) == 0)
    if constant.size:
        raise ValueError(
            f"R squared needs targets that vary. Received: the same value {truth[0, constant[0]]} "
            f"in all {len(truth)} examples of target {constant[0]}. Use mean_absolute_error."
        )
    residual = np.square(found - truth).sum(axis=0)
    total = np.square(truth - truth.mean(axis=0)).sum(axis=0)
    return float(np.mean(1 - residual / total))


def summarize_regression(outputs: np.ndarray, targets: np.ndarray) -> Regression:
    """All errors of a model at once.

    Args:
      outputs: float [examples, targets] or [examples].
      targets: float of the same shape; [examples] goes with [examples, 1] too.

    Raises:
      ValueError: as `r_squared` does.
    """
    errors = absolute_errors(outputs, targets)
    return Regression(
        examples=errors.size,
        mean_absolute_error=float(errors.mean()),
        root_mean_squared_error=root_mean_squared_error(outputs, targets),
        r_squared=r_squared(outputs, targets),
    )


def _columns(outputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 [examples, targets]."""
    pair = [np.asarray(each, np.float64) for each in (outputs, targets)]
    found, truth = (each[:, None] if each.ndim == 1 else each for each in pair)
    if found.ndim != 2 or found.shape != truth.shape or found.size == 0:
        raise ValueError(
            "Expected outputs [examples, targets] and targets of the same shape, or [examples] for "
            f"one target. Received: {list(pair[0].shape)} and {list(pair[1].shape)}."
        )
    for name, each in (("Outputs", found), ("Targets", truth)):
        if not np.isfinite(each).all():
            rows = int((~np.isfinite(each)).any(axis=1).sum())
            raise ValueError(f"{name} are not finite in {rows} of {len(each)} examples.")
    return found, truth
