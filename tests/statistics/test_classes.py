"""Hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest

from tfcompress import statistics


def test_per_class_change_by_hand():
    labels = np.array([0, 0, 2, 2, 2, 2])
    baseline = np.array([1, 1, 1, 1, 0, 0], bool)
    right = np.array([1, 0, 1, 1, 1, 1], bool)
    first, empty, last = statistics.per_class_change(right, baseline, labels, classes=3)
    assert (first.examples, first.baseline, first.accuracy, first.change) == (2, 1.0, 0.5, -0.5)
    assert empty == statistics.ClassChange(1, 0, None, None, None, None)
    assert (last.baseline, last.accuracy, last.change, last.p_value) == (0.5, 1.0, 0.5, 0.5)


def test_per_class_change_refuses_a_label_outside_the_classes():
    right = np.ones(2, bool)
    with pytest.raises(ValueError, match=r"\[0, 2\)"):
        statistics.per_class_change(right, right, np.array([0, 2]), classes=2)
