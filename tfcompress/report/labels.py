"""Where labels stand beside points so that they overlap nothing.

Knows boxes in pixels only. Does not know what is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Distances of a label from its point, in pixels, tried nearest first in each of the directions.
RADII = (7.0, 12.0, 18.0, 26.0, 36.0, 48.0, 64.0, 84.0, 110.0)
DIRECTIONS = 24
PASSES = 4


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, y upwards."""

    left: float
    bottom: float
    right: float
    top: float


@dataclass(frozen=True)
class Placement:
    """A label's place.

    Attributes:
      box: of the label.
      distance: from the point, in pixels.
      overlap: area that it shares with labels, obstacles or the outside, in square pixels.
    """

    box: Box
    distance: float
    overlap: float


def place(
    points: np.ndarray,
    sizes: np.ndarray,
    *,
    obstacles: list[Box],
    bounds: Box,
    discouraged: list[Box] | None = None,
) -> list[Placement]:
    """Finds a place for the label of each point.

    Each label in turn takes the place, among a ring of candidates, with the least overlap and then
    the least distance; a few passes let the early ones give way to the late ones.

    Args:
      points: float [labels, 2], in pixels.
      sizes: float [labels, 2], width and height of the labels, in pixels.
      obstacles: what no label may cover, markers and bars included.
      bounds: labels stay inside.
      discouraged: what a label covers only where it would otherwise go far.

    Returns:
      One placement for each point; `overlap` is 0 where a free place was found.
    """
    fixed = np.array([_corners(box) for box in obstacles]).reshape(-1, 4)
    soft = np.array([_corners(box) for box in discouraged or []]).reshape(-1, 4)
    candidates = [_candidates(point, size) for point, size in zip(points, sizes, strict=True)]
    placed: list[np.ndarray | None] = [None] * len(points)
    chosen: list[Placement | None] = [None] * len(points)
    crowding = [np.hypot(*(points - point).T).mean() for point in points]
    for _ in range(PASSES):
        for index in np.argsort(crowding):
            others = [box for i, box in enumerate(placed) if box is not None and i != index]
            blocked = np.vstack([fixed, *others]) if others else fixed
            boxes, distances = candidates[index]
            overlap = _overlap(boxes, blocked) + _outside(boxes, _corners(bounds))
            cost = overlap * 1000 + distances + 0.1 * _overlap(boxes, soft)
            best = int(np.argmin(cost))
            placed[index] = boxes[best]
            chosen[index] = Placement(Box(*boxes[best]), distances[best], float(overlap[best]))
    return [each for each in chosen if each is not None]


def _corners(box: Box) -> np.ndarray:
    return np.array([box.left, box.bottom, box.right, box.top])


def _candidates(point: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    angles = np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    radii = np.array(RADII)[:, None, None]
    centres = point + directions * (radii + size / 2)
    boxes = np.concatenate([centres - size / 2, centres + size / 2], axis=2).reshape(-1, 4)
    # A small preference for the sides, where a label reads best.
    lean = 0.5 * np.abs(directions[:, 1])
    return boxes, (radii[:, :, 0] + lean).ravel()


def _overlap(boxes: np.ndarray, blocked: np.ndarray) -> np.ndarray:
    low = np.maximum(boxes[:, None, :2], blocked[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], blocked[None, :, 2:])
    shared: np.ndarray = np.clip(high - low, 0, None).prod(axis=2).sum(axis=1)
    return shared


def _outside(boxes: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    over = np.clip(bounds[:2] - boxes[:, :2], 0, None) + np.clip(boxes[:, 2:] - bounds[2:], 0, None)
    area: np.ndarray = (over * 20).sum(axis=1)
    return area
