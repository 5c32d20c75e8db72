"""Techniques: one file for each way of making a model smaller or faster.

Knows the contract that every technique keeps. A new technique is a new module here with the names
below; `registry.names("techniques")` finds it, and the contract tests hold it to this page.
Techniques know nothing of one another: which of them preserves what is written in `compose`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

from tfcompress import registry
from tfcompress.artifact import Artifact
from tfcompress.level_search import LevelTrial
from tfcompress.results import CompressionReport


class Technique(Protocol):
    """What a module of this folder offers.

    For a user's own training: `model = wrap(model, config, ...)`, compile,
    `fit(callbacks=callbacks(config))`, `model = strip(model)`.
    """

    CONFIG: type
    """A frozen dataclass of the settings.

    Its `__post_init__` refuses bad values; its property `settles_at` is the fraction of the
    training after which the effect is complete (0.0 where it is from the start). A field with
    `metadata={"supplied": True}` is filled by a run and cannot be named in a recipe: `teacher`, the
    baseline, `calibration`, preprocessed float32 images [n, height, width, channels] or int32 ids
    of tokens [n, length], and others that `supplies.Supplies` lists. It also
    has `default=None, repr=False, compare=False`."""

    def skipped(self, model: Any, config: Any) -> Mapping[str, str]:
        """Tells which layers the technique passes over, and why; `wrap` and `report` go by it.

        Known before any training, from the layers and their shapes.

        Args:
          model: the model that is given to `wrap`.
          config: an instance of `CONFIG`; what a run supplies may be missing.

        Returns:
          The reason for each layer with weights that is not treated, under the layer's name; where
          a layer is treated in part, for the weight that is not, under `layer/weight`. Empty where
          all are treated.
        """

    def wrap(self, model: Any, config: Any, *, steps_per_epoch: int, epochs: int) -> Any:
        """Returns a new model that trains under the technique; the caller's is untouched.

        Args:
          model: flat functional Keras model.
          config: an instance of `CONFIG`.
          steps_per_epoch: batches in one epoch of the coming training.
          epochs: of the coming training.

        Raises:
          ValueError: the technique can treat no layer of the model. Where it can treat some, the
            others are passed over. It is a `NothingToGain` where this is so for the present
            weights only.
        """

    def callbacks(self, config: Any) -> Sequence[Any]:
        """Returns fresh Keras callbacks that `fit` needs for the technique; possibly none."""

    def strip(self, model: Any) -> Any:
        """Removes what only the training needs and keeps the effect, with unchanged outputs."""

    def report(self, before: Any, after: Any, config: Any) -> CompressionReport:
        """Describes every layer with weights: treated, or skipped and why.

        Args:
          before: the model given to `wrap`.
          after: the trained, stripped model.
          config: what `wrap` was given.
        """

    def verify(self, model: Any, config: Any, *, before: Any = None) -> None:
        """Counts the effect in a stripped model.

        Args:
          model: what `strip` returned.
          config: what `wrap` was given.
          before: the model that was given to `wrap`; needed where the effect is a smaller
            architecture, which shows only beside the one before.

        Raises:
          ValueError: `before` is needed and missing.
          VerificationError: the effect is absent.
        """

    def verify_artifact(self, artifact: Artifact, report: CompressionReport, config: Any) -> None:
        """Counts the effect in an exported file, where it ends up.

        Raises:
          VerificationError: the effect is absent.
        """


# Beside these a module that changes which ids of tokens the model reads has `tokenizer(config)`,
# the tokenizer that gives them, see `compose.tokenizer`.

# Beside these a module may have `at_once(model, config)`: a model, changed in place to what the
# technique makes of its kernels, with no training and no images. `compose.at_once` calls it after
# `wrap`; and one whose level is raised goes on from the model at a lower level.
# It may have `LEVEL`, the one setting that says how far it is taken.


@dataclass(frozen=True)
class Level:
    """The setting by which a technique compresses more or less, as a fraction.

    Level 0 leaves a model as it is; a greater one compresses more.

    Attributes:
      setting: name of the field of `CONFIG`.
      value: its value at a level, a number.
      highest: the greatest level that makes sense, in (0, 1].
    """

    setting: str
    value: Callable[[float], float]
    highest: float = 1.0

    def applied(self, config: Any, level: float) -> Any:
        """A config at a level; what else it says stays.

        Raises:
          ValueError: its other settings leave no choice of the level.
        """
        return dataclasses.replace(config, **{self.setting: self.value(level)})


def as_it_is(level: float) -> float:
    """The value of a setting that is the level itself."""
    return level


def level_of(technique: str) -> Level:
    """The level of a technique.

    Raises:
      ValueError: it has none; the message lists the techniques that have one.
    """
    if found := _level(technique):
        return found
    listed = ", ".join(f"{name} ({own.setting})" for name, own in with_levels().items())
    raise ValueError(
        f"{technique} has no level that could be raised. Techniques with one, and the setting that "
        f"it is: {listed}."
    )


def with_levels() -> dict[str, Level]:
    """The techniques that have a level, by name."""
    found = {name: _level(name) for name in registry.names("techniques")}
    return {name: level for name, level in found.items() if level}


def _level(technique: str) -> Level | None:
    return getattr(registry.load("techniques", technique), "LEVEL", None)


def goes_on(technique: ModuleType) -> bool:
    """Whether a higher level starts from the model at a lower one, rather than from the first."""
    return hasattr(technique, "at_once")


class VerificationError(RuntimeError):
    """A technique's effect is not in the weights. The message says what was counted."""


class NothingToGain(ValueError):
    """A model of which a technique can make nothing smaller, with the weights that it has now.

    Other weights may allow it: those of an untrained model say nothing about the trained one.
    """


class OutOfReach(ValueError):
    """A setting that goes further than a model allows; the message says how far it could go.

    Args:
      said: the message.
      levels: what was tried, where a level was searched for.
    """

    def __init__(self, said: str, levels: Sequence[LevelTrial] = ()) -> None:
        super().__init__(said)
        self.levels = tuple(levels)
