"""The files of a finished run on the test split of another data set.

Knows when that has an accuracy, and what is told where it has none. Does not know of corruptions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress import data, results, statistics
from tfcompress.data import DataConfig, Dataset
from tfcompress.judged_files import JudgedFile, answers
from tfcompress.predictions import Predictions
from tfcompress.robustness import Shift, ShiftedFile
from tfcompress.run_folder import RunFolder
from tfcompress.statistics import Confidences

CONDITION = "shift"
"""The folder of the answers under `predictions/`."""

_COMPARED_WITH_NOTHING: Mapping[str, Any] = dict.fromkeys(
    ("difference", "difference_interval", "auroc_difference", "auroc_difference_interval")
)


def settings(run_dir: Path, name: str) -> DataConfig:
    """How another data set is read: as the run's own, but for the name.

    From the same TFDS directory and to the same stored size; the model's preprocessing does the
    rest, so that images of another size or with other channels are brought to what it takes.

    Args:
      run_dir: folder of a finished run.
      name: of the other data set, as `DataConfig.name` takes it.

    Raises:
      UnknownNameError: no such data set; the message lists the known ones.
      ValueError: it is the run's own.
    """
    own = DataConfig(**results.load(run_dir).config["data"])
    if name == own.name:
        raise ValueError(
            f"The run in {run_dir} is of {name} itself. A shift takes another data set."
        )
    config = dataclasses.replace(own, name=name, source="auto", max_train=0)
    data.check(config)
    return config


def load(run_dir: Path, name: str) -> Dataset:
    """The other data set, of classes like the run's own.

    Raises:
      UnknownNameError, ValueError: as `settings`, or it is a regression.
    """
    found = data.load(settings(run_dir, name))
    if not found.classes:
        raise ValueError(
            f"A shift takes a data set of classes. Received: {name}, a {found.goal.task}."
        )
    return found


def judge(
    files: Sequence[JudgedFile],
    clean: Mapping[str, Predictions],
    dataset: Dataset,
    *,
    classes: Sequence[str],
    folder: RunFolder,
    resamples: int,
    seed: int,
) -> Shift:
    """Asks each file about another data set's test split, or goes on with what is kept.

    Args:
      files: the baseline first.
      clean: for each file its outputs on the run's own test split.
      dataset: the other data set.
      classes: the run's, in the order of the outputs.
      folder: of the study.
      resamples: of the bootstrap.
      seed: of the bootstrap.
    """
    labels = mapped_labels(dataset.classes, classes)
    key = dataset.checksums()["test"]
    found = {
        file.name: answers(
            file, folder, lambda: dataset, condition=CONDITION, key=key, labels=labels
        )
        for file in files
    }
    first = files[0].name
    rows = []
    for file in files:
        pairs = [(clean[name], found[name]) for name in (file.name, first)]
        if labels is None:
            rows.append(_told_apart(file.name, *pairs, resamples=resamples, seed=seed))
        else:
            rows.append(_right(file.name, *pairs))
    rows[0] = dataclasses.replace(rows[0], **_COMPARED_WITH_NOTHING)
    return Shift(
        dataset=dataset.name,
        source=dataset.source,
        examples=len(found[first]),
        same_classes=labels is not None,
        shared_classes=len({*dataset.classes} & {*classes}),
        files=tuple(rows),
    )


def mapped_labels(theirs: Sequence[str], ours: Sequence[str]) -> np.ndarray | None:
    """For each class of another data set the output that stands for it, by name.

    Args:
      theirs: its class names in label order.
      ours: those of the model's outputs.

    Returns:
      int64 [their classes], or None where one of them is none of ours.

    Example:
      >>> mapped_labels(["ship", "cat"], ["cat", "dog", "ship"]).tolist()
      [2, 0]
    """
    if not {*theirs} <= {*ours}:
        return None
    return np.array([list(ours).index(name) for name in theirs], np.int64)


Answers = tuple[Predictions, Predictions]
"""On the run's own test split, and on the other one."""


def confidences(found: Predictions) -> np.ndarray:
    """Float64 [examples]: the greatest probability of each, in (0, 1]."""
    best: np.ndarray = statistics.probabilities(found.outputs, found.kind).max(axis=1)
    return best


def _right(name: str, model: Answers, baseline: Answers) -> ShiftedFile:
    (own, there), reference = model, baseline[1]
    versus = statistics.compare(there.outputs, reference.outputs, there.labels)
    return ShiftedFile(
        name=name,
        own_confidence=float(confidences(own).mean()),
        confidence=float(confidences(there).mean()),
        own_accuracy=own.accuracy,
        accuracy=versus.accuracy,
        accuracy_interval=versus.accuracy_interval,
        difference=versus.difference,
        difference_interval=versus.difference_interval,
    )


def _told_apart(
    name: str, model: Answers, baseline: Answers, *, resamples: int, seed: int
) -> ShiftedFile:
    sure, reference = (
        Confidences(own=confidences(own), foreign=confidences(there))
        for own, there in (model, baseline)
    )
    area = statistics.auroc(sure)
    return ShiftedFile(
        name=name,
        own_confidence=float(sure.own.mean()),
        confidence=float(sure.foreign.mean()),
        own_accuracy=model[0].accuracy,
        auroc=area,
        auroc_difference=area - statistics.auroc(reference),
        auroc_difference_interval=statistics.auroc_difference_interval(
            sure, reference, resamples=resamples, seed=seed
        ),
    )
