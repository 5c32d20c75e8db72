"""Which of several points nothing beats, and how much of a space they beat.

Knows points of which less is better in every coordinate. Does not know what they stand for.
"""

from __future__ import annotations

import numpy as np


def pareto_front(points: np.ndarray) -> np.ndarray:
    """The points that no other beats, in their order.

    A point is beaten where another is nowhere greater, and less in one coordinate. Of equal points
    all stay.

    Args:
      points: float [n, coordinates], less is better.

    Returns:
      int64 indices into them.

    Example:
      >>> pareto_front(np.array([[3, 10], [1, 20], [2, 21], [4, 10]])).tolist()
      [0, 1]
    """
    points = np.asarray(points, np.float64)
    nowhere_greater = (points[:, None] <= points[None]).all(axis=2)
    less_somewhere = (points[:, None] < points[None]).any(axis=2)
    beaten = (nowhere_greater & less_somewhere).any(axis=0)
    return np.flatnonzero(~beaten)


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """The volume between points and a reference: of all that at least one of them beats.

    The more of it, the better a front. Points that are not below the reference in every coordinate
    add nothing.

    Args:
      points: float [n, coordinates], less is better; at most some hundreds.
      reference: float [coordinates], the worst that counts.

    Example:
      >>> hypervolume(np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([3.0, 3.0]))
      3.0

    Reference:
      Zitzler, Thiele: Multiobjective optimization using evolutionary algorithms, PPSN 1998.
    """
    reference = np.asarray(reference, np.float64)
    points = np.asarray(points, np.float64).reshape(-1, len(reference))
    points = points[(points < reference).all(axis=1)]
    if not len(points):
        return 0.0
    if len(reference) == 1:
        return float((reference - points.min(axis=0)).sum())
    # In slices between the last coordinates of the points, each as thick as the way to the next.
    points = points[np.argsort(points[:, -1], kind="stable")]
    ends = np.append(points[1:, -1], reference[-1])
    return sum(
        float(end - point[-1]) * hypervolume(points[: count + 1, :-1], reference[:-1])
        for count, (point, end) in enumerate(zip(points, ends, strict=True))
        if end > point[-1]
    )
