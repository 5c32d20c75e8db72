"""The points that nothing beats, and the volume that they beat."""

import itertools

import numpy as np
import pytest

from tfcompress.statistics import hypervolume, pareto_front


def test_a_point_is_beaten_by_one_that_is_nowhere_worse():
    points = np.array([[1, 5], [2, 3], [2, 4], [3, 3], [4, 1]])
    assert pareto_front(points).tolist() == [0, 1, 4]


def test_of_equal_points_all_stay():
    assert pareto_front(np.array([[1, 1], [1, 1], [2, 1]])).tolist() == [0, 1]


def test_no_points_have_no_front():
    assert pareto_front(np.empty([0, 3])).tolist() == []


@pytest.mark.parametrize(
    ("points", "volume"),
    [
        ([], 0.0),
        ([[1, 1, 1]], 8.0),
        # Two boxes of 2x2x1 and 1x1x3 from (3, 3, 3), which share 1x1x1.
        ([[1, 1, 2], [2, 2, 0]], 4 + 3 - 1),
        ([[1, 1, 1], [2, 2, 2]], 8.0),
        ([[3, 0, 0], [4, -1, 2]], 0.0),
    ],
)
def test_hypervolume_by_hand(points, volume):
    assert hypervolume(np.array(points), np.array([3, 3, 3])) == pytest.approx(volume)


def test_hypervolume_counts_cells_of_a_grid():
    """Of whole coordinates it is a count of unit cubes."""
    generator = np.random.default_rng(0)
    points = generator.integers(0, 6, [12, 3])
    cells = itertools.product(range(6), repeat=3)
    beaten = sum(any(all(p <= c) for p in points) for c in map(np.array, cells))
    assert hypervolume(points, np.array([6, 6, 6])) == pytest.approx(beaten)
