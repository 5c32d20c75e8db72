"""Reference values: averages over every order of equal confidences, by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tfcompress import statistics


def two_classes(confidence, right):
    """Probabilities of two classes with these confidences, and labels that make them so right."""
    confidence = np.asarray(confidence, float)
    return np.stack([confidence, 1 - confidence], axis=1), 1 - np.asarray(right, int)


def curve_over_orders(confidence, right):
    """Accuracy among the m most confident, averaged over every order of equal ones."""
    n, curves = len(confidence), []
    for order in itertools.permutations(range(n)):
        if all(confidence[a] >= confidence[b] for a, b in itertools.pairwise(order)):
            curves.append(np.cumsum(np.take(right, order)) / np.arange(1, n + 1))
    return np.mean(curves, axis=0)


CONFIDENCE = [0.9, 0.7, 0.7, 0.7, 0.6, 0.55, 0.55]
RIGHT = [1, 1, 0, 1, 0, 1, 0]


def test_ties_count_as_the_average_over_their_orders():
    expected = curve_over_orders(CONFIDENCE, RIGHT)
    shares, labels = two_classes(CONFIDENCE, RIGHT)
    found = statistics.selective_accuracies(shares, labels, coverages=[m / 7 for m in range(1, 8)])
    assert [each.examples for each in found] == list(range(1, 8))
    assert [each.accuracy for each in found] == pytest.approx(expected, abs=1e-12)
    assert statistics.risk_coverage_area(shares, labels) == pytest.approx(
        1 - expected.mean(), abs=1e-12
    )


def test_the_order_of_the_examples_does_not_count():
    generator = np.random.default_rng(0)
    confidence = generator.integers(128, 256, size=500) / 256
    shares, labels = two_classes(confidence, generator.random(500) < confidence)
    order = generator.permutation(500)
    assert statistics.selective_accuracies(shares, labels) == statistics.selective_accuracies(
        shares[order], labels[order]
    )
    assert statistics.risk_coverage_area(shares, labels) == statistics.risk_coverage_area(
        shares[order], labels[order]
    )


def test_confidence_that_says_nothing_leaves_the_error_rate():
    shares, labels = two_classes([0.8] * 10, [1] * 7 + [0] * 3)
    assert statistics.risk_coverage_area(shares, labels) == pytest.approx(0.3)
    found = statistics.selective_accuracies(shares, labels)
    assert [each.accuracy for each in found] == pytest.approx([0.7] * 5)
    assert [each.examples for each in found] == [5, 8, 9, 10, 10]
    assert [each.coverage for each in found] == [0.5, 0.8, 0.9, 0.95, 1.0]


def test_one_example():
    shares, labels = two_classes([0.8], [0])
    assert statistics.risk_coverage_area(shares, labels) == 1.0
    assert statistics.selective_accuracies(shares, labels, coverages=[0.01])[0].examples == 1


@pytest.mark.parametrize("coverage", [0.0, 1.1, 90])
def test_selective_accuracies_refuses_a_coverage_out_of_range(coverage):
    shares, labels = two_classes([0.8], [0])
    with pytest.raises(ValueError, match=r"in \(0, 1\]"):
        statistics.selective_accuracies(shares, labels, coverages=[coverage])


def test_selective_accuracies_refuses_nan():
    with pytest.raises(ValueError, match="NaN"):
        statistics.selective_accuracies(np.full([1, 2], np.nan), np.array([0]))
