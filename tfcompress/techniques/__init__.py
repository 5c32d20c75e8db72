"""Techniques: one file for each way of making a model smaller or faster.

Knows the contract that every technique keeps. A new technique is a new module here with the names
below; `registry.names("techniques")` finds it, and the contract tests hold it to this page.
Techniques know nothing of one another: which of them preserves what is written in `compose`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tfcompress.artifact import Artifact
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

# A module may have `at_once(model, config)`, which `compose.at_once` calls: what
# `wrap` gave, changed in place to what the callbacks make of it, with no training and no images.


class VerificationError(RuntimeError):
    """A technique's effect is not in the weights. The message says what was counted."""


class NothingToGain(ValueError):
    """A model of which a technique can make nothing smaller, with the weights that it has now.

    Other weights may allow it: those of an untrained model say nothing about the trained one.
    """
