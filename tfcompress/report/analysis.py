"""What follows from the stored predictions of a run, file by file.

Knows which statistics a report shows. Does not know where the predictions lie nor how anything is
shown. Predictions of one file at a time are in memory.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcompress import statistics
from tfcompress.predictions import Predictions, order_like
from tfcompress.statistics import (
    BootstrapDifference,
    Calibration,
    ClassChange,
    ConfusionChange,
    Flips,
)

MOST_CONFUSIONS = 3
# Half a step of an int8 softmax, which holds exact zeros: for both where one of them is such.
INTEGER_FLOOR = 1 / 512


@dataclass(frozen=True)
class Answers:
    """What one model or file says on the test split.

    Attributes:
      name: as in the results.
      ids: int64 [examples], the examples' indices in the published split.
      labels: int64 [examples], the true classes.
      predicted: int64 [examples], the class that it gives.
      right: bool [examples]: which it has right.
    """

    name: str
    ids: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    right: np.ndarray

    def ordered_like(self, reference: Answers) -> Answers:
        """The same in the order of another model's answers, so that the two can be paired.

        Raises:
          ValueError: the two are of other examples.
        """
        order = order_like((self.ids, self.labels), (reference.ids, reference.labels))
        own = (self.ids, self.labels, self.predicted, self.right)
        return Answers(self.name, *(array[order] for array in own))


@dataclass(frozen=True)
class Judged(Answers):
    """One model or file on the test split, in every respect that a report shows.

    Attributes:
      calibration: of its outputs as they are.
      calibrated: the same after division by the temperature that fits the validation split best;
        None where no predictions on it are stored, or where no temperature is best.
      no_temperature: why none is best; empty where one is.
      flips: on how many examples it answers other than the baseline; None for the baseline itself.
      class_changes: its accuracy on each class beside the baseline's; None likewise.
      nll_change: negative log-likelihood minus the baseline's, nats, by a paired bootstrap; None
        likewise.
      confusion_changes: which classes it takes for which, where that changed most; None likewise.
    """

    calibration: Calibration
    calibrated: Calibration | None = None
    no_temperature: str = ""
    flips: Flips | None = None
    class_changes: tuple[ClassChange, ...] | None = None
    confusion_changes: tuple[ConfusionChange, ...] | None = None
    nll_change: BootstrapDifference | None = None


def answers(name: str, found: Predictions) -> Answers:
    """What predictions on the test split say.

    Raises:
      ValueError: outputs or labels that do not fit.
    """
    return Answers(
        name,
        found.ids,
        found.labels,
        statistics.predicted_classes(found.outputs),
        statistics.correct(found.outputs, found.labels),
    )


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
    said = answers(name, found)
    floor = _floor(found, baseline)
    mine = Judged(
        **vars(said),
        calibration=statistics.summarize_calibration(
            found.outputs, found.labels, found.kind, floor=floor
        ),
    )
    if validation is not None:
        mine = dataclasses.replace(mine, **_calibrated(found, validation, floor=floor))
    if baseline is None:
        return mine
    before = statistics.predicted_classes(baseline.outputs)
    return dataclasses.replace(
        mine,
        flips=statistics.count_flips(said.predicted, before, found.labels),
        class_changes=statistics.per_class_change(
            said.right, before == found.labels, found.labels, classes=classes
        ),
        confusion_changes=statistics.largest_confusion_changes(
            said.predicted, before, found.labels, classes=classes, limit=MOST_CONFUSIONS
        ),
        nll_change=_nll_change(found, baseline, floor=floor),
    )


def _floor(found: Predictions, baseline: Predictions | None) -> float:
    kinds = {each.kind for each in (found, baseline) if each is not None}
    return INTEGER_FLOOR if "probabilities" in kinds else statistics.PROBABILITY_FLOOR


def _nll_change(found: Predictions, baseline: Predictions, *, floor: float) -> BootstrapDifference:
    mine, theirs = (
        statistics.log_losses(
            statistics.probabilities(each.outputs, each.kind), each.labels, floor=floor
        )
        for each in (found, baseline)
    )
    return statistics.paired_bootstrap("mean", mine, theirs)


def _calibrated(found: Predictions, validation: Predictions, *, floor: float) -> dict[str, Any]:
    """The fields of `Judged` that a temperature gives."""
    try:
        fitted = statistics.fit_temperature(
            validation.outputs, validation.labels, validation.kind, floor=floor
        )
    except statistics.NoTemperatureError as error:
        return {"no_temperature": str(error)}
    scaled = statistics.summarize_calibration(
        found.outputs, found.labels, found.kind, temperature=fitted.temperature, floor=floor
    )
    return {"calibrated": scaled}
