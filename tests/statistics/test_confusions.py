"""Reference values: scikit-learn, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from tfcompress import statistics


@pytest.mark.parametrize("classes", [2, 7])
def test_confusion_change_matches_scikit_learn(classes):
    generator = np.random.default_rng(classes)
    labels, model, baseline = generator.integers(0, classes, size=[3, 500])
    known = range(classes)
    expected = metrics.confusion_matrix(labels, model, labels=known) - metrics.confusion_matrix(
        labels, baseline, labels=known
    )
    change = statistics.confusion_change(model, baseline, labels, classes=classes)
    assert change.tolist() == expected.tolist()
    assert change.sum(axis=1).tolist() == [0] * classes


def test_the_largest_mistakes_by_hand():
    # Of class 0, the baseline takes two for 1; the model three for 2. Class 3 has no example.
    labels = np.array([0] * 6 + [1] * 2 + [2] * 2)
    baseline = np.array([1, 1, 0, 0, 0, 0, 1, 1, 2, 1])
    model = np.array([0, 0, 2, 2, 2, 0, 1, 0, 2, 1])
    found = statistics.largest_confusion_changes(model, baseline, labels, classes=4)
    assert found == (
        statistics.ConfusionChange(true=0, predicted=2, baseline=0, model=3, change=3),
        statistics.ConfusionChange(true=0, predicted=1, baseline=2, model=0, change=-2),
        statistics.ConfusionChange(true=1, predicted=0, baseline=0, model=1, change=1),
    )
    largest = statistics.largest_confusion_changes(model, baseline, labels, classes=4, limit=1)
    assert largest == found[:1]
    assert statistics.confusion_change(model, baseline, labels, classes=4)[3].tolist() == [0] * 4


def test_equal_models_have_no_changes():
    zeros = np.zeros(5, int)
    assert statistics.largest_confusion_changes(zeros, zeros, zeros, classes=1) == ()


def test_confusions_refuse_what_does_not_fit():
    zeros = np.zeros(3, int)
    with pytest.raises(ValueError, match=r"in \[0, 3\). Received: 3"):
        statistics.confusion_change(zeros, zeros + 3, zeros, classes=3)
    with pytest.raises(ValueError, match="Received shapes"):
        statistics.confusion_change(zeros, np.zeros(4, int), zeros, classes=3)
    with pytest.raises(ValueError, match="limit"):
        statistics.largest_confusion_changes(zeros, zeros, zeros, classes=3, limit=0)
