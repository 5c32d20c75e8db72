"""A stage that takes its technique as far as the validation drop allows, one training a level.

Knows how a level's training goes on from those before it and what its outcome is called. Does not
know how a stage is trained (that is given), nor by which rule levels follow one another
(`level_search` does).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tfcompress.level_search import LevelTrial, again, next_level, of_value
from tfcompress.planned_stages import PlannedStage
from tfcompress.results import CompressionReport, StageResult
from tfcompress.techniques import NothingToGain, OutOfReach, goes_on, level_of


@dataclass(frozen=True)
class Trained:
    """What the training of a stage at one level left.

    Attributes:
      stages: all that were carried out, the last one at its level.
      model: stripped.
      report: of the last stage.
      record: of its training.
    """

    stages: tuple[PlannedStage, ...]
    model: Any
    report: CompressionReport
    record: StageResult


@dataclass(frozen=True)
class Raised:
    """The training of the highest level that held, and all levels that were tried."""

    best: Trained
    levels: tuple[LevelTrial, ...]


def raise_level(
    stage: PlannedStage,
    start: Any,
    *,
    train: Callable[[PlannedStage, Any], Trained],
    accuracy: Callable[[Trained], float],
    baseline: float,
    told: Callable[[str], None] = lambda text: None,
) -> Raised:
    """Trains a stage at one level after the other.

    A technique with `at_once` goes on from the model of the highest level that held, others from
    what the stage was given.

    Args:
      stage: one with a `search`.
      start: the model that the stages before it left.
      train: trains the stage at a level, from a model. The same call in a later session gives the
        same again.
      accuracy: on the validation split, of what a training left.
      baseline: the accuracy that drops are counted from.
      told: hears of every level.

    Raises:
      OutOfReach: no level keeps within the drop, or none makes the model smaller.
    """
    assert stage.search is not None
    own = level_of(stage.technique)
    tried: list[LevelTrial] = []
    best: Trained | None = None
    while (level := next_level(tried, stage.search, highest=own.highest)) is not None:
        at = stage.at(level)
        value = float(getattr(at.config, own.setting))
        if known := of_value(tried, value):
            tried.append(again(known, level))
            continue
        try:
            found = train(at, best.model if best and goes_on(stage.module) else start)
        except (NothingToGain, OutOfReach) as error:
            held = isinstance(error, NothingToGain)
            tried.append(LevelTrial(level, own.setting, value, held, note=str(error)))
        else:
            reached = accuracy(found)
            tried.append(
                LevelTrial(
                    level,
                    own.setting,
                    value,
                    held=stage.search.allows(baseline - reached),
                    accuracy=reached,
                    drop=baseline - reached,
                    epochs=len(found.record.history),
                    seconds=found.record.seconds,
                )
            )
            best = found if tried[-1].held else best
        told(_sentence(tried[-1]))
    if best is None:
        raise OutOfReach(_nothing_held(stage, tried), levels=tried)
    return Raised(best, tuple(tried))


def _sentence(trial: LevelTrial) -> str:
    which = f"{trial.setting} {trial.value:g}"
    if trial.accuracy is None or trial.drop is None:
        return f"{which}: not trained, {trial.note}"
    return (
        f"{which}: validation accuracy {trial.accuracy:.2%}, {-100 * trial.drop:+.2f} points "
        f"beside the baseline: {'holds' if trial.held else 'too much'}"
    )


def _nothing_held(stage: PlannedStage, tried: Sequence[LevelTrial]) -> str:
    assert stage.search is not None
    head = f"{stage.technique}(max_drop={stage.search.max_drop:g})"
    trained = [trial for trial in tried if trial.drop is not None]
    if not trained:
        reasons = "; ".join(dict.fromkeys(trial.note for trial in tried))
        return f"{head} can be carried out at no level. {reasons}"
    nearest = min(trained, key=lambda trial: trial.drop or 0.0)
    return (
        f"{head}: no level keeps within the drop. The nearest was {nearest.setting} "
        f"{nearest.value:g}, which lost {100 * (nearest.drop or 0.0):.2f} points of validation "
        "accuracy. Allow a greater max_drop, give each level more epochs, or lower least_step (now "
        f"{stage.search.least_step:g})."
    )
