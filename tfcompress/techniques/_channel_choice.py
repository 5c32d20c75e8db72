"""Which units of channels are removed to reach a target: the least important ones, in whole steps.

Knows ranking and rounding. Does not know where importance comes from, nor how a model is rebuilt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from tfcompress.graph.channels import Group


class UnreachableError(ValueError):
    """Even without all channels that may go, the target is not reached."""


def chosen(
    groups: Sequence[Group],
    importance: np.ndarray,
    cost: Callable[[np.ndarray], float],
    *,
    budget: float,
    per_layer: bool,
    round_to: int,
    least_kept: float,
) -> np.ndarray:
    """Finds the fewest units without which a model costs no more than a budget.

    Args:
      groups: those whose units may be removed.
      importance: float [units].
      cost: of the model in which the units that are True remain, bool [units]; it never rises when
        units are removed.
      budget: in the unit of `cost`.
      per_layer: every group loses the same fraction of its units; else all units are ranked
        together.
      round_to: the channels that a group keeps are a multiple of it, or all.
      least_kept: fraction of the channels of each group that stays in any case, in (0, 1].

    Returns:
      bool [units], True for the units that go.

    Raises:
      UnreachableError: the message says how far it is possible to go.
    """
    ranks = [_ranks(group, importance, per_layer=per_layer) for group in groups]
    thresholds = np.unique(np.concatenate(ranks)) if ranks else np.zeros(0)

    def removed(count: int) -> np.ndarray:
        """Where the `count` lowest ranks go."""
        mask = np.zeros(len(importance), bool)
        for group, rank in zip(groups, ranks, strict=True):
            wanted = int(np.sum(rank <= thresholds[count - 1])) if count else 0
            going = _in_steps(group, wanted, round_to=round_to, least_kept=least_kept)
            mask[group.units[np.argsort(rank, kind="stable")[:going]]] = True
        return mask

    low, high = 0, len(thresholds)
    if cost(~removed(high)) > budget:
        raise UnreachableError(
            f"{cost(~removed(high)):,.4g} of {cost(~removed(0)):,.4g} is the least that is left"
        )
    while low < high:
        middle = (low + high) // 2
        if cost(~removed(middle)) <= budget:
            high = middle
        else:
            low = middle + 1
    return removed(high)


def _ranks(group: Group, importance: np.ndarray, *, per_layer: bool) -> np.ndarray:
    """What units are ordered by: their importance, or their place in the order of their group."""
    own = importance[group.units]
    if not per_layer:
        return own
    places: np.ndarray = np.argsort(np.argsort(own, kind="stable"), kind="stable")
    return (places + 1) / len(own)


def _in_steps(group: Group, wanted: int, *, round_to: int, least_kept: float) -> int:
    """How many units go where `wanted` may, so that a whole number of steps remains."""
    units = len(group.units)
    # So many units make a whole number of steps in every layer of the group.
    step = math.lcm(*(round_to // math.gcd(round_to, count) for count in group.channels))
    least = max(1, int(np.ceil(least_kept * units)))
    kept = max(units - wanted, least)
    return units - min(-(-kept // step) * step, units)
