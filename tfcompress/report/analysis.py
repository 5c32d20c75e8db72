"""What follows from the stored predictions of a run, file by file.

Knows which statistics a report shows. Does not know where the predictions lie nor how anything is
shown. Predictions of one file at a time are in memory.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from tfcompress import statistics
from tfcompress.predictions import Predictions
from tfcompress.statistics import Calibration, ClassChange, ConfusionChange, Flips

MOST_CONFUSIONS = 3


@dataclass(frozen=True)
class Judged:
    """One model or file on the test split.

    Attributes:
      name: as in the results.
      ids: int64 [examples], the examples' indices in the published split.
      labels: int64 [examples], the true classes.
      predicted: int64 [examples], the class that it gives.
      right: bool [examples]: which it has right.
      calibration: of its outputs as they are.
      calibrated: the same after division by the temperature that fits the validation split best;
        None where no predictions on it are stored, or where no temperature is best.
      flips: on how many examples it answers other than the baseline; None for the baseline itself.
      class_changes: its accuracy on each class beside the baseline's; None likewise.
      confusion_changes: which classes it takes for which, where that changed most; None likewise.
    """

    name: str
    ids: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    right: np.ndarray
    calibration: Calibration
    calibrated: Calibration | None
    flips: Flips | None = None
    class_changes: tuple[ClassChange, ...] | None = None
    confusion_changes: tuple[ConfusionChange, ...] | None = None


def judge(
    name: str,
    found: Predictions,
    validation: Predictions | None,
    *,
    baseline: Predictions | None,
    classes: int,
) -> Judged:
    """Computes all of it.

    Args:
      name: of the file.
      found: on the test split.
      validation: on the validation split, to fit a temperature on; None leaves it out.
      baseline: on the same examples as `found`; None where `found` is the baseline's.
      classes: how many there are.

    Raises:
      ValueError: outputs or labels that do not fit.
    """
    right = statistics.correct(found.outputs, found.labels)
    after = statistics.predicted_classes(found.outputs)
    mine = Judged(
        name,
        found.ids,
        found.labels,
        after,
        right,
        statistics.summarize_calibration(found.outputs, found.labels, found.kind),
        None if validation is None else _calibrated(found, validation),
    )
    if baseline is None:
        return mine
    before = statistics.predicted_classes(baseline.outputs)
    return dataclasses.replace(
        mine,
        flips=statistics.count_flips(after, before, found.labels),
        class_changes=statistics.per_class_change(
            right, before == found.labels, found.labels, classes=classes
        ),
        confusion_changes=statistics.largest_confusion_changes(
            after, before, found.labels, classes=classes, limit=MOST_CONFUSIONS
        ),
    )


def _calibrated(found: Predictions, validation: Predictions) -> Calibration | None:
    statistics.correct(validation.outputs, validation.labels)
    try:
        fitted = statistics.fit_temperature(validation.outputs, validation.labels, validation.kind)
    except ValueError:
        # No temperature is best, as where every validation image is right.
        return None
    return statistics.summarize_calibration(
        found.outputs, found.labels, found.kind, temperature=fitted.temperature
    )
