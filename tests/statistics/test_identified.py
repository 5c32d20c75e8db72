"""Reference values: scipy's mode where there are no ties, planted examples, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tfcompress import statistics


def test_modes_match_scipy_where_nothing_is_tied():
    # Of two classes and an odd number of seeds, one has the majority.
    generator = np.random.default_rng(0)
    model = generator.integers(0, 2, size=[5, 300])
    baseline = generator.integers(0, 2, size=[3, 300])
    labels = generator.integers(0, 2, size=300)
    found = statistics.identified_examples(model, baseline, labels)
    for population, modal, votes in (
        (model, found.modal, found.votes),
        (baseline, found.baseline_modal, found.baseline_votes),
    ):
        expected = stats.mode(population, axis=0)
        assert modal.tolist() == expected.mode.tolist()
        assert votes.tolist() == expected.count.tolist()
    differ = np.flatnonzero(found.modal != found.baseline_modal)
    assert found.indices.tolist() == differ.tolist()
    assert found.accuracy == pytest.approx((model == labels)[:, differ].mean())
    others = np.setdiff1d(np.arange(300), differ)
    assert found.baseline_accuracy_elsewhere == pytest.approx(
        (baseline == labels)[:, others].mean()
    )
    assert (found.seeds, found.baseline_seeds) == (5, 3)


@pytest.mark.parametrize(
    ("model", "baseline", "expected"),
    [
        ([1, 1, 1], [1, 1, 2], (1, 1)),
        ([2, 2, 1], [1, 1, 2], (2, 1)),
        ([2, 2, 2, 2], [0, 0, 2, 2], (2, 2)),  # The tie is resolved as the others vote.
        ([1, 1, 3, 3], [3, 3, 1, 1], (1, 1)),  # Both share 1 and 3: the lowest.
        ([2, 2, 3, 3], [0, 0, 1, 1], (2, 0)),  # Nothing is shared: the lowest of each.
    ],
)
def test_ties_identify_no_example_on_their_own(model, baseline, expected):
    found = statistics.identified_examples(
        np.array([model]).T, np.array([baseline]).T, np.array([1])
    )
    assert (found.modal[0], found.baseline_modal[0]) == expected
    assert found.indices.tolist() == ([0] if expected[0] != expected[1] else [])


def test_planted_examples_are_found_and_hard_ones_are_not():
    """Forty examples are forgotten by every compressed model; 200 are answered by chance by all."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 10, size=2000)
    seeds = 15
    model, baseline = np.tile(labels, [2, seeds, 1])
    hard = np.arange(200)
    for population in (model, baseline):
        coin = generator.random([seeds, hard.size]) < 0.3
        population[:, hard] = np.where(coin, (labels[hard] + 1) % 10, labels[hard])
    forgotten = np.arange(500, 540)
    model[:, forgotten] = (labels[forgotten] + 1) % 10
    found = statistics.identified_examples(model, baseline, labels)
    assert set(forgotten) <= set(found.indices)
    assert len(found.indices) < 70
    assert found.accuracy < 0.2 < 0.6 < found.baseline_accuracy
    assert found.accuracy_elsewhere == pytest.approx(found.baseline_accuracy_elsewhere, abs=0.01)
    assert found.votes[forgotten].tolist() == [seeds] * 40


def test_where_nothing_is_identified_its_accuracy_is_unknown():
    labels = np.array([0, 1])
    same = np.array([labels, labels])
    found = statistics.identified_examples(same, same, labels)
    assert found.indices.size == 0
    assert (found.accuracy, found.baseline_accuracy) == (None, None)
    assert (found.accuracy_elsewhere, found.baseline_accuracy_elsewhere) == (1.0, 1.0)


TWO = np.zeros([2, 4], int)
LABELS = np.zeros(4, int)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((TWO[:1], TWO, LABELS), "compressed model. Received: one seed only"),
        ((TWO, TWO[:1], LABELS), "baseline. Received: one seed only"),
        ((LABELS, TWO, LABELS), r"\[seeds, examples\]"),
        ((TWO, TWO[:, :3], LABELS), "Received shapes"),
        ((TWO, TWO, LABELS[:3]), "Received shapes"),
        ((TWO - 1, TWO, LABELS), "whole numbers from 0"),
    ],
    ids=["one seed", "one baseline", "vector", "lengths", "labels", "negative"],
)
def test_identified_examples_refuses_what_does_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        statistics.identified_examples(*arguments)
