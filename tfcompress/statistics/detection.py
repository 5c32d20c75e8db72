"""How well a model's confidence tells images of its own kind from foreign ones.

Knows one number for each image. Does not know what it is the confidence in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from tfcompress.results import Interval
from tfcompress.statistics.resampling import percentile_interval, portions, resampled_counts


@dataclass(frozen=True, eq=False)
class Confidences:
    """A model's confidence in its answers on two sets of images.

    Attributes:
      own: float [images], on images of the kind that it was trained for.
      foreign: float [other images], on images of another kind.

    Raises:
      ValueError: no vectors, none in one of them, or NaN.
    """

    own: np.ndarray
    foreign: np.ndarray

    def __post_init__(self) -> None:
        for name, values in (("own", self.own), ("foreign", self.foreign)):
            if np.ndim(values) != 1 or len(values) == 0 or np.isnan(values).any():
                raise ValueError(
                    f"Confidences.{name} takes a vector of at least one number and no NaN. "
                    f"Received: {list(np.shape(values))}, {int(np.isnan(values).sum())} NaN."
                )


def auroc(confidences: Confidences) -> float:
    """The probability that an own image gets a higher confidence than a foreign one.

    The area under the curve of true against false positives: 1 where a threshold parts the two
    sets, 0.5 where confidence says nothing, and less where the model is surer of foreign images. A
    tie counts half.

    Args:
      confidences: of one model.

    Returns:
      A fraction in [0, 1].

    Example:
      >>> auroc(Confidences(np.array([0.9, 0.6]), np.array([0.6, 0.5])))
      0.875

    Reference: Hendrycks and Gimpel, A Baseline for Detecting Misclassified and Out-of-Distribution
    Examples in Neural Networks, ICLR 2017.
    """
    own, foreign = len(confidences.own), len(confidences.foreign)
    ranks = stats.rankdata(np.concatenate([confidences.own, confidences.foreign]))
    return float((ranks[:own].sum() - own * (own + 1) / 2) / (own * foreign))


def auroc_difference_interval(
    model: Confidences,
    baseline: Confidences,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval | None:
    """A bootstrap interval of a model's AUROC minus the baseline's.

    Each set is drawn from on its own, and the same images are in the resample for both models.

    Args:
      model: the model's confidences.
      baseline: the baseline's, on the same images in the same order.
      resamples: of the bootstrap.
      confidence: a fraction in (0, 1).
      seed: of the bootstrap.

    Raises:
      ValueError: confidences on different numbers of images, or a value out of range.
    """
    shapes = [(len(each.own), len(each.foreign)) for each in (model, baseline)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "Both models must be judged on the same images. "
            f"Received: {shapes[0]} and {shapes[1]} own and foreign ones."
        )
    areas = [_ResampledArea(model), _ResampledArea(baseline)]
    generator, found = np.random.default_rng(seed), []
    for part in portions(resamples, examples=max(shapes[0])):
        own, foreign = (
            resampled_counts(size, resamples=part, generator=generator) for size in shapes[0]
        )
        found.append(areas[0].of(own, foreign) - areas[1].of(own, foreign))
    return percentile_interval(np.concatenate(found), confidence=confidence)


class _ResampledArea:
    """The AUROC of weighted images: how much foreign weight lies below each own image."""

    def __init__(self, confidences: Confidences) -> None:
        self._order = np.argsort(confidences.foreign, kind="stable")
        ordered = confidences.foreign[self._order]
        self._below = np.searchsorted(ordered, confidences.own, side="left")
        self._not_above = np.searchsorted(ordered, confidences.own, side="right")

    def of(self, own: np.ndarray, foreign: np.ndarray) -> np.ndarray:
        """Of counts [resamples, images] of each set."""
        weight = np.cumsum(foreign[:, self._order], axis=1)
        weight = np.pad(weight, ((0, 0), (1, 0)))
        beaten = (weight[:, self._below] + weight[:, self._not_above]) / 2
        area: np.ndarray = (own * beaten).sum(axis=1) / (own.sum(axis=1) * foreign.sum(axis=1))
        return area
