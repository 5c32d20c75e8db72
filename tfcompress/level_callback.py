"""Accuracy-aware compression in a user's own `model.fit`: a callback that raises a level.

Knows which techniques can be raised within one training. How a recipe does it with any technique
stands in `level_raising`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfcompress import registry
from tfcompress.level_search import SearchConfig
from tfcompress.techniques import goes_on, level_of, with_levels

if TYPE_CHECKING:
    from tfcompress.callbacks import RaiseLevel


def accuracy_aware(
    technique: str,
    *,
    baseline: float,
    max_drop: float,
    patience: int = 3,
    monitor: str = "val_accuracy",
    first_step: float = SearchConfig.first_step,
    least_step: float = SearchConfig.least_step,
    step_factor: float = SearchConfig.step_factor,
    **settings: Any,
) -> RaiseLevel:
    """Gives the callback that takes a technique as far as the validation drop allows.

    It is all that `fit` needs: `model.fit(..., validation_data=..., callbacks=[callback])` leaves
    the model with the weights of the highest level that held; `callback.kept` tells it,
    `callback.trials` all that were tried. Give `fit` epochs enough: it ends by itself.

    Args:
      technique: `"prune"` or `"cluster"`, which change no layer of the model.
      baseline: accuracy of the uncompressed model on the same validation data, in (0, 1].
      max_drop: greatest loss of it, a fraction in [0, 1).
      patience: epochs that a level is given to come within the drop, at least 1.
      monitor: the metric of an epoch that is compared with `baseline`, higher being better.
      first_step: see `level_search.SearchConfig`, as are `least_step` and `step_factor`.
      least_step: the search ends when the step would fall below it.
      step_factor: of the step where a level fails.
      **settings: others of the technique, such as `skip="conv1"`.

    Raises:
      UnknownNameError: no technique has that name.
      ValueError: it has no level, or none that can be raised within one training; or a value out of
        its range.
      TypeError: it has no such setting.

    Example:
      >>> callback = accuracy_aware("prune", baseline=0.97, max_drop=0.01, skip="logits")
      >>> callback.kept, callback.trials
      (None, [])
    """
    registry.require(technique, registry.names("techniques"), what="technique")
    own, module = level_of(technique), registry.load("techniques", technique)
    if not goes_on(module):
        known = [name for name in with_levels() if goes_on(registry.load("techniques", name))]
        raise ValueError(
            f"{technique} changes the layers of a model, which one training cannot. Known: "
            f"{', '.join(known)}. A recipe raises it by training level by level: "
            f"{technique}(max_drop={max_drop:g})."
        )
    if own.setting in settings:
        raise ValueError(
            f"accuracy_aware searches for {own.setting}. Received: {settings[own.setting]}. Leave "
            "it out."
        )
    if not 0 < baseline <= 1:
        advice = f" For {baseline:g}% pass {baseline / 100:g}." if 1 < baseline <= 100 else ""
        raise ValueError(f"baseline must be in (0, 1]. Received: {baseline:g}.{advice}")
    if patience < 1:
        raise ValueError(f"patience must be at least 1. Received: {patience}.")
    search = SearchConfig(max_drop, first_step, least_step, step_factor)
    from tfcompress.callbacks import RaiseLevel

    config = own.applied(module.CONFIG(**settings), min(first_step, own.highest))
    return RaiseLevel(module, config, search, baseline=baseline, patience=patience, monitor=monitor)
