"""Techniques: one file for each way of making a model smaller or faster.

Knows the contract that every technique keeps. A new technique is a new module here with the names
below; `registry.names("techniques")` finds it, and the contract tests hold it to this page.
Techniques know nothing of one another: which of them preserves what is written in `compose`.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    training after which the effect is complete (0.0 where it is from the start)."""

    def wrap(self, model: Any, config: Any, *, steps_per_epoch: int, epochs: int) -> Any:
        """Returns a new model that trains under the technique; the caller's is untouched.

        Args:
          model: flat functional Keras model.
          config: an instance of `CONFIG`.
          steps_per_epoch: batches in one epoch of the coming training.
          epochs: of the coming training.

        Raises:
          ValueError: the technique cannot treat any layer of the model.
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

    def verify(self, model: Any, config: Any) -> None:
        """Counts the effect in a stripped model.

        Raises:
          VerificationError: the effect is absent.
        """

    def verify_artifact(self, artifact: Artifact, report: CompressionReport, config: Any) -> None:
        """Counts the effect in an exported file, where it ends up.

        Raises:
          VerificationError: the effect is absent.
        """


class VerificationError(RuntimeError):
    """A technique's effect is not in the weights. The message says what was counted."""
