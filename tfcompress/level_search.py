"""How far a technique may be taken: its level is raised until the validation drop is spent.

Knows the rule by which the next level follows from those that were tried, and what is remembered of
each. Does not know what a level is of a technique, nor how a model is trained. No TensorFlow here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Levels are sums of halved steps: what differs by less is the same level.
_DIGITS = 6
# What two counts of the same examples may differ by as fractions.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class SearchConfig:
    """How a level is searched for.

    From the highest level that held, the level rises by a step. Where the next one would not be
    below one that failed, the step is multiplied by `step_factor`; the search ends when the step
    would fall below `least_step`. No level is tried twice.

    Attributes:
      max_drop: greatest loss of validation accuracy against the baseline, a fraction in [0, 1).
      first_step: of the level, in (0, 1].
      least_step: in (0, first_step].
      step_factor: in (0, 1).

    Raises:
      ValueError: a value outside its range.

    Reference:
      The defaults are those of the adaptive training loop that NNCF had for accuracy-aware
      training (Kozlov et al.: Neural network compression framework for fast model inference, 2020).
    """

    max_drop: float
    first_step: float = 0.1
    least_step: float = 0.025
    step_factor: float = 0.5

    def __post_init__(self) -> None:
        self._require("max_drop", 0 <= self.max_drop < 1, "in [0, 1)")
        self._require("first_step", 0 < self.first_step <= 1, "in (0, 1]")
        within = 0 < self.least_step <= self.first_step
        self._require("least_step", within, f"in (0, first_step], here {self.first_step:g}")
        self._require("step_factor", 0 < self.step_factor < 1, "in (0, 1)")

    def allows(self, drop: float) -> bool:
        """Whether a level with such a drop of accuracy, a fraction, holds."""
        return drop <= self.max_drop + _TOLERANCE

    def _require(self, name: str, holds: bool, expected: str) -> None:
        value = getattr(self, name)
        if holds:
            return
        advice = f" For {value:g} points pass {value / 100:g}." if 1 <= value <= 100 else ""
        raise ValueError(
            f"{name} must be {expected}. Received: {value:g}."
            + (advice if name == "max_drop" else "")
        )


@dataclass(frozen=True)
class LevelTrial:
    """One level that was tried.

    Attributes:
      level: how far the technique was taken, a fraction in (0, 1].
      setting: the technique's setting that this is, such as `"clusters"`.
      value: of the setting.
      held: whether the drop stayed within what is allowed.
      accuracy: on the validation split, of the Keras model that the stage leaves; None where
        nothing was trained.
      drop: the baseline's accuracy minus this one, a fraction; None likewise.
      epochs: that were trained for it.
      seconds: wall time of that training, over all sessions; None where nothing was trained.
      note: why nothing was trained; empty where it was.
    """

    level: float
    setting: str
    value: float
    held: bool
    accuracy: float | None = None
    drop: float | None = None
    epochs: int = 0
    seconds: float | None = None
    note: str = ""


def next_level(
    tried: Sequence[LevelTrial], config: SearchConfig, *, highest: float = 1.0
) -> float | None:
    """The level to try next; None where the search is at its end.

    Args:
      tried: in order.
      config: the steps.
      highest: the greatest level that makes sense, in (0, 1].

    Example:
      >>> config = SearchConfig(0.01)
      >>> next_level([], config)
      0.1
      >>> next_level([LevelTrial(0.1, "target", 0.1, held=True)], config)
      0.2
    """
    reached = max((trial.level for trial in tried if trial.held), default=0.0)
    failed = min((trial.level for trial in tried if not trial.held), default=None)
    step = config.first_step
    while True:
        level = round(min(reached + step, highest), _DIGITS)
        if level <= reached:
            return None
        if failed is None or level < failed:
            return level
        step *= config.step_factor
        if round(step, _DIGITS) < round(config.least_step, _DIGITS):
            return None


def of_value(tried: Sequence[LevelTrial], value: float) -> LevelTrial | None:
    """The trial of a value of the setting; None where it was not tried."""
    return next((trial for trial in tried if trial.value == value), None)


def again(trial: LevelTrial, level: float) -> LevelTrial:
    """A level whose setting is that of one that was tried, and needs no training."""
    note = f"the same {trial.setting} as at level {trial.level:g}"
    return LevelTrial(level, trial.setting, trial.value, trial.held, note=note)


def kept(tried: Sequence[LevelTrial]) -> LevelTrial | None:
    """The trial whose model is kept: of those trained, the highest level that held; None for none.

    Args:
      tried: in any order.
    """
    trained = (trial for trial in tried if trial.held and trial.accuracy is not None)
    return max(trained, key=lambda trial: trial.level, default=None)
