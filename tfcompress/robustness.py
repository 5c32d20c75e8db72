"""How files hold up on corrupted images and on another data set, as data and as tables.

Does not know how it was measured. No TensorFlow here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfcompress.fraction_text import percent, points
from tfcompress.results import Interval


@dataclass(frozen=True)
class CorruptionScore:
    """A file under one corruption.

    Attributes:
      corruption: its name.
      accuracies: fraction right at each severity, in the order of `Robustness.severities`.
      accuracy: their mean.
      difference: `accuracy` minus the baseline's; None for the baseline.
      difference_interval: 95%, paired by image.
      error_ratio: errors over the baseline's; None for the baseline, and where it makes none.
    """

    corruption: str
    accuracies: tuple[float, ...]
    accuracy: float
    difference: float | None = None
    difference_interval: Interval | None = None
    error_ratio: float | None = None


@dataclass(frozen=True)
class RobustFile:
    """A file on clean and on corrupted images.

    Attributes:
      name: of the run's artifact, or `"baseline"` for the Keras model.
      clean_accuracy: fraction right on the test split as it is.
      clean_difference: `clean_accuracy` minus the baseline's; None for the baseline.
      clean_difference_interval: 95%, paired by image.
      accuracy: fraction right on corrupted images, the mean over corruptions and severities.
      accuracy_interval: 95%.
      difference: `accuracy` minus the baseline's; None for the baseline.
      difference_interval: 95%, paired by image.
      mean_corruption_error: relative to the baseline; see `statistics.mean_error_ratio`.
      mean_corruption_error_interval: 95%, paired by image.
      relative_mean_corruption_error: of the increases over the clean error.
      relative_mean_corruption_error_interval: 95%, paired by image.
      corruptions: one by one.
    """

    name: str
    clean_accuracy: float
    accuracy: float
    accuracy_interval: Interval | None
    corruptions: tuple[CorruptionScore, ...]
    clean_difference: float | None = None
    clean_difference_interval: Interval | None = None
    difference: float | None = None
    difference_interval: Interval | None = None
    mean_corruption_error: float | None = None
    mean_corruption_error_interval: Interval | None = None
    relative_mean_corruption_error: float | None = None
    relative_mean_corruption_error_interval: Interval | None = None

    @property
    def worst(self) -> CorruptionScore:
        """The corruption under which it is right least often."""
        return min(self.corruptions, key=lambda score: score.accuracy)

    @property
    def furthest_behind(self) -> CorruptionScore | None:
        """The corruption under which it loses most to the baseline; None where it loses nothing."""
        lost = [(score.difference or 0.0, score) for score in self.corruptions]
        least, score = min(lost, key=lambda pair: pair[0])
        return score if least < 0 else None


@dataclass(frozen=True)
class ShiftedFile:
    """A file on another data set.

    Attributes:
      name: of the run's artifact, or `"baseline"` for the Keras model.
      own_confidence: the mean greatest probability on the run's own test split.
      confidence: likewise, on the other data set's.
      own_accuracy: fraction right on the run's own test split.
      accuracy: fraction right on the other's; None where its classes are others.
      accuracy_interval: 95%.
      difference: `accuracy` minus the baseline's.
      difference_interval: 95%, paired by image.
      auroc: how well confidence tells the two apart, see `statistics.auroc`; None where the classes
        are the same.
      auroc_difference: `auroc` minus the baseline's.
      auroc_difference_interval: 95%, paired by image.
    """

    name: str
    own_confidence: float
    confidence: float
    own_accuracy: float
    accuracy: float | None = None
    accuracy_interval: Interval | None = None
    difference: float | None = None
    difference_interval: Interval | None = None
    auroc: float | None = None
    auroc_difference: float | None = None
    auroc_difference_interval: Interval | None = None


@dataclass(frozen=True)
class Shift:
    """Files on the test split of another data set.

    Attributes:
      dataset: its name.
      source: where it came from; see `Dataset.source`.
      examples: of its test split.
      same_classes: whether each of its classes is one of the run's.
      shared_classes: how many of its classes are the run's too.
      files: the baseline, then the run's artifacts.
    """

    dataset: str
    source: str
    examples: int
    same_classes: bool
    shared_classes: int
    files: tuple[ShiftedFile, ...]


@dataclass(frozen=True)
class Robustness:
    """What was found.

    Attributes:
      network: the run's backbone.
      dataset: the run's data set.
      examples: of its test split.
      severities: those judged.
      files: the baseline, then the run's artifacts.
      shift: on another data set, where one was asked for.
      config: JSON-ready.
      environment: see `environment.collect`.
    """

    network: str
    dataset: str
    examples: int
    severities: tuple[int, ...]
    files: tuple[RobustFile, ...]
    shift: Shift | None
    config: Mapping[str, Any]
    environment: Mapping[str, Any]

    @property
    def corruptions(self) -> tuple[str, ...]:
        """Names of those judged."""
        return tuple(score.corruption for score in self.files[0].corruptions)


def table_lines(found: Robustness) -> list[str]:
    """A Markdown table of all files, and a second one where there was another data set.

    mCE is the mean corruption error relative to the baseline, 100% being as good as it.
    """
    severities = ", ".join(map(str, found.severities))
    lines = [
        f"{found.network}, {found.examples:,} test images of {found.dataset}; "
        f"{len(found.corruptions)} corruptions, severities {severities}.",
        "",
        "| file | clean, % | corrupted, % (95% interval) | difference, points | mCE, % | "
        "relative mCE, % | worst corruption, % | furthest behind the baseline, points |",
        "|:--|--:|--:|--:|--:|--:|:--|:--|",
        *(_row(file) for file in found.files),
    ]
    return lines if found.shift is None else [*lines, "", *shift_lines(found.shift)]


def _row(file: RobustFile) -> str:
    behind = file.furthest_behind
    cells = [
        file.name,
        percent(file.clean_accuracy),
        percent(file.accuracy, file.accuracy_interval),
        points(file.difference, file.difference_interval),
        percent(file.mean_corruption_error, file.mean_corruption_error_interval, digits=1),
        percent(
            file.relative_mean_corruption_error,
            file.relative_mean_corruption_error_interval,
            digits=1,
        ),
        f"{file.worst.corruption} {percent(file.worst.accuracy, digits=1)}",
        "" if behind is None else f"{behind.corruption} {points(behind.difference)}",
    ]
    return f"| {' | '.join(cells)} |"


def shift_lines(found: Shift) -> list[str]:
    """A Markdown table of all files on another data set."""
    if found.same_classes:
        told = "its classes are the run's"
        head = ["accuracy there, %", "change to its own, points", "difference, points"]
    else:
        told = f"other classes ({found.shared_classes} are the run's too)"
        head = ["AUROC of the confidence, %", "difference, points"]
    cells = ["file", *head, "mean confidence, own test images, %", "there, %"]
    lines = [
        f"On {found.examples:,} test images of {found.dataset}, {told}.",
        "",
        f"| {' | '.join(cells)} |",
        f"|:--|{'--:|' * (len(cells) - 1)}",
    ]
    for file in found.files:
        middle = _same_classes(file) if found.same_classes else _other_classes(file)
        sure = [percent(value, digits=1) for value in (file.own_confidence, file.confidence)]
        lines.append(f"| {' | '.join([file.name, *middle, *sure])} |")
    return lines


def _same_classes(file: ShiftedFile) -> Sequence[str]:
    change = None if file.accuracy is None else file.accuracy - file.own_accuracy
    return (
        percent(file.accuracy, file.accuracy_interval),
        points(change),
        points(file.difference, file.difference_interval),
    )


def _other_classes(file: ShiftedFile) -> Sequence[str]:
    return (
        percent(file.auroc),
        points(file.auroc_difference, file.auroc_difference_interval),
    )
