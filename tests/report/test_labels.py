from __future__ import annotations

import itertools

import numpy as np

from tfcompress.report import labels
from tfcompress.report.labels import Box

BOUNDS = Box(0, 0, 500, 300)


def _shared(one: Box, other: Box) -> float:
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.top, other.top) - max(one.bottom, other.bottom)
    return max(width, 0) * max(height, 0)


def test_labels_of_near_points_do_not_overlap():
    points = np.array([[250.0, 150.0], [252.0, 152.0], [248.0, 149.0], [251.0, 155.0]])
    sizes = np.full([4, 2], (80.0, 14.0))
    markers = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    placed = labels.place(points, sizes, obstacles=markers, bounds=BOUNDS)
    assert [each.overlap for each in placed] == [0.0] * 4
    for one, other in itertools.combinations([each.box for each in placed], 2):
        assert _shared(one, other) == 0
    for each, marker in itertools.product(placed, markers):
        assert _shared(each.box, marker) == 0


def test_labels_stay_inside():
    points = np.array([[2.0, 2.0], [498.0, 298.0]])
    placed = labels.place(points, np.full([2, 2], (90.0, 14.0)), obstacles=[], bounds=BOUNDS)
    for each in placed:
        assert each.box.left >= 0
        assert each.box.bottom >= 0
        assert each.box.right <= 500
        assert each.box.top <= 300


def test_a_label_without_room_says_so():
    wall = [Box(0, 0, 500, 300)]
    placed = labels.place(
        np.array([[250.0, 150.0]]), np.array([[80.0, 14.0]]), obstacles=wall, bounds=BOUNDS
    )
    assert placed[0].overlap > 0


def test_a_discouraged_line_is_avoided_where_that_is_near():
    line = Box(0, 149, 500, 151)
    placed = labels.place(
        np.array([[250.0, 150.0]]),
        np.array([[80.0, 14.0]]),
        obstacles=[],
        bounds=BOUNDS,
        discouraged=[line],
    )
    assert _shared(placed[0].box, line) == 0
