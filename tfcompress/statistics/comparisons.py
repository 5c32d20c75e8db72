"""What many comparisons, or a small one, can be trusted to show.

Knows p values of several tests, and what McNemar's test could have seen. Does not know which models
or classes were compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from tfcompress.statistics.proportions import check_confidence


def holm(p_values: np.ndarray | Sequence[float | None]) -> np.ndarray:
    """P values adjusted for their number by Holm's step-down procedure.

    Of ten true null hypotheses, one is rejected at 5% in four cases out of ten. With the p values
    in ascending order, the adjusted ones are

        p~_(k) = max over j <= k of min(1, (m - j + 1) p_(j))

    and rejecting where `p~ <= 0.05` makes any false rejection at all at most 5% likely, however the
    tests depend on one another. It rejects whatever Bonferroni's correction rejects, and more.

    Args:
      p_values: fractions in [0, 1], of any shape. None or NaN stands for a test that was not made:
        it stays NaN and does not count.

    Returns:
      float64 of the same shape, in [0, 1] or NaN.

    Raises:
      ValueError: a value outside [0, 1].

    Example:
      >>> holm([0.04, 0.01, None, 0.03]).round(2).tolist()
      [0.06, 0.03, nan, 0.06]

    Reference: Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.
    """
    values = np.asarray(p_values, np.float64)
    made = values[~np.isnan(values)]
    if ((made < 0) | (made > 1)).any():
        raise ValueError(
            f"p values must be in [0, 1]. Received: {made.min()} to {made.max()}. Pass None for a "
            "test that was not made."
        )
    order = np.argsort(made, kind="stable")
    stepped = made[order] * np.arange(made.size, 0, -1)
    adjusted = np.full(values.shape, np.nan)
    ranked = np.empty(made.size)
    ranked[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    adjusted[~np.isnan(values)] = ranked
    return adjusted


@dataclass(frozen=True)
class DetectableDifference:
    """The smallest difference that a paired comparison would have shown.

    Attributes:
      difference: of two accuracies, a fraction in (0, 1], in either direction; None where the
        examples are too few for any.
      discordance: the fraction of examples on which one model is right and the other wrong that
        `difference` takes for granted.
      observed: whether `discordance` is the observed one. It is not where that is too small to hold
        a difference that could be shown, as where nothing disagrees.
    """

    difference: float | None
    discordance: float | None
    observed: bool


def smallest_detectable_difference(
    examples: int, discordant: int, *, confidence: float = 0.95, power: float = 0.8
) -> DetectableDifference:
    """What McNemar's test would have shown: the difference it finds with the stated probability.

    "No significant difference" says little where only a large one could have been significant. With
    `n` examples, of which a share `psi` is right under one model alone, the smallest true
    difference `d` of the accuracies that is found is the solution of

        n d^2 = (z_a sqrt(psi) + z_b sqrt(psi - d^2))^2

    where `z_a` and `z_b` are the normal quantiles of `1 - (1 - confidence) / 2` and of `power`. A
    difference cannot exceed the discordance. Where the solution would (few examples disagree, or
    none), it is that of the case in which every disagreement goes one way, `psi = d`:

        n d = (z_a + z_b sqrt(1 - d))^2

    which asks for about 8 examples at the usual level and power. Where nothing disagrees, `psi`
    before that is the upper limit `1 - (1 - confidence)^(1/n)` (about `3 / n`, the rule of three).

    The formula is of the asymptotic test. The exact one, `mcnemar_p_value`, is a little more
    cautious: computed over all outcomes, its power at this difference is 0.77 to 0.80 for 0 to 300
    disagreements among 500 to 10,000 examples. With under about 10 examples neither says much.

    Args:
      examples: paired examples, at least 1.
      discordant: of them, those that one model alone has right (gained + lost), at least 0.
      confidence: one minus the level of the two-sided test, a fraction in (0, 1).
      power: the probability with which the difference is to be found, a fraction in (0, 1).

    Raises:
      ValueError: a count or fraction out of range.

    Example:
      >>> found = smallest_detectable_difference(10000, 300)
      >>> round(found.difference, 4), found.discordance, found.observed
      (0.0049, 0.03, True)
      >>> few = smallest_detectable_difference(10000, 0)
      >>> round(few.difference, 5), few.observed
      (0.00078, False)

    Reference: Connor, Biometrics 43 (1987) 207-211, after Miettinen, Biometrics 24 (1968) 339-352.
    """
    check_confidence(confidence)
    if not 0 < power < 1:
        raise ValueError(f"power must be in (0, 1). Received: {power}. For 80% pass 0.8.")
    if examples < 1 or not 0 <= discordant <= examples:
        raise ValueError(
            "Expected examples >= 1 and 0 <= discordant <= examples. "
            f"Received: examples {examples}, discordant {discordant}."
        )
    bound = -math.expm1(math.log1p(-confidence) / examples)
    discordance = discordant / examples if discordant else bound
    z_level, z_power = (float(stats.norm.ppf(q)) for q in (0.5 + confidence / 2, power))
    difference = _connor(examples, discordance, z_level=z_level, z_power=z_power)
    if difference is not None and difference <= discordance:
        return DetectableDifference(difference, discordance, discordant > 0)
    difference = _one_way(examples, z_level=z_level, z_power=z_power)
    return DetectableDifference(difference, difference, observed=False)


def _connor(examples: int, discordance: float, *, z_level: float, z_power: float) -> float | None:
    """The equation squared twice is a quadratic; this is its root with the sign of `z_power`."""
    inner = examples + z_power**2 - z_level**2
    if inner < 0:
        return None
    numerator = z_level * math.sqrt(examples) + z_power * math.sqrt(inner)
    return math.sqrt(discordance) * numerator / (examples + z_power**2)


def _one_way(examples: int, *, z_level: float, z_power: float) -> float | None:
    def excess(d: float) -> float:
        return math.sqrt(examples * d) - z_level - z_power * math.sqrt(1 - d)

    if excess(1.0) < 0:
        return None
    return float(optimize.brentq(excess, 0.0, 1.0, xtol=1e-15))
