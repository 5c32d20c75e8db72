"""Which examples compression forgets, whatever the seed.

Knows the predicted classes of several trainings of a baseline and of a compressed model. One
training disagrees with another by chance; what all trainings of one kind have in common does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfcompress.statistics.flips import same_examples


@dataclass(frozen=True)
class IdentifiedExamples:
    """Examples to which most compressed models give another class than most baselines.

    Attributes:
      indices: int64 [identified], ascending: which of the examples.
      modal: int64 [examples]: the class that most compressed models give, of every example.
      baseline_modal: int64 [examples]: the same of the baselines.
      votes: int64 [examples]: how many compressed models give `modal`.
      baseline_votes: int64 [examples]: how many baselines give `baseline_modal`.
      seeds: compressed models.
      baseline_seeds: baselines.
      accuracy: mean accuracy of the compressed models on the identified examples; None without any.
      baseline_accuracy: mean accuracy of the baselines on them; None without any.
      accuracy_elsewhere: mean accuracy of the compressed models on all others; None without any.
      baseline_accuracy_elsewhere: mean accuracy of the baselines on all others; None without any.
    """

    indices: np.ndarray
    modal: np.ndarray
    baseline_modal: np.ndarray
    votes: np.ndarray
    baseline_votes: np.ndarray
    seeds: int
    baseline_seeds: int
    accuracy: float | None
    baseline_accuracy: float | None
    accuracy_elsewhere: float | None
    baseline_accuracy_elsewhere: float | None


def identified_examples(
    predicted: np.ndarray, baseline_predicted: np.ndarray, labels: np.ndarray
) -> IdentifiedExamples:
    """Compression-identified examples over seeds.

    An example is identified where the modal class of the compressed models differs from that of the
    baselines. Of several modal classes the lowest that is modal in the other population too counts,
    and without any such the lowest: a tie alone identifies no example. With few seeds ties and
    chance decide much (Hooker et al. trained 30 of each); `votes` tell how sure each mode is.

    Args:
      predicted: integer [seeds, examples], of the compressed models, at least two.
      baseline_predicted: integer [baseline seeds, examples], of the baselines, at least two.
      labels: integer [examples].

    Raises:
      ValueError: one seed only, lengths that differ, classes that are no whole numbers from 0.

    Example:
      >>> compressed, baselines = np.array([[0, 1, 2]] * 2), np.array([[0, 1, 1], [0, 2, 1]])
      >>> found = identified_examples(compressed, baselines, np.array([0, 1, 1]))
      >>> found.indices.tolist(), found.accuracy, found.baseline_accuracy
      ([2], 0.0, 1.0)

    Reference: Hooker, Courville, Clark, Dauphin and Frome, "What Do Compressed Deep Neural Networks
    Forget?", arXiv:1911.05248, 2019.
    """
    model = _population(predicted, of="compressed model")
    baseline = _population(baseline_predicted, of="baseline")
    *_, truth = same_examples(*model, *baseline, labels)
    classes = int(max(model.max(), baseline.max())) + 1
    counts, baseline_counts = (_votes(each, classes=classes) for each in (model, baseline))
    modal, baseline_modal = _modes(counts, baseline_counts)
    identified = modal != baseline_modal
    return IdentifiedExamples(
        indices=np.flatnonzero(identified),
        modal=modal,
        baseline_modal=baseline_modal,
        votes=counts.max(axis=1),
        baseline_votes=baseline_counts.max(axis=1),
        seeds=len(model),
        baseline_seeds=len(baseline),
        accuracy=_accuracy(model, truth, among=identified),
        baseline_accuracy=_accuracy(baseline, truth, among=identified),
        accuracy_elsewhere=_accuracy(model, truth, among=~identified),
        baseline_accuracy_elsewhere=_accuracy(baseline, truth, among=~identified),
    )


def _population(predicted: np.ndarray, *, of: str) -> np.ndarray:
    predicted = np.asarray(predicted)
    if predicted.ndim != 2:
        raise ValueError(
            f"Expected classes [seeds, examples] of each {of}. Received: {list(predicted.shape)}."
        )
    if len(predicted) < 2:
        raise ValueError(
            f"Expected at least two seeds of the {of}. Received: one seed only, whose answers by "
            "chance cannot be told from those by compression. Train with more seeds, or use "
            "count_flips."
        )
    same_examples(*predicted)
    return predicted.astype(np.int64)


def _votes(predicted: np.ndarray, *, classes: int) -> np.ndarray:
    """How many models give each class, int64 [examples, classes]."""
    examples = predicted.shape[1]
    flat = np.arange(examples) * classes + predicted
    return np.bincount(flat.ravel(), minlength=examples * classes).reshape(examples, classes)


def _modes(counts: np.ndarray, baseline_counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    modal, baseline_modal = (
        each == each.max(axis=1, keepdims=True) for each in (counts, baseline_counts)
    )
    shared = modal & baseline_modal
    agree = shared.any(axis=1)
    first = shared.argmax(axis=1)
    return (
        np.where(agree, first, modal.argmax(axis=1)),
        np.where(agree, first, baseline_modal.argmax(axis=1)),
    )


def _accuracy(predicted: np.ndarray, labels: np.ndarray, *, among: np.ndarray) -> float | None:
    return float((predicted == labels)[:, among].mean()) if among.any() else None
