"""The files of a run as points: accuracy against size, and against latency.

Knows what stands where, and which points nothing beats. Does not know how they are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

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


def size_points(results: Results) -> list[Point]:
    """Files by gzipped size in KiB; by stored size where one lacks the gzipped."""
    field = size_field(results)
    return [
        point
        for entry in results.artifacts
        if (size := getattr(entry, field)) is not None
        and (point := _point(entry, results, size / 1024, ()))
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
    return sorted(
        (point for point in points if not any(_beats(other, point) for other in points)),
        key=lambda point: (point.x, point.accuracy),
    )


def _beats(one: Point, other: Point) -> bool:
    at_least_as_good = one.x <= other.x and one.accuracy >= other.accuracy
    return at_least_as_good and (one.x < other.x or one.accuracy > other.accuracy)
