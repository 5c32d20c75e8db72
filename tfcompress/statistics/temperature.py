"""Temperature scaling: one number that makes a model's confidence match its accuracy.

Knows how the number is found and applied. Does not know which examples are for finding it: those of
the validation split, never those on which the result is judged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from tfcompress.predictions import CLASS_KINDS
from tfcompress.registry import require
from tfcompress.statistics.outputs import check_labels, normalized_probabilities, predicted_classes
from tfcompress.statistics.scoring import PROBABILITY_FLOOR, check_floor

LEAST, GREATEST = 0.01, 100.0
"""Between these a temperature is looked for; trained classifiers have 0.5 to 5."""


class NoTemperatureError(ValueError):
    """No temperature is best for the outputs, as where every example is right."""


@dataclass(frozen=True)
class Temperature:
    """A temperature and what it does on the examples that it was fitted on.

    Attributes:
      temperature: above 1 for a model that is too sure of itself.
      nll_before: negative log-likelihood of the outputs as they are, in nats.
      nll_after: the same at `temperature`, never higher.
      examples: that it was fitted on.
    """

    temperature: float
    nll_before: float
    nll_after: float
    examples: int


def fit_temperature(
    outputs: np.ndarray, labels: np.ndarray, kind: str, *, floor: float = PROBABILITY_FLOOR
) -> Temperature:
    """The temperature with the greatest likelihood on validation outputs.

    Minimizes `-mean log softmax(z / T)[label]`, which is convex in `b = 1 / T`: its slope,
    the mean of `sum_k p_k z_k - z_label` at `p = softmax(b z)`, grows with `b`, so that its only
    root is looked for, over `log T`. The prediction of no example changes.

    Args:
      outputs: float [examples, classes], of the validation split.
      labels: integer [examples] in [0, classes).
      kind: `"logits"` or `"probabilities"`; of the latter the logarithm is scaled, after what
        `normalized_probabilities` does and with `floor` as the least.
      floor: in (0, 1); logits need none. 1/512 suits an int8 softmax.

    Raises:
      NoTemperatureError: no temperature in [0.01, 100] is best, as where every example is right or
        the outputs say nothing.
      ValueError: values or shapes that do not fit.

    Example:
      >>> logits = np.array([[4.0, 0.0]] * 4)
      >>> found = fit_temperature(logits, np.array([0, 0, 0, 1]), "logits")
      >>> round(found.temperature, 4), round(4 / float(np.log(3)), 4)
      (3.641, 3.641)

    Reference: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML
    2017.
    """
    scores, labels = _log_scores(outputs, kind, floor=floor), np.asarray(labels)
    check_labels(scores, labels)
    given = scores[np.arange(len(labels)), labels.astype(np.int64)]

    def slope(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        expected = (special.softmax(scale * scores, axis=1) * scores).sum(axis=1)
        return float((expected - given).mean())

    def nll(temperature: float) -> float:
        normalizers = special.logsumexp(scores / temperature, axis=1)
        return float((normalizers - given / temperature).mean())

    coldest, hottest = np.log(LEAST), np.log(GREATEST)
    if not slope(coldest) > 0 > slope(hottest):
        raise NoTemperatureError(_no_temperature(scores, labels))
    best = float(np.exp(optimize.brentq(slope, coldest, hottest, xtol=1e-12)))
    return Temperature(best, nll(1.0), nll(best), len(labels))


def scaled_probabilities(
    outputs: np.ndarray, kind: str, temperature: float, *, floor: float = PROBABILITY_FLOOR
) -> np.ndarray:
    """Probabilities at a temperature, `softmax(z / T)`.

    Args:
      outputs: float [examples, classes].
      kind: `"logits"` or `"probabilities"`, treated as in `fit_temperature`.
      temperature: above 0; above 1 it lowers confidence.
      floor: in (0, 1), for probabilities.

    Returns:
      float64 [examples, classes]; each row sums to 1.

    Raises:
      ValueError: values that do not fit.

    Example:
      >>> scaled_probabilities(np.array([[0.9, 0.1]]), "probabilities", 2.0).round(2).tolist()
      [[0.75, 0.25]]
    """
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature must be above 0 and finite. Received: {temperature}.")
    scores = _log_scores(outputs, kind, floor=floor)
    shares: np.ndarray = special.softmax(scores / temperature, axis=1)
    return shares


def _log_scores(outputs: np.ndarray, kind: str, *, floor: float) -> np.ndarray:
    """Logits whose greatest is 0 in each row, so that no multiple of them overflows."""
    require(kind, CLASS_KINDS, what="kind of outputs")
    if kind == "probabilities":
        scores = np.log(np.maximum(normalized_probabilities(outputs), check_floor(floor)))
    else:
        scores = np.asarray(outputs, np.float64)
        predicted_classes(scores)
        if not np.isfinite(scores).all():
            raise ValueError("Logits must be finite. Received: an infinite one.")
    below: np.ndarray = scores - scores.max(axis=1, keepdims=True)
    return below


def _no_temperature(scores: np.ndarray, labels: np.ndarray) -> str:
    right = int((scores.argmax(axis=1) == labels).sum())
    say = f"No temperature in [{LEAST}, {GREATEST:.0f}] is best for these {len(labels)} examples"
    if not scores.any():
        return f"{say}: every class has the same output."
    if right == len(labels):
        return f"{say}: all are right, so that more confidence is always better. Fit on more."
    return (
        f"{say}: {right} are right, and the likelihood has no maximum. Check that outputs, labels "
        "and kind belong together."
    )
