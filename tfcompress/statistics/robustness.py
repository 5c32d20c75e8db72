"""How a model fares on corrupted images, beside the baseline on the same ones.

Knows right and wrong by corruption, severity and example. Does not know the corruptions' names nor
how images were corrupted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfcompress.results import Interval
from tfcompress.statistics.resampling import percentile_interval, portions, resampled_counts


@dataclass(frozen=True, eq=False)
class RightAnswers:
    """Which examples a model has right, as they are and corrupted.

    Attributes:
      clean: bool [examples].
      corrupted: bool [corruptions, severities, examples], of the same examples in the same order.

    Raises:
      ValueError: shapes that do not fit, or nothing in one of them.
    """

    clean: np.ndarray
    corrupted: np.ndarray

    def __post_init__(self) -> None:
        shape = np.shape(self.corrupted)
        if len(shape) != 3 or shape[2:] != np.shape(self.clean) or 0 in shape:
            raise ValueError(
                "RightAnswers takes clean [examples] and corrupted [corruptions, severities, "
                "examples], at least one of each. "
                f"Received: {list(np.shape(self.clean))} and {list(shape)}."
            )

        for name, value in (("clean", self.clean), ("corrupted", self.corrupted)):
            if np.asarray(value).dtype != bool:
                raise ValueError(
                    f"RightAnswers.{name} must be bool: which are right. Received: "
                    f"{np.asarray(value).dtype}."
                )

    @property
    def errors(self) -> np.ndarray:
        """Float [corruptions, examples]: in how many severities an example is wrong."""
        wrong: np.ndarray = (~np.asarray(self.corrupted, bool)).sum(axis=1).astype(np.float64)
        return wrong

    @property
    def increases(self) -> np.ndarray:
        """Float [corruptions, examples]: `errors` beyond those of the clean example."""
        severities = self.corrupted.shape[1]
        beyond: np.ndarray = self.errors - severities * ~np.asarray(self.clean, bool)
        return beyond


@dataclass(frozen=True)
class UnderCorruption:
    """A model under one corruption, over its severities.

    Attributes:
      accuracy: fraction right, the mean over severities.
      difference: `accuracy` minus the baseline's.
      difference_interval: of `difference`.
      error_ratio: errors summed over severities, over the baseline's; None where it makes none.
    """

    accuracy: float
    difference: float
    difference_interval: Interval | None
    error_ratio: float | None


@dataclass(frozen=True)
class RobustnessComparison:
    """A model on corrupted images, beside the baseline.

    Attributes:
      accuracy: fraction right, the mean over corruptions and severities.
      accuracy_interval: of `accuracy`.
      difference: `accuracy` minus the baseline's.
      difference_interval: of `difference`.
      mean_corruption_error: see `mean_error_ratio`; 1 is as good as the baseline.
      mean_corruption_error_interval: of it; None where too many resamples leave it undefined.
      relative_mean_corruption_error: the same of the increases over the clean error.
      relative_mean_corruption_error_interval: of it.
      corruptions: one by one.
    """

    accuracy: float
    accuracy_interval: Interval | None
    difference: float
    difference_interval: Interval | None
    mean_corruption_error: float | None
    mean_corruption_error_interval: Interval | None
    relative_mean_corruption_error: float | None
    relative_mean_corruption_error_interval: Interval | None
    corruptions: tuple[UnderCorruption, ...]


def mean_error_ratio(errors: np.ndarray, baseline: np.ndarray) -> float | None:
    """The mean corruption error, mCE, relative to a baseline: `mean_c(errors_c / baseline_c)`.

    With errors summed over severities it is the mCE of Hendrycks and Dietterich; with increases
    over the clean error in their place it is their relative mCE, which leaves out that a model errs
    more on clean images too.

    Args:
      errors: [corruptions], sums or means over severities and examples.
      baseline: [corruptions], of the baseline, likewise.

    Returns:
      The ratio, or None where the baseline has no error, or no increase, under a corruption.

    Example:
      >>> mean_error_ratio(np.array([0.3, 0.2]), np.array([0.2, 0.2]))
      1.25

    Reference: Hendrycks and Dietterich, ICLR 2019, section 4.2; their baseline is AlexNet.
    """
    ratio = float(_mean_ratios(np.asarray(errors), np.asarray(baseline)))
    return None if np.isnan(ratio) else ratio


def compare_robustness(
    model: RightAnswers,
    baseline: RightAnswers,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> RobustnessComparison:
    """A model on corrupted images beside the baseline, with paired uncertainty.

    Intervals are percentile intervals of a bootstrap that draws examples: a drawn example is in the
    resample in all corruptions and severities, clean, and of both models. They say what other test
    images would change, not what other random numbers or another training would. Where no answer
    changes, the interval of a difference is a point, and too narrow.

    Args:
      model: the model's answers.
      baseline: the baseline's, of the same examples, corruptions and severities in the same order.
      resamples: of the bootstrap.
      confidence: a fraction in (0, 1).
      seed: of the bootstrap.

    Raises:
      ValueError: answers of different shapes, or a value out of range.
    """
    if model.corrupted.shape != baseline.corrupted.shape:
        raise ValueError(
            "Both models must be judged on the same corruptions, severities and examples. "
            f"Received: {list(model.corrupted.shape)} and {list(baseline.corrupted.shape)}."
        )
    parts = (model.errors, baseline.errors, model.increases, baseline.increases)
    found, spread = _figures(
        np.stack(parts), severities=model.corrupted.shape[1], resamples=resamples, seed=seed
    )

    def interval(values: np.ndarray) -> Interval | None:
        return percentile_interval(values, confidence=confidence)

    return RobustnessComparison(
        accuracy=float(found.accuracies.mean()),
        accuracy_interval=interval(spread.accuracies.mean(axis=-1)),
        difference=float(found.differences.mean()),
        difference_interval=interval(spread.differences.mean(axis=-1)),
        mean_corruption_error=mean_error_ratio(found.errors, found.baseline_errors),
        mean_corruption_error_interval=interval(
            _mean_ratios(spread.errors, spread.baseline_errors)
        ),
        relative_mean_corruption_error=mean_error_ratio(found.increases, found.baseline_increases),
        relative_mean_corruption_error_interval=interval(
            _mean_ratios(spread.increases, spread.baseline_increases)
        ),
        corruptions=tuple(
            UnderCorruption(
                accuracy=float(found.accuracies[index]),
                difference=float(found.differences[index]),
                difference_interval=interval(spread.differences[:, index]),
                error_ratio=mean_error_ratio(found.errors[[index]], found.baseline_errors[[index]]),
            )
            for index in range(len(found.errors))
        ),
    )


def _figures(
    parts: np.ndarray, *, severities: int, resamples: int, seed: int
) -> tuple[_Figures, _Figures]:
    """Of all examples, and of each resample, from [4, corruptions, examples] of `_Figures`."""
    *shape, examples = parts.shape
    features = parts.reshape(-1, examples)
    generator = np.random.default_rng(seed)
    sums = np.concatenate(
        [
            resampled_counts(examples, resamples=part, generator=generator) @ features.T
            for part in portions(resamples, examples=examples)
        ]
    )
    answers = severities * examples
    spread = np.moveaxis(sums.reshape(-1, *shape), 1, 0)
    return _Figures(*(parts.sum(axis=-1) / answers)), _Figures(*(spread / answers))


@dataclass(frozen=True, eq=False)
class _Figures:
    """Of one sample [corruptions], or of many [samples, corruptions]; fractions of all answers."""

    errors: np.ndarray
    baseline_errors: np.ndarray
    increases: np.ndarray
    baseline_increases: np.ndarray

    @property
    def accuracies(self) -> np.ndarray:
        accuracies: np.ndarray = 1 - self.errors
        return accuracies

    @property
    def differences(self) -> np.ndarray:
        differences: np.ndarray = self.baseline_errors - self.errors
        return differences


def _mean_ratios(errors: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Along the last axis; NaN where the baseline's is not above zero somewhere."""
    undefined = (baseline <= 0).any(axis=-1)
    ratios = errors / np.where(baseline > 0, baseline, 1)
    mean: np.ndarray = np.where(undefined, np.nan, ratios.mean(axis=-1))
    return mean
