"""The files of a run as points: accuracy against size, and against latency.

Knows what stands where, and which points nothing beats. Does not know how they are drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tfcompress import statistics
from tfcompress.report import comparison, metric
from tfcompress.results import ArtifactResult, Results


@dataclass(frozen=True)
class Point:
    """One file in the plane; accuracies in percent, errors below 0, so that better is up."""

    name: str
    format: str
    x: float
    x_low: float
    x_high: float
    accuracy: float
    low: float
    high: float
    is_reference: bool


@dataclass(frozen=True)
class Limits:
    """A budget in the plane; None for no limit.

    Attributes:
      x: what a point may be to the right, at most.
      accuracy: where it must be, at least; as points have it.
    """

    x: float | None = None
    accuracy: float | None = None


def size_points(results: Results) -> list[Point]:
    """Files by gzipped size in KiB; by stored size where one lacks the gzipped."""
    field = size_field(results)
    return points(results, lambda entry: size_in_kib(getattr(entry, field)))


def size_in_kib(size_bytes: float | None) -> float | None:
    """Bytes in KiB, unrounded."""
    return None if size_bytes is None else size_bytes / 1024


def points(results: Results, x: Callable[[ArtifactResult], float | None]) -> list[Point]:
    """Files by a figure of theirs.

    Args:
      results: of a run.
      x: gives the figure of a file; None leaves the file out.
    """
    return [
        point
        for entry in results.artifacts
        if (value := x(entry)) is not None and (point := _point(entry, results, value, ()))
    ]


def size_field(results: Results) -> str:
    """The size that the figure shows, the same for all its points."""
    gzipped = all(a.gzip_size_bytes is not None for a in results.artifacts)
    return "gzip_size_bytes" if gzipped else "size_bytes"


def latency_points(results: Results) -> list[Point]:
    """Files by median latency in milliseconds, in the common setting."""
    setting = comparison.common_setting(results)
    return [
        point
        for entry in results.artifacts
        if (latency := comparison.latency_in(entry, setting)) is not None
        and (point := _point(entry, results, latency.p50, latency.round_p50))
    ]


def _point(
    entry: ArtifactResult, results: Results, x: float, spread: tuple[float, ...]
) -> Point | None:
    level = metric.level(entry)
    if level is None:
        return None
    return Point(
        name=entry.name,
        format=entry.format or "",
        x=x,
        x_low=min(spread, default=x),
        x_high=max(spread, default=x),
        accuracy=level[0],
        low=level[1],
        high=level[2],
        is_reference=entry is comparison.reference(results),
    )


def front(points: list[Point]) -> list[Point]:
    """The points that no other beats in both: the Pareto front, from the smallest `x`.

    A point is beaten where another is at most as far to the right and at least as accurate, and
    better in one of the two. Of equal points all stay.

    Example:
      >>> at = lambda x, y: Point("", "int8", x, x, x, y, y, y, False)
      >>> [each.x for each in front([at(3, 90), at(1, 80), at(2, 79), at(4, 90)])]
      [1, 3]
    """
    if not points:
        return []
    kept = statistics.pareto_front(np.array([(each.x, -each.accuracy) for each in points]))
    return sorted((points[i] for i in kept), key=lambda point: (point.x, point.accuracy))
