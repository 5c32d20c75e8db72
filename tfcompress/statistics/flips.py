"""Which examples changed: accuracy may stay where answers do not.

Knows the predicted classes of a model and of the baseline, and the true ones. Does not know
confidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfcompress.results import Interval
from tfcompress.statistics.proportions import wilson_interval


@dataclass(frozen=True)
class Flips:
    """Examples to which a model gives another class than the baseline.

    Attributes:
      examples: that both answered.
      good: wrong under the baseline, right under the model.
      bad: right under the baseline, wrong under the model.
      neutral: wrong under both, with another class.
      churn_interval: Wilson's interval of `churn`.
    """

    examples: int
    good: int
    bad: int
    neutral: int
    churn_interval: Interval

    @property
    def churn(self) -> float:
        """The fraction of examples with another class, in [0, 1]."""
        return (self.good + self.bad + self.neutral) / self.examples

    @property
    def agreement(self) -> float:
        """The fraction with the same class, `1 - churn`."""
        return 1 - self.churn

    @property
    def good_fraction(self) -> float:
        """`good` of all examples; less `bad_fraction` it is the difference of the accuracies."""
        return self.good / self.examples

    @property
    def bad_fraction(self) -> float:
        """`bad` of all examples."""
        return self.bad / self.examples

    @property
    def neutral_fraction(self) -> float:
        """`neutral` of all examples."""
        return self.neutral / self.examples


def count_flips(
    predicted: np.ndarray,
    baseline_predicted: np.ndarray,
    labels: np.ndarray,
    *,
    confidence: float = 0.95,
) -> Flips:
    """How many examples a model answers otherwise than the baseline, for better and for worse.

    Two trainings of one network that differ in their seed alone disagree too: hold the churn of a
    compressed model against theirs.

    Args:
      predicted: integer [examples], of the model; see `predicted_classes`.
      baseline_predicted: integer [examples], of the baseline.
      labels: integer [examples].
      confidence: of the interval of churn, a fraction in (0, 1).

    Raises:
      ValueError: lengths that differ, no examples, classes that are no whole numbers from 0.

    Example:
      >>> labels = np.array([0, 1, 1, 1])
      >>> flips = count_flips(np.array([0, 1, 2, 0]), np.array([0, 2, 1, 2]), labels)
      >>> flips.good, flips.bad, flips.neutral, flips.churn
      (1, 1, 1, 0.75)

    Reference: Fard, Cormier, Canini and Gupta, "Launch and Iterate: Reducing Prediction Churn",
    NeurIPS 2016.
    """
    model, baseline, truth = same_examples(predicted, baseline_predicted, labels)
    changed, right, was_right = model != baseline, model == truth, baseline == truth
    return Flips(
        examples=truth.size,
        good=int((right & ~was_right).sum()),
        bad=int((~right & was_right).sum()),
        neutral=int((changed & ~right & ~was_right).sum()),
        churn_interval=wilson_interval(int(changed.sum()), truth.size, confidence=confidence),
    )


def telling_changes(
    predicted: Sequence[np.ndarray], baseline_predicted: np.ndarray, *, limit: int
) -> np.ndarray:
    """A few of the examples to which models give another class than the baseline.

    Each model has one vote, which it shares out among all examples that it changes; those with the
    most votes are taken. So what several models change comes first, and a model that changes almost
    everything does not crowd out the few changes of another.

    Args:
      predicted: of each model, integer [examples]; none at all is no change.
      baseline_predicted: integer [examples].
      limit: at most so many, at least 1.

    Returns:
      int64 indices, ascending; of equal votes the lower index counts.

    Raises:
      ValueError: lengths that differ, no examples, a limit below 1.

    Example:
      >>> models = [np.array([0, 1, 2, 0]), np.array([0, 1, 1, 1])]
      >>> telling_changes(models, np.array([0, 0, 1, 0]), limit=2).tolist()
      [1, 2]
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1. Received: {limit}.")
    *models, baseline = same_examples(*predicted, baseline_predicted)
    votes = np.zeros(baseline.size)
    for each in models:
        changed = each != baseline
        votes[changed] += 1 / max(changed.sum(), 1)
    most = np.argsort(-votes, kind="stable")[:limit]
    found: np.ndarray = np.sort(most[votes[most] > 0])
    return found


def same_examples(*classes: np.ndarray) -> tuple[np.ndarray, ...]:
    """Class indices as int64 [examples] each, checked to be of one length.

    Raises:
      ValueError: lengths that differ, no examples, what is no whole number of at least 0.
    """
    arrays = [np.asarray(each) for each in classes]
    shapes = [list(each.shape) for each in arrays]
    if any(each.ndim != 1 or each.shape != arrays[0].shape or not each.size for each in arrays):
        raise ValueError(
            "Expected predicted classes, the baseline's and labels, [examples] each and at least "
            f"one. Received shapes: {shapes}. From outputs, predicted_classes makes them."
        )
    for each in arrays:
        if (each != np.floor(each)).any() or each.min() < 0:
            raise ValueError(
                f"Classes must be whole numbers from 0. Received: {each.dtype}, {each.min()} to "
                f"{each.max()}."
            )
    return tuple(each.astype(np.int64) for each in arrays)
