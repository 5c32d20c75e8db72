"""What the statistics find where something was planted, and where nothing was."""

from __future__ import annotations

import numpy as np
import pytest

from tfcompress import statistics

CLASSES = 10


def answered(labels, *, accuracy, generator):
    """Predicted classes that are right with this probability, otherwise any other class."""
    wrong = (labels + generator.integers(1, CLASSES, size=labels.size)) % CLASSES
    return np.where(generator.random(labels.size) < accuracy, labels, wrong)


def significant_classes(model, baseline, labels):
    changes = statistics.per_class_change(
        model == labels, baseline == labels, labels, classes=CLASSES
    )
    adjusted = statistics.holm([each.p_value for each in changes])
    return [each.label for each, p in zip(changes, adjusted, strict=True) if p <= 0.05]


@pytest.mark.parametrize("seed", range(5))
def test_a_model_that_loses_one_class_is_found(seed):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, size=5000)
    baseline = answered(labels, accuracy=0.9, generator=generator)
    model = baseline.copy()
    # A fifth of the images of class 7 are taken for class 1: 2 points of accuracy.
    lost = np.flatnonzero((labels == 7) & (generator.random(5000) < 0.2))
    model[lost] = 1
    # Elsewhere, flips that cancel each other: of right answers as many get lost as are gained.
    for label in set(range(CLASSES)) - {7}:
        members = np.flatnonzero(labels == label)
        wrong = members[baseline[members] != label][:8]
        right = members[baseline[members] == label][:8]
        model[wrong], model[right] = label, (label + 1) % CLASSES
    assert significant_classes(model, baseline, labels) == [7]
    worst = statistics.largest_confusion_changes(model, baseline, labels, classes=CLASSES)[0]
    assert (worst.true, worst.predicted) == (7, 1)
    flips = statistics.count_flips(model, baseline, labels)
    assert flips.bad_fraction - flips.good_fraction == pytest.approx(0.018, abs=0.006)


def test_equal_models_are_seldom_called_different():
    """Ten models a family, flips as likely for better as for worse: family-wise at most 5%.

    300 families have a standard error of 1.3 points; McNemar's exact test stays below its level.
    """
    generator = np.random.default_rng(11)
    families, uncorrected = 0, 0
    for _ in range(300):
        gained, lost, _ = generator.multinomial(2000, [0.02, 0.02, 0.96], size=10).T
        p_values = [
            statistics.mcnemar_p_value(int(g), int(n)) for g, n in zip(gained, lost, strict=True)
        ]
        families += bool((statistics.holm(p_values) <= 0.05).any())
        uncorrected += min(p_values) <= 0.05
    assert families / 300 <= 0.05 + 2 * 0.013
    assert uncorrected / 300 > 0.2


def test_no_class_of_an_equal_model_is_called_changed():
    """The same over the classes of one model; 200 models have a standard error of 1.5 points."""
    generator = np.random.default_rng(12)
    labels = np.arange(2000) % CLASSES
    called = 0
    for _ in range(200):
        # Both are independent noise around one truth, so that neither is better anywhere.
        baseline = answered(labels, accuracy=0.9, generator=generator)
        model = answered(labels, accuracy=0.9, generator=generator)
        called += bool(significant_classes(model, baseline, labels))
    assert called / 200 <= 0.05 + 2 * 0.015


def test_models_that_differ_in_their_seed_identify_few_examples():
    """Thirty trainings of one kind, half called compressed: no example is forgotten by one half."""
    generator = np.random.default_rng(13)
    labels = np.arange(1000) % CLASSES
    population = np.stack([answered(labels, accuracy=0.9, generator=generator) for _ in range(30)])
    found = statistics.identified_examples(population[:15], population[15:], labels)
    assert found.indices.size == 0
    altered = population.copy()
    altered[:15, 40:60] = (labels[40:60] + 1) % CLASSES
    found = statistics.identified_examples(altered[:15], altered[15:], labels)
    assert found.indices.tolist() == list(range(40, 60))
    assert found.accuracy == 0.0


def test_two_classes_and_a_class_without_examples():
    nothing, everything = np.zeros(8, bool), np.ones(8, bool)
    changes = statistics.per_class_change(nothing, everything, np.zeros(8, int), classes=2)
    adjusted = statistics.holm([each.p_value for each in changes])
    assert adjusted[0] == changes[0].p_value == 2 / 2**8
    assert np.isnan(adjusted[1])
